//! A variable that says nothing, too much, or what is true of another process.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use watchdog_pipe::{AdoptError, ENV_VAR};
use workspace_tests::inherited::{
    Inherited, refused, set_variable, then_a_good_one_is_adopted, value,
};
use workspace_tests::launch::Launch;
use workspace_tests::orders::Order;
use workspace_tests::{alone, until};

const HEIR: &str = env!("CARGO_BIN_EXE_watchdog_heir");

#[test]
fn malformed_value_is_refused() {
    alone!({
        let good = Inherited::on(50);
        let pipe = value(50).split_once(',').expect("two fields").1.to_owned();
        let mut values: Vec<OsString> = [
            "",
            "50",
            "fd=50",
            "fd=-1,",
            "fd=50,fd=50,",
            "fd=,",
            "fd=+50,",
        ]
        .into_iter()
        .map(|start| {
            if start.ends_with(',') {
                format!("{start}{pipe}").into()
            } else {
                start.into()
            }
        })
        .collect();
        values.push(format!("fd=50,{pipe},stop=9").into());
        values.push(format!("fd=50,{pipe},stop=0:1").into());
        // Not UTF-8.
        values.push(OsStr::from_bytes(b"fd=50,pipe=\xff:1").to_owned());
        for malformed in values {
            match refused(&malformed) {
                AdoptError::Malformed { value } => assert_eq!(value, malformed),
                error => panic!("{malformed:?}: {error:?}"),
            }
        }
        then_a_good_one_is_adopted(good.read);
    });
}

/// Two layers of spawners: only a raw execve can make such an environment.
#[test]
fn variable_that_is_set_twice_is_refused() {
    alone!({
        let good = Inherited::on(50);
        let entry = CString::new(format!("{ENV_VAR}={}", value(good.read))).expect("no NUL");
        let env = [entry.as_ptr(), entry.as_ptr(), std::ptr::null()];
        let program = CString::new(HEIR).expect("no NUL");
        let order = CString::new(Order::AdoptOneOfTwo.argument()).expect("no NUL");
        let args = [program.as_ptr(), order.as_ptr(), std::ptr::null()];
        // SAFETY: null-terminated arrays of strings that live until the program has changed.
        unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
        panic!("execve: {}", io::Error::last_os_error());
    });
}

/// A supervised process starts a program that inherits the variable, and has 3 for something else.
#[test]
fn grandchild_does_not_claim_its_own_unrelated_descriptor() {
    alone!({
        let supervised = Inherited::on(50);
        set_variable(value(supervised.read));
        // As the child's own variable would say, had its read end been 3.
        set_variable(
            std::env::var(ENV_VAR)
                .expect("set")
                .replace("fd=50", "fd=3"),
        );
        let log = File::open("/proc/self/exe").expect("a file");
        let pid = Launch::new(HEIR)
            .arg(Order::AdoptNothing.argument())
            .fd(log.as_raw_fd(), 3)
            .start()
            .expect("start");
        let status = until("grandchild ends", || {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer; the child is ours and not reaped.
            let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            (reaped == pid).then_some(status)
        });
        assert_eq!(status, 0, "grandchild");
    });
}
