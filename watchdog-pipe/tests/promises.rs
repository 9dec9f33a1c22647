//! What the types promise, and what the parent's side does in one process. Whatever needs two
//! processes, or changes one as a whole, is tested by the workspace's `tests` package.

#![allow(clippy::unwrap_used, reason = "tests, their helpers included")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use static_assertions::{assert_impl_all, assert_not_impl_any};
use watchdog_pipe::{
    AdoptError, Builder, ChildSetup, ENV_VAR, Guarantees, Keepalive, Monitor, PAGE_FD, PIPE_FD,
    ReleaseError, Signal, StopPolicy, Verdict, Watchdog, channel,
};

// A keepalive goes to whichever thread supervises; two of one link would contradict each other.
assert_impl_all!(Keepalive: Send, Sync, std::fmt::Debug);
assert_not_impl_any!(Keepalive: Clone, AsFd);
assert_impl_all!(ChildSetup: Send, Sync);
assert_not_impl_any!(ChildSetup: Clone);
assert_impl_all!(Watchdog: Send, Sync, AsFd);
assert_not_impl_any!(Watchdog: Clone);
assert_impl_all!(Monitor: Send, Sync);
assert_not_impl_any!(Monitor: Clone);
assert_impl_all!(Builder: Send, Sync, Copy, Default);
assert_impl_all!(StopPolicy: Send, Sync, Copy, Eq, Default);
assert_impl_all!(Guarantees: Send, Sync, Copy, Eq, std::hash::Hash);
assert_impl_all!(Verdict: Send, Sync, Copy, Eq, std::hash::Hash);
assert_impl_all!(AdoptError: Send, Sync, std::error::Error);
assert_impl_all!(ReleaseError: Send, Sync, std::error::Error);
assert_impl_all!(std::io::Error: From<ReleaseError>);

fn read(setup: &ChildSetup) -> Vec<u8> {
    let (fd, _) = setup.fds().next().unwrap();
    let mut buffer = [0; 64];
    let count = rustix::io::read(fd, &mut buffer).unwrap();
    buffer[..count].to_vec()
}

#[test]
fn setup_names_the_number_and_the_pipe() {
    let (_keepalive, mut setup) = Builder::new().sentinel(false).channel().unwrap();
    let (fd, number) = setup.fds().next().unwrap();
    assert_eq!(number, PIPE_FD);
    let stat = rustix::fs::fstat(fd).unwrap();
    let pipe = format!("pipe={}:{}", stat.st_dev, stat.st_ino);
    assert_eq!(setup.env(), (ENV_VAR, format!("fd=3,{pipe}")));
    let source = fd.as_raw_fd();
    setup.renumber(200);
    let (fd, number) = setup.fds().next().unwrap();
    assert_eq!((fd.as_raw_fd(), number), (source, 200));
    assert_eq!(setup.env().1, format!("fd=200,{pipe}"));
    assert_eq!(setup.fds().count(), 1);
    // One descriptor: a number too many is nobody's.
    setup.renumber_each([7, 8]);
    assert_eq!(setup.env().1, format!("fd=7,{pipe}"));
}

#[test]
fn setup_names_the_sentinels_page_too() {
    let (keepalive, mut setup) = channel().unwrap();
    assert_eq!(keepalive.guarantees(), Guarantees::all());
    let numbers = |setup: &ChildSetup| setup.fds().map(|(_, number)| number).collect::<Vec<_>>();
    assert_eq!(numbers(&setup), [PIPE_FD, PAGE_FD]);
    let stat = rustix::fs::fstat(setup.fds().nth(1).unwrap().0).unwrap();
    let shared = setup.shared_fds().map(|(fd, at)| (fd.as_raw_fd(), at));
    let borrowed = setup.fds().map(|(fd, at)| (fd.as_raw_fd(), at));
    assert!(shared.eq(borrowed), "no duplicates");
    let page = format!(":{}:{}:", stat.st_dev, stat.st_ino);
    assert!(setup.env().1.contains(&format!(",sentinel=4{page}")));
    // `renumber` is about the pipe; the page makes way, and no more.
    setup.renumber(200);
    assert_eq!(numbers(&setup), [200, PAGE_FD]);
    setup.renumber(PAGE_FD);
    assert_eq!(numbers(&setup), [PAGE_FD, PIPE_FD]);
    setup.renumber(PIPE_FD);
    assert_eq!(numbers(&setup), [PIPE_FD, PAGE_FD]);
    setup.renumber_each([20, 30]);
    assert_eq!(numbers(&setup), [20, 30]);
    assert!(setup.env().1.contains(&format!(",sentinel=30{page}")));
    setup.renumber_each([40]);
    assert_eq!(numbers(&setup), [40, 30]);
}

