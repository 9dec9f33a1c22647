//! The completions of zsh.

use super::table::{Row, TABLE, Value};

const FRAME: &str = include_str!("completions.zsh");

pub(super) fn text() -> String {
    let options: Vec<String> = TABLE.iter().map(option).collect();
    FRAME.replace("@VALUES@\n", &options.concat())
}

/// A line of `_arguments`.
fn option(row: &Row) -> String {
    let name = row.name;
    let purpose = quoted(row.purpose);
    let message = name.replace('-', " ");
    match row.value {
        Value::Nothing => match row.short {
            // They end the command line: nothing else goes with them.
            Some(short) => format!("    '(- *)'{{-{short},--{name}}}'[{purpose}]' \\\n"),
            None => format!("    '--{name}[{purpose}]' \\\n"),
        },
        Value::Word(words) => {
            let words: Vec<String> = words.iter().map(word).collect();
            format!(
                "    '--{name}=[{purpose}]:{message}:(({}))' \\\n",
                words.join(" ")
            )
        }
        Value::Open(_, such_as) => {
            let such_as = such_as.join(" ");
            format!("    '--{name}=[{purpose}]:{message}:({such_as})' \\\n")
        }
    }
}

fn word((word, meaning): &(&str, &str)) -> String {
    let word = word.trim_end_matches('N').replace(':', "\\:");
    format!("{word}\\:\"{}\"", quoted(meaning))
}

/// Within single quotes, and within the brackets of `_arguments`.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''").replace(':', "\\:")
}
