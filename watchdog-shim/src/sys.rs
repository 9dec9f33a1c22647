//! System calls that rustix does not wrap, and all unsafe code outside `child.rs`.

mod arguments;
mod child_stack;
mod children;
mod clock;
mod descriptors;
mod end;
mod identity;
mod inherited;
mod limit;
mod namespaces;
mod shared_words;
mod signal_fd;
mod signals;
mod sole_thread;

pub(crate) use arguments::arguments;
pub(crate) use child_stack::ChildStack;
pub(crate) use children::{Forked, end_of_child, fork, peek_state_change, reap, take_stop};
pub(crate) use clock::monotonic_nanoseconds;
pub(crate) use descriptors::{
    above_standard_streams, close, continue_at_news_of, occupy_standard_streams, pipe,
};
pub(crate) use end::{die_of, exit_now};
pub(crate) use identity::{effective_ids, is_init, leads_session, own_pid, parent_pid, pid};
pub(crate) use inherited::{
    adopt_watchdog, close_inherited, inherited_descriptor, inherited_duplicate,
};
pub(crate) use limit::raise_descriptor_limit;
pub(crate) use namespaces::{NamespaceInit, mount, unshare, unshare_mounts};
pub(crate) use shared_words::shared_words;
pub(crate) use signal_fd::{ReceivedSignal, next_signal, signal_fd};
pub(crate) use signals::{
    InheritedSignals, LAST_SIGNAL, can_signal, default_sigpipe, signal, stop_here, take_signals,
};
pub(crate) use sole_thread::SoleThread;
