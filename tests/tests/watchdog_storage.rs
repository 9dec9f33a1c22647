//! A program with much thread-local storage: the C library puts it on the stack of each thread.

use std::cell::Cell;
use std::process::{Command, Stdio};

use watchdog_pipe::{Guarantees, StopPolicy, Watchdog};
use workspace_tests::{Guard, alone};

/// More than a small stack has room for.
const SIZE: usize = 300 << 10;

thread_local! {
    static STORAGE: Cell<[u8; SIZE]> = const { Cell::new([1; SIZE]) };
}

#[test]
fn sentinel_starts_however_much_thread_local_storage_the_program_has() {
    alone!({
        assert_eq!(STORAGE.get()[SIZE - 1], 1);
        let (keepalive, _setup) = watchdog_pipe::channel().expect("channel");
        assert_eq!(keepalive.guarantees(), Guarantees::all());
    });
}

#[test]
fn protection_starts_however_much_thread_local_storage_the_program_has() {
    alone!({
        assert_eq!(STORAGE.get()[SIZE - 1], 1);
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
        // Another process has the write end, and this one has none.
        let mut holder = Command::new("sleep");
        holder.arg("100").stdin(Stdio::null()).stdout(write);
        let _parent = Guard::spawn(&mut holder);
        drop(holder);
        let watchdog = Watchdog::from_fd(read).expect("adopt");
        let monitor = watchdog.enforce(StopPolicy::new()).expect("enforce");
        // Before the holder goes, whose end would be the end of this process.
        assert_eq!(monitor.cancel(), None);
    });
}
