//! Values as serde reads and writes them: the JSON that the crates' front pages show.

use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shim_spawner::{Exit, Level, ShimHandler, ShimIdentity, ShimSpawner, Stdio, StopTarget};
use watchdog_pipe::{Signal, StopPolicy, Verdict};
use workspace_tests::identity_text::with_field;
use workspace_tests::pack::{Pack, STUBBORN, raw};
use workspace_tests::{alone_in_pid_namespace, sources};

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

#[track_caller]
fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(text: &str) -> String {
    let read: Result<T, _> = serde_json::from_str(text);
    read.expect_err(text).to_string()
}

/// Written as this text, and read back from it.
#[track_caller]
fn both_ways<T>(value: &T, text: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    assert_eq!(json(value), text);
    assert_eq!(&read::<T>(text), value);
}

/// The front page of a crate has this JSON.
#[track_caller]
fn is_on_the_page(of: &str, json: &str) {
    let page = sources::read(&format!("{of}/src/lib.rs"));
    assert!(page.contains(&format!("`{json}`")), "{of}: {json}");
}

#[test]
fn stop_policy_is_a_signal_number_and_milliseconds() {
    let text = r#"{"signal":15,"grace_ms":5000}"#;
    both_ways(&StopPolicy::new(), text);
    is_on_the_page("watchdog-pipe", text);
    let policy = |grace| StopPolicy::new().signal(Signal::KILL).grace(grace);
    both_ways(&policy(Duration::ZERO), r#"{"signal":9,"grace_ms":0}"#);
    // As the variable, which has whole milliseconds too.
    assert_eq!(
        json(&policy(Duration::from_nanos(1))),
        r#"{"signal":9,"grace_ms":1}"#
    );
    let endless = json(&policy(Duration::MAX));
    let grace = read::<StopPolicy>(&endless).grace_period();
    assert_eq!(grace, Duration::from_millis(u64::MAX));
    // The first real-time signal that the C library leaves to programs.
    let real_time = r#"{"signal":34,"grace_ms":5}"#;
    assert_eq!(json(&read::<StopPolicy>(real_time)), real_time);
}

#[test]
fn policy_that_no_constructor_makes_is_refused() {
    for signal in [-1, 0, 32, 33, 65] {
        let text = format!(r#"{{"signal":{signal},"grace_ms":5000}}"#);
        let error = refused::<StopPolicy>(&text);
        assert!(
            error.starts_with(&format!("{signal} is no signal")),
            "{error}"
        );
    }
    for text in [
        r#"{"signal":15}"#,
        r#"{"grace_ms":5000}"#,
        r#"{"signal":15,"grace_ms":-1}"#,
        r#"{"signal":15,"grace_ms":0.5}"#,
        r#"{"signal":15,"grace_ms":5000,"grace":5}"#,
        r#"{"signal":"TERM","grace_ms":5000}"#,
    ] {
        refused::<StopPolicy>(text);
    }
}

#[test]
fn verdict_is_a_word() {
    for (verdict, text) in [
        (Verdict::ParentExited, r#""parent-exited""#),
        (Verdict::KeepaliveDropped, r#""keepalive-dropped""#),
        (Verdict::Released, r#""released""#),
    ] {
        both_ways(&verdict, text);
        is_on_the_page("watchdog-pipe", text);
    }
    refused::<Verdict>(r#""dropped""#);
}

#[test]
fn stop_target_is_the_word_that_an_identity_has() {
    for (target, text) in [
        (StopTarget::Leader, r#""leader""#),
        (StopTarget::Group, r#""group""#),
        (StopTarget::Cgroup, r#""cgroup""#),
        (StopTarget::Tree, r#""tree""#),
    ] {
        both_ways(&target, text);
        is_on_the_page("shim-spawner", text);
    }
    refused::<StopTarget>(r#""Group""#);
}

#[test]
fn level_is_a_word() {
    for (level, text) in [
        (Level::Told, r#""told""#),
        (Level::Good, r#""good""#),
        (Level::Certain, r#""certain""#),
    ] {
        assert_eq!(json(&level), text);
        is_on_the_page("shim-spawner", text);
    }
}

#[test]
fn exit_has_a_code_or_a_signal_or_no_status() {
    let mut exit: Exit = ended();
    let of = |exit: &Exit, pid| json(exit).replace(&raw(&exit.pid).to_string(), pid);
    for (status, text) in [
        (
            Some(ExitStatus::from_raw(3 << 8)),
            r#"{"pid":4711,"status":{"code":3}}"#,
        ),
        (
            Some(ExitStatus::from_raw(9)),
            r#"{"pid":4711,"status":{"signal":9,"core_dumped":false}}"#,
        ),
        (None, r#"{"pid":4711,"status":null}"#),
    ] {
        exit.status = status;
        assert_eq!(of(&exit, "4711"), text);
        is_on_the_page("pidfd-watcher", text);
    }
}

/// The exit of some process.
fn ended() -> Exit {
    let mut spawner = ShimSpawner::new("true");
    let spawned = spawner.detached(true).stdin(Stdio::null()).spawn();
    ShimHandler::new(spawned.expect("spawn"))
        .wait()
        .expect("wait")
}

#[test]
fn stop_report_says_how_the_shim_ended_and_who_was_killed() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        let pids = [pack.handler.pid(), pack.members[0].pid()];
        let [shim, member] = pids.map(|pid| raw(&pid));
        let text = |shim, member| {
            format!(
                r#"{{"exit":{{"pid":{shim},"status":{{"code":5}}}},"target":"group","killed":{{"count":1,"pids":[{member}]}},"left":{{"count":0,"pids":[]}}}}"#
            )
        };
        assert_eq!(json(&pack.stop()), text(shim, member));
        is_on_the_page("shim-spawner", &text(4711, 4712));
    });
}

#[test]
fn identity_is_the_text_of_its_file_and_is_checked_like_it() {
    let mut spawner = ShimSpawner::new("cat");
    let spawned = spawner.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut shim = ShimHandler::new(spawned.expect("spawn"));
    let identity = shim.identity().expect("alive");
    let text = identity.to_string();
    both_ways(&identity, &serde_json::to_string(&text).expect("a string"));
    let refused = |text: &str| refused::<ShimIdentity>(&json(&text));
    let damaged = text.replace("start-time ", "start-time 1");
    assert!(refused(&damaged).contains("checksum does not fit"));
    let no_pid = with_field(&text, "pid", Some("0"));
    assert!(refused(&no_pid).contains("field pid has no valid value"));
    drop(shim.take_stdin());
    shim.wait().expect("wait");
}
