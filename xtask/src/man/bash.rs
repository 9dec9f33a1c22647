//! The completions of bash.

use super::table::{TABLE, Value};

const FRAME: &str = include_str!("completions.bash");

pub(super) fn text() -> String {
    let mut names = Vec::new();
    let mut taking = Vec::new();
    let mut values = Vec::new();
    for row in TABLE {
        names.extend(row.short.map(|short| format!("-{short}")));
        let name = format!("--{}", row.name);
        let words: Vec<&str> = match row.value {
            Value::Nothing => {
                names.push(name);
                continue;
            }
            Value::Word(words) => words
                .iter()
                .map(|(word, _)| word.trim_end_matches('N'))
                .collect(),
            Value::Open(_, such_as) => such_as.to_vec(),
        };
        values.push(format!("        {name}) echo '{}' ;;\n", words.join(" ")));
        names.push(format!("{name}="));
        taking.push(name);
    }
    FRAME
        .replace("@NAMES@", &names.join(" "))
        .replace("@TAKING@", &taking.join("|"))
        .replace("@VALUES@\n", &values.concat())
}
