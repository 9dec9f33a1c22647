//! Copies made by fork are inert.

use workspace_tests::scenario::passes;

#[test]
fn cancel_of_a_monitors_copy_returns_and_leaves_the_protection_on() {
    passes(env!("CARGO_BIN_EXE_watchdog_copies"), "monitor");
}
