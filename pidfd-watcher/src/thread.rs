//! The dispatch thread of a watcher.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::Error;
use crate::poller::Poller;
use crate::sys;
use crate::watcher::Shared;

thread_local! {
    static DISPATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is the dispatch thread of some watcher: such a thread never waits for a callback.
/// Two of them could otherwise wait for each other.
pub(crate) fn is_a_dispatch_thread() -> bool {
    DISPATCHES.get()
}

pub(crate) fn start(shared: Arc<Shared>, poller: Arc<Poller>) -> Result<(), Error> {
    std::thread::Builder::new()
        .name("pidfd-watcher".into())
        .spawn(move || run(&shared, &poller))
        .map(drop)
        .map_err(|error: io::Error| match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Error::Io(error),
        })
}

fn run(shared: &Shared, poller: &Poller) {
    sys::block_signals();
    DISPATCHES.set(true);
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
