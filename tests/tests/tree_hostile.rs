//! What a hostile COMMAND can and cannot do: a test for each sentence of SECURITY.md.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pidfd_watcher::Signal;
use workspace_tests::below::{ends, living, nobody_is_left, open, pid_of, term, three};
use workspace_tests::container::as_init;
use workspace_tests::orders::Order;
use workspace_tests::play::can;
use workspace_tests::{
    Dialogue, Folder, Guard, alone_in_pid_namespace, namespace, proc_fs, time_limit, until,
};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile_command");

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// The shim in this containment with COMMAND; it is told to end by SIGTERM.
fn shim(contain: &str, options: &[&str], command: &[&str]) -> Dialogue {
    let mut shim = Command::new(SHIM);
    shim.arg(format!("--contain={contain}"));
    shim.args(options).arg("--").args(command);
    Dialogue::spawn(&mut shim)
}

fn script(contain: &str, options: &[&str], script: &str) -> Dialogue {
    shim(contain, options, &["bash", "-c", script])
}

// COMMAND of the same user reaches for the shim.

/// What a COMMAND of that user reaches of each process of its shim.
fn spied(user: u32) -> Vec<String> {
    let folder = Folder::new();
    // Where that user may execute them.
    let copy = |program: &str, name: &str| {
        let path = folder.join(name);
        fs::copy(program, &path).expect("copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path.to_str().expect("a plain path").to_owned()
    };
    let (program, spy) = (copy(SHIM, "shim"), copy(HOSTILE, "spy"));
    let order = Order::Spy { pids: Vec::new() }.argument();
    let order = order.replace("[]", "[$outer,$standby,$PPID]");
    let script = "read go; standby=$(ps -o ppid= -p $PPID | tr -d ' '); \
                  outer=$(ps -o ppid= -p $standby | tr -d ' '); \
                  exec \"$0\" \"$(eval echo \"$1\")\"";
    let mut command = Command::new(program);
    command.args(["--contain=subreaper", "--", "sh", "-c", script, &spy]);
    command.arg(order.replace('"', "\\\""));
    command.uid(user).gid(user);
    let mut shim = Dialogue::spawn(&mut command);
    // Set up by now: it lets go of standard input when COMMAND runs.
    shim.say("go");
    let said = (0..3).map(|_| shim.hear()).collect();
    assert!(shim.child().wait_deadline().success());
    said
}

#[test]
fn command_of_the_same_user_cannot_trace_the_shim_or_reach_its_descriptors_and_memory() {
    alone_in_pid_namespace!({
        assert_eq!(spied(NOBODY), ["", "", ""]);
    });
}

#[test]
fn command_of_root_can_trace_the_shim_and_reach_its_descriptors_and_memory() {
    alone_in_pid_namespace!({
        let all = "descriptors memory environment copy trace";
        assert_eq!(spied(0), [all, all, all]);
    });
}

#[test]
fn command_has_no_copy_of_the_page_that_the_shim_shares() {
    alone_in_pid_namespace!({
        let mut shim = script("subreaper", &[], "cat /proc/self/maps; echo end; read line");
        let mut maps = String::new();
        loop {
            match shim.hear() {
                line if line == "end" => break,
                line => maps.push_str(&line),
            }
        }
        // As the kernel names a shared page without a file.
        let name = "/dev/zero (deleted)";
        for pid in three(&mut shim) {
            let theirs = fs::read_to_string(format!("/proc/{pid}/maps")).expect("as root");
            assert!(theirs.contains(name), "{theirs}");
        }
        assert!(!maps.contains(name), "{maps}");
    });
}

#[test]
fn command_does_not_have_the_descriptor_of_the_reports() {
    alone_in_pid_namespace!({
        let command =
            "exec 5>/dev/null; exec \"$0\" --status-fd=5 -- sh -c 'test ! -e /proc/self/fd/5'";
        let status = Command::new("bash").args(["-c", command, SHIM]).status();
        assert!(status.expect("run bash").success());
    });
}

// COMMAND kills or stops the shim.

/// In bash: `$inner`, `$standby` and `$outer`.
const ABOVE: &str = "above() { while read -r key value; do [ $key = PPid: ] && echo $value; done \
                     </proc/$1/status; }; inner=$PPID; standby=$(above $inner); outer=$(above \
                     $standby); ";

#[test]
fn command_that_kills_one_or_two_processes_of_the_shim_ends_its_own_tree() {
    alone_in_pid_namespace!({
        for victims in [
            "$outer",
            "$standby",
            "$inner",
            "$outer $inner",
            "$standby $inner",
        ] {
            let attack = format!(
                "{ABOVE} trap '' TERM; (setsid sleep 1000 &); echo ready; kill -9 {victims}; \
                 while :; do sleep 0.01; done"
            );
            let mut shim = script("subreaper", &["--stop-timeout=100ms"], &attack);
            assert_eq!(shim.hear(), "ready");
            shim.child().wait_deadline();
            nobody_is_left();
        }
    });
}

#[test]
fn command_that_kills_all_three_at_once_is_free() {
    alone_in_pid_namespace!({
        // Stopped first, so that none of them sees the end of another; and from above, since each
        // continues the one below it.
        let attack = format!(
            "{ABOVE} kill -STOP $outer $standby $inner; kill -9 $outer $standby $inner; \
             while [ -e /proc/$inner/exe ] || [ -e /proc/$standby/exe ]; do :; done; echo free; \
             read line"
        );
        let mut shim = script("subreaper", &[], &attack);
        assert_eq!(shim.hear(), "free");
        shim.child().wait_deadline();
        assert!(!living().is_empty());
    });
}

/// Whether a signal has come to a process that has not taken it yet; `None` once it is gone.
fn has_pending(pid: i32, signal: Signal) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("ShdPnd:\t"))?;
    let set = u64::from_str_radix(set, 16).expect("a set of signals");
    Some(set >> (signal.as_raw() - 1) & 1 == 1)
}