#[test]
fn setup_carries_the_stop_policy() {
    let policy = StopPolicy::new()
        .signal(Signal::INT)
        .grace(Duration::from_micros(1_001));
    let (_keepalive, setup) = Builder::new().stop_policy(policy).channel().unwrap();
    assert!(setup.env().1.ends_with(",stop=2:2"), "{}", setup.env().1);
}

#[test]
fn policies_are_what_they_say() {
    let default = StopPolicy::default();
    assert_eq!(
        (default.stop_signal(), default.grace_period()),
        (Signal::TERM, Duration::from_secs(5))
    );
    let immediate = StopPolicy::immediate();
    assert_eq!(
        (immediate.stop_signal(), immediate.grace_period()),
        (Signal::KILL, Duration::ZERO)
    );
    assert!(Verdict::ParentExited.is_final() && Verdict::KeepaliveDropped.is_final());
    assert!(!Verdict::Released.is_final());
}

// The words are a protocol: a child of another version, or in another language, reads them.
#[test]
fn each_way_to_let_go_says_its_word_and_closes() {
    type End = (fn(Keepalive), &'static [u8]);
    let ends: [End; 3] = [
        (drop, b"wd:drop\n"),
        (|keepalive| keepalive.release().unwrap(), b"wd:free\n"),
        (
            |keepalive| drop(keepalive.hand_over().unwrap()),
            b"wd:hand\n",
        ),
    ];
    for (end, word) in ends {
        let (keepalive, setup) = channel().unwrap();
        end(keepalive);
        assert_eq!(read(&setup), word);
        assert_eq!(read(&setup), b"", "the write end is still open");
    }
}

#[test]
fn what_was_handed_over_is_open_until_it_is_let_go() {
    let (keepalive, setup) = channel().unwrap();
    let write = keepalive.hand_over().unwrap();
    assert_eq!(read(&setup), b"wd:hand\n");
    let keepalive = Keepalive::from_fd(write).unwrap();
    drop(keepalive);
    assert_eq!(read(&setup), b"wd:drop\n");
    assert_eq!(read(&setup), b"");
}

// A function that returns io::Result uses `?`; one that shall keep the child takes the keepalive
// out.
#[test]
fn failed_release_gives_the_keepalive_back_and_works_with_a_question_mark() {
    fn release(keepalive: Keepalive) -> std::io::Result<()> {
        Ok(keepalive.release()?)
    }
    let (keepalive, setup) = channel().unwrap();
    drop(setup);
    let refused = keepalive.release().unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(32), "EPIPE");
    assert!(std::error::Error::source(&refused).is_some());
    let error = release(refused.into_keepalive()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(32));
}

// The number in the error is the descriptor's own; `source` is kept.
#[test]
fn errors_say_what_and_where() {
    let (_keepalive, setup) = channel().unwrap();
    let fd = setup.fds().next().unwrap().0.try_clone_to_owned().unwrap();
    let number = fd.as_raw_fd();
    let Err(AdoptError::HoldsWriter { fd, writer }) = Watchdog::from_fd(fd) else {
        panic!("adopted in the process that holds the write end");
    };
    assert_eq!(fd, number);
    let text = AdoptError::HoldsWriter { fd, writer }.to_string();
    assert!(
        text.contains(&fd.to_string()) && text.contains(&writer.to_string()),
        "{text}"
    );
    let others = [
        (AdoptError::NotAPipe { fd: 43 }, "43"),
        (AdoptError::WrongEnd { fd: 44 }, "44"),
        (AdoptError::DamagedPage { fd: 45 }, "45"),
        (AdoptError::SetTwice, ENV_VAR),
        (
            AdoptError::Malformed {
                value: "fd=?".into(),
            },
            "fd=?",
        ),
        (AdoptError::AlreadyClaimed, "adopted before"),
    ];
    for (error, part) in others {
        assert!(error.to_string().contains(part), "{error}");
        assert!(std::error::Error::source(&error).is_none());
    }
    let io = AdoptError::from(std::io::Error::from_raw_os_error(libc::EMFILE));
    assert!(std::error::Error::source(&io).is_some_and(|source| source.to_string().contains("24")));
    // In a function that returns io::Result: the errno is kept, and so is what is typed.
    assert_eq!(io::Error::from(io).raw_os_error(), Some(libc::EMFILE));
    let io = io::Error::from(AdoptError::WrongEnd { fd: 44 });
    assert_eq!(io.kind(), io::ErrorKind::InvalidData);
    let inner = io.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(AdoptError::WrongEnd { fd: 44 })));
    let io = io::Error::from(AdoptError::AlreadyClaimed);
    assert_eq!(io.kind(), io::ErrorKind::ResourceBusy);
}
