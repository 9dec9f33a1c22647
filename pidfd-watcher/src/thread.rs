//! The dispatch thread of a watcher.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::Error;
use crate::poller::Poller;
use crate::sys::SignalsBlocked;
use crate::watcher::Shared;

thread_local! {
    static NEVER_WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller must not wait for a callback: it is the dispatch thread of some watcher, two of which could
/// otherwise wait for each other, or it is [dropping callbacks](without_waiting), and could wait for itself.
pub(crate) fn never_waits() -> bool {
    NEVER_WAITS.get()
}

/// Calls `drops`, in which no cancel waits. It does not panic.
pub(crate) fn without_waiting(drops: impl FnOnce()) {
    let before = NEVER_WAITS.replace(true);
    drops();
    NEVER_WAITS.set(before);
}

pub(crate) fn start(shared: Arc<Shared>, poller: Arc<Poller>) -> Result<(), Error> {
    // The thread inherits the mask: no handler of the program ever runs on it.
    let _blocked = SignalsBlocked::here().map_err(Error::of_call)?;
    std::thread::Builder::new()
        .name("pidfd-watcher".into())
        .spawn(move || run(&shared, &poller))
        .map(drop)
        .map_err(|error: io::Error| match Errno::from_io_error(&error) {
            Some(errno) => Error::of_clone(errno),
            None => Error::Io(error),
        })
}

fn run(shared: &Shared, poller: &Poller) {
    NEVER_WAITS.set(true);
    let mut events = Vec::new();
    while !shared.registry.is_finished() {
        let Ok(entries) = poller.wait(&mut events) else {
            // Waiting was tried when the watcher was made. If it is refused now, nobody will ever be told:
            // say so to those who wait.
            shared.registry.close(poller, &shared.containment);
            return;
        };
        for entry in entries {
            shared.registry.dispatch(entry, poller, &shared.containment);
        }
    }
}
