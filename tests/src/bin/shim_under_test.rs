//! The program `watchdog-shim`, where Cargo names it to the tests of this package.

fn main() {
    // SAFETY: first in main, with no other thread and nothing adopted.
    unsafe { watchdog_shim::run(std::env::args_os().skip(1)) }
}
