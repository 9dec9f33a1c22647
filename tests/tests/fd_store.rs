//! Keepalives and identities in a service manager's descriptor store: helpers of the example
//! `service_restart` live on while their service does not.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::Command;

use pidfd_watcher::Process;
use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};
use rustix::process::Pid;
use shim_spawner::ShimIdentity;
use workspace_tests::cast::{Actor, Cast};
use workspace_tests::identity_text::with_field;
use workspace_tests::orders::Order;
use workspace_tests::service_manager::ServiceManager;
use workspace_tests::sleeper::sleeper;
use workspace_tests::systemd::Systemd;
use workspace_tests::{Guard, until};

/// A manager, its service, and where the helpers of that meet the test.
struct Play {
    manager: ServiceManager,
    cast: Cast,
}

impl Play {
    /// The service runs with helpers of these names.
    fn open(names: &[&str]) -> Play {
        let mut play = Play {
            manager: ServiceManager::new(),
            cast: Cast::new(),
        };
        play.start(names);
        play
    }

    fn start(&mut self, names: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_service_restart"));
        let (variable, value) = self.cast.env();
        command
            .arg(env!("CARGO_BIN_EXE_watchdog_child"))
            .args(names)
            .env(variable, value);
        self.manager.start(&command);
    }

    /// The next line of the service is this one.
    #[track_caller]
    fn says(&mut self, line: &str) {
        assert_eq!(self.manager.service().hear(), line);
    }

    /// A helper that was just started, with its watchdog.
    fn started(&mut self, name: &str) -> Actor {
        let mut helper = self.cast.enter(name);
        self.says(&format!("{name} started {}", helper.pid()));
        helper.must(&Order::Adopt);
        helper
    }

    /// The helper lives, was told nothing, and is the service's again.
    #[track_caller]
    fn adopted(&mut self, name: &str, helper: &mut Actor) {
        self.says(&format!("{name} adopted {}", helper.pid()));
        assert_eq!(helper.ask(&Order::TryWait), "None");
    }

    /// It is held by the store alone, and learns of its end.
    fn ends_with_the_store(&mut self, helper: &mut Actor) {
        self.manager.kill();
        assert_eq!(helper.ask(&Order::TryWait), "None");
        self.manager.send("FDSTOREREMOVE=1\nFDNAME=a", &[]);
        assert!(self.manager.names().is_empty());
        assert_eq!(helper.ask(&Order::Wait), "ParentExited");
    }
}

fn is_keepalive(fd: &OwnedFd) -> bool {
    FileType::from_raw_mode(fstat(fd).expect("fstat").st_mode) == FileType::Fifo
}

fn text_of(identity: OwnedFd) -> String {
    let file = File::from(identity);
    let mut bytes = [0; 4096];
    let count = file.read_at(&mut bytes, 0).expect("read the identity");
    String::from_utf8(bytes[..count].to_vec()).expect("text")
}

/// The text of the identity that is stored under `name`.
fn identity_text(manager: &mut ServiceManager, name: &str) -> String {
    let mut fds = manager.stored(name).into_iter();
    text_of(fds.find(|fd| !is_keepalive(fd)).expect("an identity"))
}

#[test]
fn helper_lives_while_its_service_is_killed_and_started_again() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    for _ in 0..3 {
        play.manager.kill();
        assert_eq!(helper.ask(&Order::TryWait), "None");
        play.start(&["a"]);
        play.adopted("a", &mut helper);
    }
    play.ends_with_the_store(&mut helper);
}

/// SIGTERM, as a manager restarts a service that does not handle it.
#[test]
fn helper_lives_while_its_service_is_restarted() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    play.manager.stop();
    assert_eq!(helper.ask(&Order::TryWait), "None");
    play.start(&["a"]);
    play.adopted("a", &mut helper);
    play.ends_with_the_store(&mut helper);
}

/// By `Keepalive::hand_over`: what is dropped tells the helper.
#[test]
fn helper_lives_while_its_service_lets_go_of_it_and_comes_back() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    // Of what it has started, and of what it has adopted.
    for _ in 0..2 {
        play.manager.service().say("leave");
        play.manager.left();
        assert_eq!(helper.ask(&Order::TryWait), "None");
        play.start(&["a"]);
        play.adopted("a", &mut helper);
    }
    play.ends_with_the_store(&mut helper);
}

