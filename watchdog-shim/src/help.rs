//! What `--help` says: one screen.

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

/// Where the purpose of an option begins.
const COLUMN: usize = 24;

pub(crate) fn text() -> String {
    let options: String = TABLE.iter().map(option).collect();
    format!("{BEFORE}{options}{AFTER}")
}

fn option(row: &Row) -> String {
    let head = format!("  {}", row.head());
    // At least a space between the two.
    let gap = if head.len() < COLUMN {
        " ".repeat(COLUMN - head.len())
    } else {
        format!("\n{}", " ".repeat(COLUMN))
    };
    let default = if row.default.is_empty() {
        String::new()
    } else {
        format!(" [{}]", row.default)
    };
    format!("{head}{gap}{}{default}\n", row.purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_one_screen() {
        let text = text();
        assert!(text.lines().count() <= 30, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn readme_shows_what_help_says() {
        assert!(include_str!("../README.md").contains(&text()), "{}", text());
    }
}