#[test]
fn command_cannot_put_off_its_end_by_stopping_one_or_two_processes_of_the_shim() {
    alone_in_pid_namespace!({
        for whom in [
            "$inner",
            "$standby",
            "$standby $inner",
            "$inner $standby",
            "$outer",
        ] {
            let attack =
                format!("{ABOVE} kill -STOP {whom}; echo ready; while :; do sleep 0.01; done");
            let mut shim = script("subreaper", &["--stop-timeout=100ms"], &attack);
            assert_eq!(shim.hear(), "ready");
            let [outer, standby, inner] = three(&mut shim);
            until("all but OUTER are continued", || {
                // In this order: one that is about to stop has the signal pending, and is stopped
                // when it has not.
                let goes_on = |pid| {
                    Some(!has_pending(pid, Signal::STOP)? && proc_fs::stat(pid)?.state != 'T')
                };
                (goes_on(standby)? && goes_on(inner)?).then_some(())
            });
            // OUTER's parent, which nobody here is, would continue OUTER; its death is seen by
            // INNER all the same.
            open(outer).send_signal(Signal::KILL).expect("send");
            shim.child().wait_deadline();
            nobody_is_left();
        }
    });
}

#[test]
fn command_that_stops_all_three_puts_off_its_end_until_one_is_continued() {
    alone_in_pid_namespace!({
        let attack = format!(
            "{ABOVE} kill -STOP $outer $standby $inner; echo ready; while :; do sleep 0.01; done"
        );
        let mut shim = script("subreaper", &["--stop-timeout=100ms"], &attack);
        assert_eq!(shim.hear(), "ready");
        let all = three(&mut shim);
        until("all are stopped", || {
            let stopped = |pid: &i32| proc_fs::stat(*pid).is_some_and(|stat| stat.state == 'T');
            all.iter().all(stopped).then_some(())
        });
        term(&mut shim);
        // OUTER continues STANDBY, which continues INNER.
        open(all[0]).send_signal(Signal::CONT).expect("send");
        shim.child().wait_deadline();
        nobody_is_left();
    });
}

