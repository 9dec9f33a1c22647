//! What a callback is told, and whether at all.

use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};

use pidfd_watcher::{Exit, Process, WatchHandle, Watcher};

use crate::time_limit;

/// The other end of a callback.
#[derive(Debug)]
pub struct Told(Receiver<Exit>);

impl Told {
    /// A callback, and what it will be told.
    pub fn pair() -> (Told, impl FnOnce(Exit) + Send + 'static) {
        let (tell, told) = channel();
        let callback = move |exit| tell.send(exit).expect("the test listens");
        (Told(told), callback)
    }

    pub fn by(watcher: &Watcher, process: &Process) -> (Told, WatchHandle) {
        let (told, callback) = Told::pair();
        let handle = watcher.watch(process, callback).expect("watch");
        (told, handle)
    }

    /// Waits until the callback has run, and makes sure that it was the only time.
    pub fn exit(self) -> Exit {
        let exit = self
            .0
            .recv_timeout(time_limit())
            .expect("the callback runs");
        assert_eq!(
            self.0.recv_timeout(time_limit()),
            Err(RecvTimeoutError::Disconnected),
            "the callback ran once and is gone"
        );
        exit
    }

    pub fn status(self) -> Option<ExitStatus> {
        self.exit().status
    }

    pub fn code(self) -> Option<i32> {
        self.status().and_then(|status| status.code())
    }

    /// The callback is there, and has not run.
    #[track_caller]
    pub fn is_waiting(&self) {
        assert_eq!(self.0.try_recv(), Err(TryRecvError::Empty));
    }

    /// The callback is dropped, and has not run.
    #[track_caller]
    pub fn was_dropped(&self) {
        assert_eq!(self.0.try_recv(), Err(TryRecvError::Disconnected));
    }
}
