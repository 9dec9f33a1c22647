//! What `Watchdog::from_env` refuses, and that it changes nothing then: each scenario in a process of its own.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use watchdog_pipe::{AdoptError, ENV_VAR, StopPolicy, Verdict, Watchdog};
use workspace_tests::fork::Fork;
use workspace_tests::launch::Launch;
use workspace_tests::{proc_fs, scenario, until};

fn main() -> ExitCode {
    scenario::run(&[
        ("none", no_variable_is_no_watchdog),
        ("malformed", malformed_values),
        ("twice", variable_twice),
        ("twice-executed", with_two_variables),
        ("closed", closed_number),
        ("write-end", write_end),
        ("other-types", other_types),
        ("read-write", fifo_opened_for_both),
        ("path-only", descriptor_that_only_names_the_pipe),
        ("stale", unrelated_pipe_on_the_number),
        ("grandchild", grandchild_with_an_unrelated_descriptor),
        ("grandchild-executed", grandchild),
        ("writer", own_write_end),
        (
            "writer-elsewhere",
            write_end_of_another_pipe_is_no_hindrance,
        ),
        ("claimed", second_adoption),
        ("no-proc", without_proc),
        ("no-descriptor", without_a_free_descriptor),
        ("no-watch", without_an_epoll_watch),
        ("descriptor", what_comes_by_another_way),
        ("standard", standard_number),
        ("policy", policy_is_read),
    ])
}

/// A pipe as a spawner leaves it to its child: the read end inheritable, the write end somewhere else.
struct Inherited {
    /// Owned by nobody here, as an inherited descriptor is.
    read: RawFd,
    /// Another number of the write end, in a process of its own.
    _holder: Fork,
}

impl Inherited {
    /// On `number`, which is free.
    fn on(number: RawFd) -> Inherited {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let read = place(read, number);
        let mut write = Some(write);
        let holder = Fork::run(|| {
            let _held = write.take();
            std::thread::park();
        });
        // Closed here, held there.
        drop(write);
        Inherited {
            read,
            _holder: holder,
        }
    }
}

/// Moves a descriptor to a number that nobody owns, inheritable.
fn place(fd: OwnedFd, number: RawFd) -> RawFd {
    // SAFETY: dup2 onto a number that is free here.
    assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
    number
}

/// What the variable says of a descriptor, as a spawner would write it.
fn value(number: RawFd) -> String {
    let stat = fstat(borrow(number)).expect("fstat");
    format!("fd={number},pipe={}:{}", stat.st_dev, stat.st_ino)
}

fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the scenario put it there and closes it by nothing but its own end.
    unsafe { BorrowedFd::borrow_raw(number) }
}

fn set_variable(value: impl AsRef<OsStr>) {
    // Removed first: setenv(3) would leave a second one of that name as it is.
    // SAFETY: a scenario has one thread.
    unsafe {
        std::env::remove_var(ENV_VAR);
        std::env::set_var(ENV_VAR, value);
    }
}

fn from_env() -> Result<Option<Watchdog>, AdoptError> {
    // SAFETY: no inherited descriptor is owned by anybody in a scenario.
    unsafe { Watchdog::from_env() }
}

/// What a failed adoption must leave as it was: every descriptor, its flags and those of its file.
type Everything = Vec<(RawFd, String, FdFlags, OFlags)>;

fn everything() -> Everything {
    let look = |(number, name)| {
        let fd = borrow(number);
        (
            number,
            name,
            fcntl_getfd(fd).expect("F_GETFD"),
            fcntl_getfl(fd).expect("F_GETFL"),
        )
    };
    proc_fs::own_fds().into_iter().map(look).collect()
}

/// The adoption fails, and changes nothing.
fn refused(value: impl AsRef<OsStr>) -> AdoptError {
    set_variable(value);
    let before = everything();
    let error = from_env().expect_err("adopted what it must not");
    assert_eq!(everything(), before, "{error:?}");
    error
}

/// After all those errors, the right one is adopted.
fn then_a_good_one_is_adopted(number: RawFd) {
    set_variable(value(number));
    let mut watchdog = from_env().expect("adopt").expect("supervised");
    assert_eq!(watchdog.try_wait().expect("look"), None);
    let flags = fcntl_getfd(borrow(number)).expect("F_GETFD");
    assert!(
        flags.contains(FdFlags::CLOEXEC),
        "inheritable after the adoption"
    );
}

