//! The manual page, in the language of man(7).

use super::table::{Id, Row, TABLE, Value};

const FRAME: &str = include_str!("page.1");

const WIDTH: usize = 80;

pub(super) fn text() -> String {
    let options: Vec<String> = TABLE.iter().map(option).collect();
    FRAME
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@OPTIONS@\n", &options.concat())
}

/// What there is to say beyond the one line of `--help`, a sentence a line. `*bold*`, `<italic>`.
fn details(id: Id) -> &'static str {
    match id {
        Id::Contain => {
            "How the shim holds the tree together.\n\
             *pidns* changes the pids that <COMMAND> sees, and gives it a */proc* of its own.\n\
             It needs CAP_SYS_ADMIN or a user namespace, in which setuid programs have no effect.\n\
             *auto* never takes it."
        }
        Id::Require => {
            "Do not start <COMMAND> where less than this can be had, and exit with 125.\n\
             With *--contain=none* nothing can be required."
        }
        Id::Watch => {
            "What the lifetime of the tree hangs on.\n\
             *env* is the link that the runtime made with <shim-spawner> or <watchdog-pipe>.\n\
             *fd:N* is the read end of a pipe, or a socket, whose other end the runtime alone \
             holds.\n\
             *stdin* is the same on standard input; what is written there stays <COMMAND>'s.\n\
             Its end of file is the first step of the stop: <COMMAND> has half of the grace to \
             end by itself, and gets the stop signal after that.\n\
             *parent* is the process that started the shim. If that has ended before the shim \
             looks, it is the process that has adopted the shim: *parent:N* refuses to start \
             then. N is the pid of the process that starts the shim, as *$$* in a shell."
        }
        Id::StopSignal => {
            "The first step of the stop: *TERM*, *SIGTERM*, *15* or *RTMIN+3*.\n\
             SIGCONT follows it, so that stopped processes get it too."
        }
        Id::SignalTo => "Who gets the stop signal.\nSIGKILL goes to the whole tree in any case.",
        Id::StopTimeout => {
            "The grace: how long the tree may take after the stop signal.\n\
             *500ms*, *1.5s*, *2m* and *1h* are times; a bare number is seconds."
        }
        Id::OnExit => {
            "What happens when <COMMAND> has ended by itself and others of the tree live.\n\
             *leave* cannot be had with *--contain=pidns*."
        }
        Id::Session => {
            "Which session <COMMAND> runs in.\n\
             With a terminal on standard input it is *keep*, else *new*."
        }
        Id::StatusFd => {
            "Report on descriptor <N> what happens, see STATUS LINES.\n\
             <COMMAND> does not get the descriptor, unless it is a standard stream."
        }
        Id::Exit => "How the shim ends when a signal ended <COMMAND>.",
        Id::PrintPlan => {
            "Say which containment there would be here, what it promises, and why not more.\n\
             Nothing is started."
        }
        Id::Help => "Print a summary of the options.",
        Id::Version => "Print the version.",
    }
}

fn option(row: &Row) -> String {
    let mut text = vec![format!(
        ".TP\n{}\n{}\n",
        head(row),
        wrapped(&marked(details(row.id)))
    )];
    if let Value::Word(words) = row.value {
        text.push(".RS\n".to_owned());
        for (word, meaning) in words {
            let (word, meaning) = (marked(&value(word)), capital(meaning));
            text.push(format!(".TP\n{word}\n{}.\n", marked(&meaning)));
        }
        text.push(".RE\n".to_owned());
    }
    if !row.default.is_empty() {
        // A paragraph of the option's own text.
        text.push(format!(".IP\nDefault: {}.\n", marked(row.default)));
    }
    text.concat()
}

/// As `--contain=auto|none`, with what the user replaces in italics.
fn head(row: &Row) -> String {
    let short = row
        .short
        .map_or(String::new(), |short| format!("*-{short}*, "));
    let values = match row.value {
        Value::Nothing => String::new(),
        Value::Word(words) => {
            let words: Vec<String> = words.iter().map(|(word, _)| value(word)).collect();
            format!("*=*{}", words.join("|"))
        }
        Value::Open(name, _) => format!("*=*<{name}>"),
    };
    marked(&format!("{short}*--{}*{values}", row.name))
}

/// A word, with its number in italics.
fn value(word: &str) -> String {
    match word.strip_suffix('N') {
        Some(word) => format!("*{word}*<N>"),
        None => format!("*{word}*"),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Bold and italics, as man(7) has them. A dash that is typed is one in the page: what is bold can
/// be copied.
fn marked(text: &str) -> String {
    let mut page = String::new();
    let mut bold = false;
    let mut italic = false;
    for letter in text.chars() {
        match letter {
            '*' => {
                bold = !bold;
                page.push_str(if bold { "\\fB" } else { "\\fR" });
            }
            '<' | '>' => {
                italic = letter == '<';
                page.push_str(if italic { "\\fI" } else { "\\fR" });
            }
            '-' if bold || italic => page.push_str("\\-"),
            '\\' => page.push_str("\\e"),
            other => page.push(other),
        }
    }
    page
}

/// With a line break for a space where a line would be too long for mandoc's taste.
fn wrapped(text: &str) -> String {
    let mut page = String::new();
    for line in text.lines() {
        let mut room = WIDTH;
        for word in line.split(' ') {
            let gap = if room == WIDTH {
                ""
            } else if word.len() < room {
                " "
            } else {
                room = WIDTH;
                "\n"
            };
            page.push_str(gap);
            page.push_str(word);
            room = room.saturating_sub(gap.len() + word.len());
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Gives the page to a program on its standard input, and gives what it says on both streams;
    /// `None` without it.
    fn judged(program: &str, args: &[&str]) -> Option<(String, String)> {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let text = text();
        let mut input = child.stdin.take().unwrap();
        std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        let said = |bytes| String::from_utf8(bytes).unwrap();
        Some((said(output.stdout), said(output.stderr)))
    }

    #[test]
    fn groff_has_nothing_to_say_against_the_page() {
        let args = ["-man", "-Tutf8", "-ww", "-rLL=80n"];
        if let Some((page, warnings)) = judged("groff", &args) {
            assert_eq!(warnings, "");
            assert!(page.contains("watchdog-shim"), "{page}");
        }
    }

    #[test]
    fn mandoc_has_nothing_to_say_against_the_page() {
        if let Some((lint, errors)) = judged("mandoc", &["-T", "lint"]) {
            assert_eq!((lint.as_str(), errors.as_str()), ("", ""));
        }
    }

    #[test]
    fn page_names_every_option_and_every_value() {
        let page = text().replace("\\-", "-").replace("\\fB", "");
        let page = page.replace("\\fI", "").replace("\\fR", "");
        for row in TABLE {
            assert!(
                page.contains(&format!("\n{}\n", row.head())),
                "{}",
                row.head()
            );
            if let Value::Word(words) = row.value {
                for (word, _) in words {
                    assert!(page.contains(&format!("\n.TP\n{word}\n")), "{word}");
                }
            }
        }
    }
}
