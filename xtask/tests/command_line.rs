//! The command line, as it is typed.

use std::process::Command;

#[test]
fn senseless_command_lines_end_with_2() {
    for args in [&["frobnicate"][..], &["lint", "x"], &["stress", "0"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
