//! The text of `--help`: one screen.

use crate::table::{Row, TABLE};

const BEFORE: &str = "\
Runs COMMAND so that it, and everything it starts, ends when the process that
started the shim (the runtime) dies or lets go: stop signal, grace, SIGKILL.

Usage: watchdog-shim [OPTIONS] [--] COMMAND [ARG...]

";

const AFTER: &str = "
Exit: COMMAND's own; 125 the shim failed or a requirement is not met,
126 COMMAND cannot be executed, 127 COMMAND was not found.
";

/// The column where the purpose of an option begins, unless the option itself is longer.
const COLUMN: usize = 24;

/// Columns of a terminal.
const WIDTH: usize = 80;

pub(crate) fn text() -> String {
    let options: String = TABLE.iter().map(option).collect();
    format!("{BEFORE}{options}{AFTER}")
}

fn option(row: &Row) -> String {
    let head = format!("  {}", row.head());
    let purpose = if row.default.is_empty() {
        row.purpose.to_owned()
    } else {
        format!("{} [{}]", row.purpose, row.default)
    };
    if head.len() < COLUMN {
        format!("{head:COLUMN$}{purpose}\n")
    } else if head.len() + purpose.len() + 2 <= WIDTH {
        format!("{head}  {purpose}\n")
    } else {
        format!("{head}\n{:COLUMN$}{purpose}\n", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_one_screen() {
        let text = text();
        // A terminal of 80 columns and 24 rows, of which the shell's next line is one.
        assert!(text.lines().count() < 24, "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn readme_shows_what_help_says() {
        assert!(include_str!("../README.md").contains(&text()), "{}", text());
    }
}
