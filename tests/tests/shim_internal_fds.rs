//! Where the watchdog's descriptors and the configuration lie in the child, and that nothing else
//! is mistaken for them.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;

use shim_spawner::{ShimHandler, ShimSpawner, SpawnError, Stage, Stdio};
use workspace_tests::fd_table::{file, file_at};
use workspace_tests::{alone, fd_limit, seccomp, time_limit};

const BOX: &str = env!("CARGO_BIN_EXE_shim_box");

const FD_LIST: &str = env!("CARGO_BIN_EXE_fd_list");

/// A shim that does not survive its test.
struct Held(ShimHandler);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The numbers above 2 that a shim finds open.
fn numbers(spawner: &mut ShimSpawner) -> Result<Vec<RawFd>, SpawnError> {
    let mut shim = spawner.stdout(Stdio::piped()).spawn()?;
    let mut report = String::new();
    let mut stdout = shim.child.stdout.take().expect("piped");
    stdout.read_to_string(&mut report).expect("a report");
    let numbers = report.lines().map(|line| {
        let number = line.split(' ').next().expect("a number first");
        number.parse().expect("a number")
    });
    Ok(numbers.filter(|&number| number > 2).collect())
}

fn fd_list() -> ShimSpawner {
    let mut spawner = ShimSpawner::new(FD_LIST);
    spawner.arg("/dev/stdout").config(b"secret".as_slice());
    spawner
}

/// A box that `shell` executes in its own place, after it has run `script`. It is told of the end
/// of its runtime, and stops itself.
fn link_survives(shell: &str, script: &str) {
    let mut spawner = ShimSpawner::new(shell);
    spawner
        .args(["-c", &format!("{script}; exec \"$0\""), BOX])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let shim = match spawner.spawn() {
        Ok(shim) => shim,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            eprintln!("skipped: no {shell}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let mut shim = Held(ShimHandler::new(shim));
    let stdout = shim.0.take_stdout().expect("piped");
    let mut said = String::new();
    BufReader::new(stdout).read_line(&mut said).expect("read");
    assert_eq!(said, "attached\n", "{shell} -c '{script}'");
    drop(shim.0.take_keepalive());
    let exit = shim.0.process().wait_timeout(time_limit()).expect("wait");
    let status = exit.expect("it was told").status.expect("own child");
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

#[test]
fn shell_that_uses_low_numbers_does_not_cut_the_link() {
    let numbers = "3 4 5 6 7 8 9".split(' ');
    let script: String = numbers.map(|fd| format!("{fd}>/dev/null ")).collect();
    link_survives("sh", "exec 3>/dev/null");
    link_survives("sh", &format!("exec {script}"));
}

#[test]
fn bash_that_uses_numbers_of_its_own_choice_does_not_cut_the_link() {
    link_survives(
        "bash",
        "exec {mine}>/dev/null 10>/dev/null 11>/dev/null 12>/dev/null 200>/dev/null",
    );
    link_survives("bash", "read -r line < <(echo one); test \"$line\" = one");
}

#[test]
fn our_descriptors_lie_on_high_numbers_that_the_caller_left_free() {
    alone!({
        let seen = numbers(&mut fd_list()).expect("spawn");
        assert_eq!(seen, [47, 48, 49]);

        let mut mapped = fd_list();
        mapped.map_fd(file(), 48).map_fd(file(), 3);
        assert_eq!(numbers(&mut mapped).expect("spawn"), [3, 46, 47, 48, 49]);
    });
}

/// Whatever this process has open there itself.
#[test]
fn our_descriptors_in_this_process_do_not_matter_to_their_numbers_in_the_child() {
    alone!({
        let _strangers = [file_at(47), file_at(48), file_at(49)];
        let seen = numbers(&mut fd_list()).expect("spawn");
        assert_eq!(seen, [47, 48, 49]);
    });
}

#[test]
fn caller_chooses_where_our_descriptors_begin() {
    alone!({
        let mut low = fd_list();
        low.internal_fds_from(3).map_fd(file(), 4);
        assert_eq!(numbers(&mut low).expect("spawn"), [3, 4, 5, 6]);

        let mut high = fd_list();
        high.internal_fds_from(200);
        assert_eq!(numbers(&mut high).expect("spawn"), [200, 201, 202]);
    });
}

#[test]
fn number_that_cannot_be_is_an_error_of_the_spawn() {
    alone!({
        let error = numbers(fd_list().internal_fds_from(2)).expect_err("a standard stream");
        assert_eq!(error.stage(), Stage::Arguments);
        let error = numbers(fd_list().internal_fds_from(RawFd::MAX)).expect_err("no second one");
        assert_eq!(error.stage(), Stage::Arguments);
        fd_limit::set(100);
        let error = numbers(fd_list().internal_fds_from(98)).expect_err("the third is above");
        assert_eq!(error.stage(), Stage::Descriptors);
    });
}

#[test]
fn low_limit_of_open_files_is_enough() {
    alone!({
        fd_limit::set(16);
        let seen = numbers(&mut fd_list()).expect("spawn");
        assert_eq!(seen, [13, 14, 15]);
    });
}

/// A filter that hides the limits makes no number of them, and no panic.
#[test]
fn limits_that_cannot_be_read_are_no_limits() {
    alone!({
        seccomp::refuse(&[
            (libc::SYS_prlimit64, libc::EPERM),
            (libc::SYS_getrlimit, libc::EPERM),
        ]);
        let seen = numbers(&mut fd_list()).expect("spawn");
        assert_eq!(seen, [47, 48, 49]);
    });
}
