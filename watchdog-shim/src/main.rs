//! The program: see the library.

fn main() {
    // SAFETY: first in main, with no other thread and nothing adopted.
    #[allow(unsafe_code)]
    unsafe {
        watchdog_shim::run(std::env::args_os().skip(1))
    }
}
