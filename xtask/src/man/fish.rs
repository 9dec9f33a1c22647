//! The completions of fish.

use super::table::{Row, TABLE, Value};

const FRAME: &str = include_str!("completions.fish");

pub(super) fn text() -> String {
    let options: Vec<String> = TABLE.iter().map(option).collect();
    let taking = TABLE
        .iter()
        .filter(|row| !matches!(row.value, Value::Nothing));
    let taking: Vec<String> = taking.map(|row| format!("--{}", row.name)).collect();
    FRAME
        .replace("@TAKING@", &taking.join(" "))
        .replace("@VALUES@\n", &options.concat())
}

fn option(row: &Row) -> String {
    let short = row
        .short
        .map_or(String::new(), |short| format!(" -s {short}"));
    let values = match row.value {
        Value::Nothing => String::new(),
        Value::Word(words) => {
            // What is quoted is expanded again: the tab, and the quotes around the meaning.
            let words = words.iter().map(|(word, meaning)| {
                let word = word.trim_end_matches('N');
                format!("{word}\\t\"{meaning}\"")
            });
            format!(" -x -a {}", quoted(&words.collect::<Vec<_>>().join("\n")))
        }
        Value::Open(_, such_as) => format!(" -x -a {}", quoted(&such_as.join(" "))),
    };
    let (name, purpose) = (row.name, quoted(row.purpose));
    format!(
        "complete -c watchdog-shim -n __watchdog_shim_before_command{short} -l {name}{values} -d \
         {purpose}\n"
    )
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "\\'"))
}