fn no_variable_is_no_watchdog() {
    assert!(from_env().expect("no error").is_none());
    let good = Inherited::on(50);
    then_a_good_one_is_adopted(good.read);
}

fn malformed_values() {
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
}

/// Two layers of spawners: only a raw execve can make such an environment.
fn variable_twice() {
    let good = Inherited::on(50);
    let entry = CString::new(format!("{ENV_VAR}={}", value(good.read))).expect("no NUL");
    let env = [entry.as_ptr(), entry.as_ptr(), std::ptr::null()];
    let program = CString::new(std::env::current_exe().expect("exe").as_os_str().as_bytes());
    let program = program.expect("no NUL");
    let args = [
        program.as_ptr(),
        c"twice-executed".as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: null-terminated arrays of strings that live until the program has changed.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    panic!("execve: {}", io::Error::last_os_error());
}

fn with_two_variables() {
    let before = everything();
    assert!(matches!(from_env(), Err(AdoptError::SetTwice)));
    assert_eq!(everything(), before);
    // Setting it once leaves one.
    then_a_good_one_is_adopted(50);
}

fn closed_number() {
    let good = Inherited::on(50);
    let error = refused(value(50).replace("fd=50", "fd=51"));
    assert!(matches!(error, AdoptError::NotOpen { fd: 51 }), "{error:?}");
    let error = refused(value(50).replace("fd=50", "fd=2147483647"));
    assert!(
        matches!(error, AdoptError::NotOpen { fd: i32::MAX }),
        "{error:?}"
    );
    then_a_good_one_is_adopted(good.read);
}

fn write_end() {
    let good = Inherited::on(50);
    let (_read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    place(write, 60);
    let error = refused(value(60));
    assert!(
        matches!(error, AdoptError::WrongEnd { fd: 60 }),
        "{error:?}"
    );
    then_a_good_one_is_adopted(good.read);
}

fn other_types() {
    let good = Inherited::on(50);
    let (socket, _other) = UnixStream::pair().expect("socketpair");
    let file = File::open("/proc/self/exe").expect("a regular file");
    let null = File::open("/dev/null").expect("a device");
    for other in [OwnedFd::from(socket), file.into(), null.into()] {
        place(other, 60);
        // The variable was written for this very file.
        let error = refused(value(60));
        assert!(
            matches!(error, AdoptError::NotAPipe { fd: 60 }),
            "{error:?}"
        );
        // And for another one.
        let error = refused(value(50).replace("fd=50", "fd=60"));
        assert!(matches!(error, AdoptError::Stale { fd: 60 }), "{error:?}");
    }
    then_a_good_one_is_adopted(good.read);
}

fn reopened(number: RawFd, flags: OFlags) -> OwnedFd {
    open(
        format!("/proc/self/fd/{number}"),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("reopen")
}

fn fifo_opened_for_both() {
    let good = Inherited::on(50);
    let (read, _write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    place(reopened(read.as_raw_fd(), OFlags::RDWR), 60);
    let error = refused(value(60));
    assert!(
        matches!(error, AdoptError::WrongEnd { fd: 60 }),
        "{error:?}"
    );
    then_a_good_one_is_adopted(good.read);
}

/// O_PATH: the access mode of a read end, and nothing can be read.
fn descriptor_that_only_names_the_pipe() {
    let good = Inherited::on(50);
    place(reopened(50, OFlags::PATH), 60);
    let error = refused(value(60));
    assert!(
        matches!(error, AdoptError::WrongEnd { fd: 60 }),
        "{error:?}"
    );
    // It is no writer either.
    then_a_good_one_is_adopted(good.read);
}

fn unrelated_pipe_on_the_number() {
    let good = Inherited::on(50);
    let (read, _write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    place(read, 60);
    let error = refused(value(50).replace("fd=50", "fd=60"));
    assert!(matches!(error, AdoptError::Stale { fd: 60 }), "{error:?}");
    // The device counts as much as the inode.
    let (device, inode) = value(50)
        .split_once(":")
        .map(|(_, inode)| (77, inode.to_owned()))
        .expect("two");
    let error = refused(format!("fd=50,pipe={device}:{inode}"));
    assert!(matches!(error, AdoptError::Stale { fd: 50 }), "{error:?}");
    then_a_good_one_is_adopted(good.read);
}

/// A supervised process starts a program that inherits the variable, and has 3 for something else.
fn grandchild_with_an_unrelated_descriptor() {
    let supervised = Inherited::on(50);
    set_variable(value(supervised.read));
    // As the child's own variable would say, had its read end been 3.
    set_variable(
        std::env::var(ENV_VAR)
            .expect("set")
            .replace("fd=50", "fd=3"),
    );
    let log = File::open("/proc/self/exe").expect("a file");
    let pid = Launch::new(std::env::current_exe().expect("exe"))
        .arg("grandchild-executed")
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
}

fn grandchild() {
    let before = everything();
    let error = from_env().expect_err("claimed a stranger's descriptor");
    assert!(matches!(error, AdoptError::Stale { fd: 3 }), "{error:?}");
    assert_eq!(everything(), before);
}

fn own_write_end() {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    place(read, 50);
    let writer = place(write, 60);
    let error = refused(value(50));
    let AdoptError::HoldsWriter {
        fd: 50,
        writer: found,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(found, writer);
    // SAFETY: the scenario's own number; whatever opened it holds no owner of it.
    drop(unsafe { OwnedFd::from_raw_fd(writer) });
    // Even one that both reads and writes is a writer.
    let both = reopened(50, OFlags::RDWR);
    let error = refused(value(50));
    let AdoptError::HoldsWriter {
        fd: 50,
        writer: found,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(found, both.as_raw_fd());
    drop(both);
    // With nobody left who could write, it is adopted, and says so.
    set_variable(value(50));
    let mut watchdog = from_env().expect("adopt").expect("supervised");
    assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
}

fn write_end_of_another_pipe_is_no_hindrance() {
    let good = Inherited::on(50);
    let _other = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    then_a_good_one_is_adopted(good.read);
}

fn second_adoption() {
    let good = Inherited::on(50);
    then_a_good_one_is_adopted(good.read);
    // The watchdog is gone, and with it the number: it may be anybody's now.
    let second = Inherited::on(50);
    let error = refused(value(second.read));
    assert!(matches!(error, AdoptError::AlreadyClaimed), "{error:?}");
}

/// An empty file system over /proc, in a mount namespace of this process's own.
fn hide_proc() {
    // SAFETY: the strings are C strings and no file system needs data; unshare has no memory effect.
    unsafe {
        assert_eq!(
            libc::unshare(libc::CLONE_NEWNS),
            0,
            "{}",
            io::Error::last_os_error()
        );
        let (root, proc, none) = (c"/", c"/proc", c"none");
        let mount = |target: &std::ffi::CStr, kind: &std::ffi::CStr, flags| {
            libc::mount(
                none.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                flags,
                std::ptr::null(),
            )
        };
        assert_eq!(
            mount(root, none, libc::MS_REC | libc::MS_PRIVATE),
            0,
            "private"
        );
        assert_eq!(
            mount(proc, c"tmpfs", 0),
            0,
            "{}",
            io::Error::last_os_error()
        );
    }
    assert!(std::fs::read_dir("/proc/self/fd").is_err());
}

fn without_proc() {
    let good = Inherited::on(50);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    place(read, 60);
    let writer = place(write, 1000);
    hide_proc();
    set_variable(value(60));
    let error = from_env().expect_err("adopted what it must not");
    let AdoptError::HoldsWriter {
        fd: 60,
        writer: found,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(found, writer);
    then_a_good_one_is_adopted(good.read);
}

/// EMFILE at each descriptor that the adoption needs.
fn without_a_free_descriptor() {
    let _good = Inherited::on(50);
    let generous = getrlimit(Resource::Nofile);
    // Fill every hole below 50, so that the limit alone says how many are free.
    let holes: Vec<File> = std::iter::from_fn(|| {
        File::open("/dev/null")
            .ok()
            .filter(|file| file.as_raw_fd() < 50)
    })
    .collect();
    assert!(!holes.is_empty());
    let mut failures = 0;
    for free in 0..10 {
        let before = everything();
        let current = Some(51 + free);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current,
                ..generous
            },
        )
        .expect("setrlimit");
        set_variable(value(50));
        let adopted = from_env();
        setrlimit(Resource::Nofile, generous).expect("setrlimit");
        match adopted {
            Ok(watchdog) => {
                assert!(watchdog.is_some());
                assert!(
                    failures >= 2,
                    "an epoll instance and an eventfd: {failures} failures"
                );
                return;
            }
            Err(AdoptError::Io(error)) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                assert_eq!(everything(), before, "{free} free");
                failures += 1;
            }
            Err(error) => panic!("{free} free: {error:?}"),
        }
    }
    panic!("not adopted with ten free descriptors");
}

/// fs.epoll.max_user_watches counts for every process of the user, so the one watch that matters here, of the
/// pipe, is refused by a filter: ENOSPC, as the kernel has it.
fn without_an_epoll_watch() {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let good = Inherited::on(50);
    set_variable(value(good.read));
    let pipe = good.read.unsigned_abs().into();
    let third = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, pipe);
    let rule = SeccompRule::new(vec![third.expect("a condition")]).expect("a rule");
    let filter = SeccompFilter::new(
        [(libc::SYS_epoll_ctl, vec![rule])].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSPC.unsigned_abs()),
        std::env::consts::ARCH
            .try_into()
            .expect("an architecture that seccompiler knows"),
    );
    let program: BpfProgram = filter
        .expect("a filter")
        .try_into()
        .expect("a filter that compiles");
    seccompiler::apply_filter(&program).expect("install the filter");
    let before = everything();
    let error = from_env().expect_err("adopted without a watch");
    assert_eq!(everything(), before);
    let AdoptError::Io(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    // Nothing was claimed.
    let again = from_env().expect_err("adopted without a watch");
    assert!(matches!(again, AdoptError::Io(_)), "{again:?}");
}

fn what_comes_by_another_way() {
    let good = Inherited::on(50);
    let from = |fd: OwnedFd| Watchdog::from_fd(fd);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let number = write.as_raw_fd();
    assert!(matches!(from(write), Err(AdoptError::WrongEnd { fd }) if fd == number));
    let null = OwnedFd::from(File::open("/dev/null").expect("a device"));
    let number = null.as_raw_fd();
    assert!(matches!(from(null), Err(AdoptError::NotAPipe { fd }) if fd == number));
    let writer = reopened(read.as_raw_fd(), OFlags::WRONLY);
    let number = writer.as_raw_fd();
    let error = from(read).expect_err("this process holds a writer");
    assert!(matches!(error, AdoptError::HoldsWriter { writer, .. } if writer == number));
    // What was refused is closed: the writer has no reader left.
    let polled = &mut [rustix::event::PollFd::new(
        &writer,
        rustix::event::PollFlags::OUT,
    )];
    rustix::event::poll(polled, None).expect("poll");
    let hung_up = polled[0].revents().contains(rustix::event::PollFlags::ERR);
    assert!(hung_up, "the read end is still open");
    // A good one is made close-on-exec, and any number of them may be adopted.
    for _ in 0..2 {
        let fd = borrow(good.read).try_clone_to_owned().expect("dup");
        rustix::io::fcntl_setfd(&fd, FdFlags::empty()).expect("F_SETFD");
        let number = fd.as_raw_fd();
        let watchdog = from(fd).expect("adopt");
        assert!(
            fcntl_getfd(borrow(number))
                .expect("F_GETFD")
                .contains(FdFlags::CLOEXEC)
        );
        assert_eq!(watchdog.stop_policy(), None);
    }
}

/// 0 is a number as any other.
fn standard_number() {
    let good = Inherited::on(50);
    // SAFETY: nothing reads standard input in this scenario.
    assert_eq!(unsafe { libc::dup2(good.read, 0) }, 0);
    then_a_good_one_is_adopted(0);
}

fn policy_is_read() {
    let good = Inherited::on(50);
    set_variable(format!("{},later=1,stop=10:1500", value(good.read)));
    let watchdog = from_env().expect("adopt").expect("supervised");
    let policy = StopPolicy::new()
        .signal(watchdog_pipe::Signal::USR1)
        .grace(std::time::Duration::from_millis(1500));
    assert_eq!(watchdog.stop_policy(), Some(policy));
}