#[test]
fn command_in_a_pid_namespace_cannot_see_outer_nor_kill_or_stop_inner() {
    alone_in_pid_namespace!({
        if !can(SHIM, "pidns") {
            return;
        }
        let attack = "for s in KILL STOP INT HUP SEGV TSTP; do kill -$s 1; done; \
                      for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || echo \
                      $p; done; \
                      echo $PPID; read line";
        let mut shim = script(
            "pidns",
            &["--stop-signal=USR1"],
            &format!("trap '' TERM INT HUP TSTP SEGV; {attack}"),
        );
        assert_eq!(shim.hear(), "1");
        let inner = proc_fs::children_of(pid_of(&mut shim))[0].clone();
        assert_ne!(inner.state, 'T');
        open(pid_of(&mut shim))
            .send_signal(Signal::TERM)
            .expect("send");
        shim.child().wait_deadline();
        nobody_is_left();
    });
}

#[test]
fn command_in_a_pid_namespace_can_ask_for_its_own_end() {
    alone_in_pid_namespace!({
        if !can(SHIM, "pidns") {
            return;
        }
        let attack = "trap 'exit 9' TERM; kill -TERM 1; while :; do sleep 0.01; done";
        let mut shim = script("pidns", &[], attack);
        assert_eq!(shim.child().wait_deadline().code(), Some(9));
        nobody_is_left();
    });
}

#[test]
fn command_of_a_shim_that_is_pid_1_cannot_kill_or_stop_it() {
    alone_in_pid_namespace!({
        let attack = "trap '' TERM INT HUP TSTP SEGV; for s in KILL STOP INT HUP SEGV TSTP; do \
                      kill -$s 1; done; \
                      echo ready; while :; do sleep 0.01; done";
        let mut command = Command::new(SHIM);
        command.args(["--stop-timeout=100ms", "--", "bash", "-c", attack]);
        let shim = as_init(&mut command, Dialogue::spawn);
        ends(shim);
    });
}

// COMMAND leaves.

#[test]
fn command_cannot_leave_by_a_session_a_double_fork_or_another_name() {
    alone_in_pid_namespace!({
        let script_text = "trap '' TERM; (setsid bash -c 'exec -a [kthreadd] sleep 1000' &); \
                           (setsid setsid sleep 1000 & ) & wait; echo ready; sleep 1000";
        for contain in ["subreaper", "pidns", "cgroup"] {
            if can(SHIM, contain) {
                ends(script(contain, &["--stop-timeout=100ms"], script_text));
            }
        }
    });
}

#[test]
fn command_cannot_leave_by_being_a_subreaper() {
    alone_in_pid_namespace!({
        for contain in ["subreaper", "pidns"] {
            let order = Order::BeSubreaper.argument();
            ends(shim(contain, &["--stop-timeout=100ms"], &[HOSTILE, &order]));
        }
    });
}

#[test]
fn command_cannot_leave_by_a_pid_namespace_of_its_own() {
    alone_in_pid_namespace!({
        let inside = "unshare -pf --mount-proc bash -c \"trap '' TERM; (setsid sleep 1000 &); \
                      echo ready; sleep 1000\"";
        for contain in ["subreaper", "pidns"] {
            ends(script(contain, &["--stop-timeout=100ms"], inside));
        }
    });
}

#[test]
fn command_of_root_can_leave_by_the_pid_namespace_of_somebody_else() {
    alone_in_pid_namespace!({
        let mut other = Command::new("sleep");
        let other = as_init(other.arg("1000"), Guard::spawn);
        let attack = format!(
            "nsenter -t {} -p -m sh -c 'setsid sleep 1000 >/dev/null 2>&1 & exit 0'; echo ready; \
             read line",
            other.id()
        );
        let mut shim = script("subreaper", &["--stop-timeout=100ms"], &attack);
        assert_eq!(shim.hear(), "ready");
        term(&mut shim);
        shim.child().wait_deadline();
        let other = i32::try_from(other.id()).expect("a pid");
        assert_eq!(proc_fs::children_of(other).len(), 1);
    });
}

#[test]
fn command_of_root_can_leave_its_cgroup_and_is_found_as_a_descendant() {
    alone_in_pid_namespace!({
        if !can(SHIM, "cgroup") {
            return;
        }
        let attack = "trap '' TERM; root=$(grep -m1 cgroup2 /proc/self/mountinfo | cut -d' ' -f5); \
                      echo 0 > $root/cgroup.procs && echo ready; while :; do sleep 0.01; done";
        ends(script("cgroup", &["--stop-timeout=100ms"], attack));
    });
}