#[test]
fn helper_is_told_when_its_service_stops_for_good() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    helper.tell(&Order::Wait);
    play.manager.kill();
    play.start(&["a"]);
    play.says(&format!("a adopted {}", helper.pid()));
    assert!(helper.is_silent());
    play.manager.stop_for_good();
    assert_eq!(helper.hear(), "ParentExited");
}

/// By its own copy of the keepalive, while the store has none.
#[test]
fn restarted_service_holds_its_helper_itself() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    play.manager.kill();
    play.start(&["a"]);
    play.adopted("a", &mut helper);
    play.manager.send("FDSTOREREMOVE=1\nFDNAME=a", &[]);
    assert!(play.manager.names().is_empty());
    assert_eq!(helper.ask(&Order::TryWait), "None");
    play.manager.kill();
    assert_eq!(helper.ask(&Order::Wait), "ParentExited");
}

/// What was said to it in life is that it follows the pipe alone.
#[test]
fn stored_helper_has_no_sentinel() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    assert_eq!(helper.ask(&Order::TryWait), "None");
    assert_eq!(helper.ask(&Order::Guarantees), "Guarantees(END_IS_TOLD)");
}

/// The store has a copy of the keepalive; the word on the pipe is the service's.
#[test]
fn restarted_service_stops_its_helper_and_the_name_is_gone() {
    let mut play = Play::open(&["a", "b"]);
    let mut a = play.started("a");
    let mut b = play.started("b");
    play.manager.kill();
    assert_eq!(play.manager.names(), ["a", "a", "b", "b"]);
    play.start(&["a", "b"]);
    play.adopted("a", &mut a);
    play.adopted("b", &mut b);
    play.manager.service().say("stop a");
    // Not its child any more: how it ended is known from Linux 6.15 on.
    let line = play.manager.service().hear();
    assert!(line.starts_with("a stopped "), "{line}");
    a.gone();
    assert_eq!(play.manager.names(), ["b", "b"]);
    play.manager.kill();
    // What was removed does not come back: it is started anew.
    play.start(&["a", "b"]);
    let again = play.started("a");
    assert_ne!(again.pid(), a.pid());
    play.adopted("b", &mut b);
}

/// A name that the next version of the service does not want: closed by both.
#[test]
fn helper_of_a_forgotten_name_is_told() {
    let mut play = Play::open(&["a", "b"]);
    let mut a = play.started("a");
    let mut b = play.started("b");
    play.manager.kill();
    play.start(&["b"]);
    play.adopted("b", &mut b);
    play.says("a forgotten");
    assert_eq!(play.manager.names(), ["b", "b"]);
    assert_eq!(a.ask(&Order::Wait), "ParentExited");
    assert_eq!(b.ask(&Order::TryWait), "None");
}

#[test]
fn two_helpers_keep_their_names() {
    let mut play = Play::open(&["a", "b"]);
    let mut a = play.started("a");
    let mut b = play.started("b");
    play.manager.kill();
    // In the other order.
    play.start(&["b", "a"]);
    play.adopted("b", &mut b);
    play.adopted("a", &mut a);
    // Each keepalive holds its own.
    play.manager.kill();
    play.manager.send("FDSTOREREMOVE=1\nFDNAME=a", &[]);
    assert_eq!(play.manager.names(), ["b", "b"]);
    assert_eq!(a.ask(&Order::Wait), "ParentExited");
    assert_eq!(b.ask(&Order::TryWait), "None");
}

#[test]
fn stored_identity_is_that_of_the_helper() {
    let mut play = Play::open(&["a"]);
    let mut helper = play.started("a");
    play.manager.kill();
    let process = Pid::from_raw(helper.pid()).expect("a pid");
    let process = Process::open(process).expect("it lives");
    let identity = identity_text(&mut play.manager, "a");
    let identity: ShimIdentity = identity.parse().expect("an identity");
    assert_eq!(identity.open().expect("it lives"), process);
    assert_eq!(identity.is_attached(), Some(true));
    play.start(&["a"]);
    play.adopted("a", &mut helper);
}

