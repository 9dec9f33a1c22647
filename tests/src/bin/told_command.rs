//! A small COMMAND for the bench of the shim. Without an order it writes the instant of its main to
//! standard output, by the monotonic clock, and ends. Its `main` is C's: nothing of Rust's runs
//! before.

#![no_main]

use std::ffi::{c_char, c_int};
use std::process::ExitCode;

use workspace_tests::clock;
use workspace_tests::orders::Order;

/// # Safety
/// The C library calls it once.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, _arguments: *const *const c_char) -> c_int {
    let instant = clock::now();
    if count < 2 {
        tell(&instant.to_ne_bytes());
        return 0;
    }
    let done = Order::obey(|order| match order {
        Order::TellStop => tell_stop(),
        Order::Crowd { count, ignore_term } => crowd(count, ignore_term),
        other => panic!("not for this program: {other:?}"),
    });
    c_int::from(done != ExitCode::SUCCESS)
}

/// Async-signal-safe.
fn tell(bytes: &[u8]) {
    // SAFETY: a valid slice.
    unsafe { libc::write(1, bytes.as_ptr().cast(), bytes.len()) };
}

fn tell_stop() -> ExitCode {
    extern "C" fn asked(_: c_int) {
        tell(&clock::now().to_ne_bytes());
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(0) }
    }
    // SAFETY: the handler makes system calls alone.
    unsafe {
        let handler: extern "C" fn(c_int) = asked;
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
    // The clock's page is mapped by its first look alone.
    clock::now();
    tell(b".");
    wait_for_ever()
}

fn crowd(count: usize, ignore_term: bool) -> ExitCode {
    if ignore_term {
        // SAFETY: SIG_IGN is no function that could be wrong.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    for _ in 1..count {
        // SAFETY: this program has one thread.
        match unsafe { libc::fork() } {
            0 => return wait_for_ever(),
            pid => assert!(pid > 0, "fork: {}", std::io::Error::last_os_error()),
        }
    }
    tell(b".");
    wait_for_ever()
}

fn wait_for_ever() -> ExitCode {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