#[test]
fn command_can_have_a_daemon_do_its_work_and_that_is_not_stopped() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let fifo = folder.join("orders");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .expect("run")
                .success()
        );
        let fifo = fifo.to_str().expect("a plain path");
        let mut daemon = Command::new("sh");
        daemon.args(["-c", "read -r line < \"$0\"; exec $line", fifo]);
        let mut daemon = Guard::spawn(daemon.stdin(Stdio::null()).stdout(Stdio::null()));
        let mut shim = script(
            "pidns",
            &[],
            &format!("echo sleep 1000 > {fifo}; echo ready; read line"),
        );
        assert_eq!(shim.hear(), "ready");
        term(&mut shim);
        shim.child().wait_deadline();
        assert!(daemon.try_wait().expect("own child").is_none());
    });
}

#[test]
fn children_of_a_command_that_is_not_contained_live_on() {
    alone_in_pid_namespace!({
        let attack = "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo ready; exec sleep 1000";
        let mut shim = script("none", &[], attack);
        assert_eq!(shim.hear(), "ready");
        term(&mut shim);
        shim.child().wait_deadline();
        assert_eq!(living().len(), 1);
    });
}

// COMMAND does not want to end.

#[test]
fn command_that_ignores_every_signal_is_killed_after_the_grace() {
    alone_in_pid_namespace!({
        let attack = "for s in $(seq 1 64); do trap '' $s 2>/dev/null; done; echo ready; while :; \
                      do sleep 0.01; done";
        for contain in ["subreaper", "pidns", "none"] {
            ends(script(contain, &["--stop-timeout=100ms"], attack));
        }
    });
}

#[test]
fn command_that_is_stopped_is_ended() {
    alone_in_pid_namespace!({
        let attack = "trap '' TERM; echo ready; kill -STOP $$";
        for contain in ["subreaper", "pidns", "none"] {
            let options = ["--stop-timeout=100ms", "--session=new"];
            ends(script(contain, &options, attack));
        }
    });
}

#[test]
fn command_that_forks_without_end_is_ended() {
    alone_in_pid_namespace!({
        let attack =
            "trap '' TERM; echo ready; while :; do (setsid sleep 0.1 &); done >/dev/null 2>&1";
        for contain in ["subreaper", "pidns", "cgroup"] {
            if can(SHIM, contain) {
                ends(script(contain, &["--stop-timeout=100ms"], attack));
            }
        }
    });
}

#[test]
fn command_that_has_taken_all_pids_is_ended() {
    alone_in_pid_namespace!({
        if !namespace::few_numbers() {
            return;
        }
        // No fork of the shell's own is tried again for long: its child ends when it cannot fork.
        let attack = "import os, signal, time\n\
                      signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                      try:\n\
                      \x20while os.fork(): pass\n\
                      except OSError: print('ready', flush=True)\n\
                      while True: time.sleep(1000)";
        ends(shim(
            "subreaper",
            &["--stop-timeout=100ms"],
            &["python3", "-c", attack],
        ));
    });
}

#[test]
fn command_that_floods_outer_with_signals_is_ended() {
    alone_in_pid_namespace!({
        let attack = format!(
            "{ABOVE} trap '' TERM USR1; echo ready; while :; do kill -USR1 $outer; done 2>/dev/null"
        );
        ends(script("subreaper", &["--stop-timeout=100ms"], &attack));
    });
}

#[test]
fn tree_of_a_hostile_command_ends_with_its_parent() {
    alone_in_pid_namespace!({
        let attack =
            "trap '' TERM HUP; (setsid sleep 1000 &); echo ready; while :; do sleep 0.01; done";
        let command = "\"$0\" --stop-timeout=100ms --watch=parent -- bash -c \"$1\" & read line";
        let mut parent = Command::new("bash");
        let mut parent = Dialogue::spawn(parent.args(["-c", command, SHIM, attack]));
        assert_eq!(parent.hear(), "ready");
        parent.child().kill().expect("own child");
        let parent = parent.child().wait_deadline();
        assert!(!parent.success());
        let start = std::time::Instant::now();
        nobody_is_left();
        assert!(start.elapsed() < time_limit());
    });
}
