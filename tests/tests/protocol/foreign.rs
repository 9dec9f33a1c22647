//! The examples of docs/protocol.md: children in other languages, which say each line of their
//! input again, and what became of their parent.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use workspace_tests::cast::{Actor, Bystander};
use workspace_tests::installed::installed;
use workspace_tests::orders::{Order, Spawn};
use workspace_tests::{Folder, text, time_limit};

/// The path of an example.
pub fn example(file: &str) -> String {
    let examples = "../watchdog-pipe/examples/protocol";
    format!("{}/{examples}/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A child that can be started, and its standard streams: FIFOs, so that whatever starts it needs
/// to pass on nothing but the link.
pub struct Foreign {
    script: String,
    input: File,
    output: File,
    /// Gone with the value.
    _folder: Folder,
}

/// Leaves the variable as it is.
pub const AS_IT_IS: &str = "$WATCHDOG_PIPE";

impl Foreign {
    /// The child of a language, which gets `variable` for its variable, as the shell expands it.
    /// `None`, with the reason on standard error, if it cannot run here.
    pub fn new(language: &str, variable: &str) -> Option<Foreign> {
        let folder = Folder::new();
        let command = command(language, &folder)?;
        let [input, output] = ["in", "out"].map(|name| fifo(&folder.join(name)));
        let path = text(folder.path());
        let script = format!(
            "export WATCHDOG_PIPE=\"{variable}\"\n\
             exec {command} <'{path}/in' >'{path}/out'\n"
        );
        fs::write(folder.join("script"), script).expect("write a script");
        Some(Foreign {
            script: text(&folder.join("script")),
            input,
            output,
            _folder: folder,
        })
    }

    /// What to start: it becomes the child. A shell, and not the script itself: the kernel executes
    /// no file to which a copy of this process, on its way to an exec, can still write.
    pub fn program(&self) -> [&str; 2] {
        ["/bin/sh", &self.script]
    }

    /// The parent starts it on a new link.
    pub fn spawn(&self, parent: &mut Actor, adapt: impl FnOnce(Spawn) -> Spawn) -> Bystander {
        let [shell, script] = self.program();
        let spawn = adapt(Spawn::new(script).program(shell));
        Bystander::of(&parent.ask(&Order::Spawn(spawn)))
    }

    /// The next line that the child says.
    pub fn hear(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
            let deadline = Timespec::try_from(time_limit()).expect("a deadline that fits");
            let ready = poll(&mut fds, Some(&deadline)).expect("poll");
            assert!(
                ready > 0,
                "deadline passed: the child says a line, so far {line:?}"
            );
            let mut byte = [0];
            self.output.read_exact(&mut byte).expect("read");
            if byte == *b"\n" {
                return String::from_utf8(line).expect("text");
            }
            line.extend(byte);
        }
    }

    /// The child works: it says a line again, and nothing before that.
    pub fn works(&mut self) {
        self.input.write_all(b"still here\n").expect("write");
        assert_eq!(self.hear(), "still here");
    }

    /// The end of the child's input: it ends.
    pub fn hang_up(self) {}
}

/// Open for both, so that neither side waits for the other one.
fn fifo(path: &Path) -> File {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).expect("mkfifo");
    let both = OpenOptions::new().read(true).write(true).open(path);
    both.expect("open a FIFO")
}

fn command(language: &str, folder: &Folder) -> Option<String> {
    let interpreted = |program: &str, file: &str| {
        installed(&[program]).then(|| format!("{program} '{}'", example(file)))
    };
    match language {
        "python" => interpreted("python3", "child.py"),
        "node" => interpreted("node", "child.js"),
        "shell" => interpreted("sh", "child.sh"),
        "c" => compiled("child.c", folder),
        "c_with_sentinel" => compiled("sentinel_child.c", folder),
        other => panic!("no child in {other}"),
    }
}

fn compiled(file: &str, folder: &Folder) -> Option<String> {
    if !installed(&["cc"]) {
        return None;
    }
    let program = text(&folder.join("child"));
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-pthread", "-o", &program])
        .arg(example(file))
        .stdin(Stdio::null())
        .output()
        .expect("run cc");
    assert!(built.status.success(), "{built:?}");
    Some(format!("'{program}'"))
}