/// Whose number an entry has is not enough.
#[test]
fn stranger_with_the_pid_of_an_entry_is_left_alone() {
    let mut play = Play::open(&["a"]);
    let helper = play.started("a");
    play.manager.kill();
    let text = identity_text(&mut play.manager, "a");
    play.manager.send("FDSTOREREMOVE=1\nFDNAME=a", &[]);
    helper.kill();
    let mut stranger = Guard::spawn(&mut sleeper(None));
    let text = with_field(&text, "pid", Some(&stranger.id().to_string()));
    let mut file = File::from(memfd_create("a", MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(text.as_bytes()).expect("write");
    play.manager.send("FDSTORE=1\nFDNAME=a", &[file.as_fd()]);
    play.start(&["a"]);
    let again = play.started("a");
    assert_ne!(again.pid().cast_unsigned(), stranger.id());
    play.manager.service().say("stop a");
    let line = play.manager.service().hear();
    assert!(line.starts_with("a stopped "), "{line}");
    again.gone();
    assert!(stranger.try_wait().expect("own child").is_none());
}

/// The manager drops the keepalive by itself, and never the identity.
#[test]
fn entry_of_a_helper_that_has_ended_meanwhile_is_recognised() {
    let mut play = Play::open(&["a"]);
    let helper = play.started("a");
    play.manager.kill();
    assert_eq!(play.manager.names(), ["a", "a"]);
    helper.kill();
    assert_eq!(play.manager.names(), ["a"]);
    play.start(&["a"]);
    let mut again = play.started("a");
    assert_ne!(again.pid(), helper.pid());
    // The new one, and nothing of the old one.
    assert_eq!(play.manager.names(), ["a", "a"]);
    play.ends_with_the_store(&mut again);
}

/// `FDPOLL=0`: nothing is dropped on a hang-up.
#[test]
fn keepalive_that_outlived_its_helper_in_the_store_is_recognised() {
    let mut play = Play::open(&["a"]);
    let helper = play.started("a");
    play.manager.kill();
    let kept = play.manager.stored("a");
    play.manager.send("FDSTOREREMOVE=1\nFDNAME=a", &[]);
    let kept: Vec<_> = kept.iter().map(AsFd::as_fd).collect();
    play.manager.send("FDSTORE=1\nFDNAME=a\nFDPOLL=0", &kept);
    helper.kill();
    assert_eq!(play.manager.names(), ["a", "a"]);
    play.start(&["a"]);
    play.says("a stale, with its keepalive");
    let again = play.started("a");
    assert_ne!(again.pid(), helper.pid());
    assert_eq!(play.manager.names(), ["a", "a"]);
}

#[test]
fn running_service_forgets_a_helper_that_ends() {
    let mut play = Play::open(&["a", "b"]);
    let a = play.started("a");
    let _b = play.started("b");
    a.kill();
    until("its name is gone", || {
        (play.manager.names() == ["b", "b"]).then_some(())
    });
}

/// What the small manager does is what systemd does.
#[test]
fn helpers_live_on_in_the_store_of_systemd() {
    let mut cast = Cast::new();
    let (variable, value) = cast.env();
    let service = env!("CARGO_BIN_EXE_service_restart");
    let helper = env!("CARGO_BIN_EXE_watchdog_child");
    let unit = format!(
        "[Service]\nType=notify\nExecStart={service} {helper} a b\nFileDescriptorStoreMax=16\n\
         KillMode=process\nRestart=always\nRestartSec=10ms\n\
         StandardOutput=append:%E/said\nEnvironment={variable}={}\n",
        value.to_str().expect("a plain path")
    );
    let Some(mut systemd) = Systemd::start(&unit) else {
        return;
    };
    systemd.systemctl("start");
    let mut helpers = ["a", "b"].map(|name| cast.enter(name));
    for helper in &mut helpers {
        helper.must(&Order::Adopt);
    }
    let [a, b] = &mut helpers;
    assert_eq!(systemd.stored(), "4");
    systemd.systemctl("kill -s KILL --kill-who=main");
    until("systemd starts it again", || {
        (systemd.said().matches(" adopted ").count() == 2).then_some(())
    });
    systemd.systemctl("restart");
    assert_eq!(systemd.said().matches(" adopted ").count(), 4);
    for helper in [&mut *a, &mut *b] {
        assert_eq!(helper.ask(&Order::TryWait), "None");
    }
    a.kill();
    until("the store has what is the other's", || {
        (systemd.stored() == "2").then_some(())
    });
    systemd.systemctl("stop");
    assert_eq!(b.ask(&Order::Wait), "ParentExited");
}
