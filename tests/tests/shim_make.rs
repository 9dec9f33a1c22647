//! The real GNU make as a shim: its jobserver lies on numbers that `MAKEFLAGS` names, and on no
//! descriptor of ours.
//!
//! A jobserver that works is shown by two targets which need each other's start: each waits for a
//! file that the other one makes. Run one after the other, the first one gives up.

use std::process::{Command, Output, Stdio};

use workspace_tests::{Folder, Guard};

const RUN: &str = env!("CARGO_BIN_EXE_shim_run");

/// Two targets that meet. They wait for half a minute.
const MEETING: &str = "\
all: one two
one two:
\t@touch $@
\t@n=0; until test -e one -a -e two; do n=$$((n+1)); test $$n -lt 3000 || exit 1; sleep 0.01; done
";

/// A folder of makefiles, gone with the test.
struct Makefiles(Folder);

impl Makefiles {
    fn new() -> Makefiles {
        Makefiles(Folder::new())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a makefile");
    }

    /// What `program` said, as if started from a shell: without the jobserver of whoever runs the
    /// tests.
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.0.path())
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .env_remove("MAKELEVEL")
            .env("LC_ALL", "C")
            .env("RUN", RUN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Guard::spawn(&mut command);
        let status = child.wait_deadline();
        let mut output = Output {
            status,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        // A few lines, which fit into the pipes.
        use std::io::Read;
        let out = child.stdout.as_mut().expect("piped");
        out.read_to_end(&mut output.stdout).expect("read");
        let err = child.stderr.as_mut().expect("piped");
        err.read_to_end(&mut output.stderr).expect("read");
        output
    }
}

/// Whether GNU make is there, and how its jobserver is known to its children.
fn make_is_there() -> bool {
    match Command::new("make").arg("--version").output() {
        Ok(output) if output.stdout.starts_with(b"GNU Make") => true,
        Ok(_) => {
            eprintln!("skipped: make is not GNU make");
            false
        }
        Err(error) => {
            eprintln!("skipped: no make: {error}");
            false
        }
    }
}

fn succeeded(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(!text.contains("jobserver"), "{text}");
}

#[test]
fn jobserver_of_a_make_that_is_a_shim_works() {
    if !make_is_there() {
        return;
    }
    let folder = Makefiles::new();
    folder.write("Makefile", MEETING);
    succeeded(&folder.run(RUN, &["make", "-j4"]));
}

#[test]
fn jobserver_that_a_runtime_passes_on_to_a_make_works() {
    if !make_is_there() {
        return;
    }
    let folder = Makefiles::new();
    folder.write("Makefile", "all:\n\t+@$(RUN) $(MAKE) -f inner\n");
    folder.write("inner", MEETING);
    succeeded(&folder.run("make", &["-j4"]));
}

/// The recipe does not say `+`: its programs are told the numbers of a jobserver that they do not
/// get. What they find there is nothing, not something of ours that make would read its tokens
/// from.
#[test]
fn jobserver_that_was_not_passed_on_is_missed_and_nothing_of_ours_is_taken_for_it() {
    if !make_is_there() {
        return;
    }
    let folder = Makefiles::new();
    folder.write("Makefile", "all:\n\t@$(RUN) make -f inner\n");
    folder.write("inner", "all:\n\t@echo flags: $(MAKEFLAGS)\n");
    let output = folder.run("make", &["-j4"]);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}: {err}", output.status);
    if out.contains("--jobserver-auth=fifo:") {
        eprintln!("skipped: this make's jobserver has a name in the file system, and no number");
        return;
    }
    assert!(err.contains("jobserver unavailable"), "{out}{err}");
}
