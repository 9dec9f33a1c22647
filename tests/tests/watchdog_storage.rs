//! A program with much thread-local storage: the C library puts it on the stack of each thread.

use std::cell::Cell;

use watchdog_pipe::Guarantees;
use workspace_tests::alone;

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
