//! What a child inherits from its spawner, and what an adoption may change of it.

use std::env;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::pipe::{PipeFlags, pipe_with};
use watchdog_pipe::{AdoptError, ENV_VAR, Watchdog};

use crate::fork::Fork;
use crate::proc_fs;

/// A pipe as a spawner leaves it to its child: the read end inheritable, the write end somewhere
/// else.
pub struct Inherited {
    /// Owned by nobody here, as an inherited descriptor is.
    pub read: RawFd,
    /// Another number of the write end, in a process of its own.
    _holder: Fork,
}

impl Inherited {
    /// On `number`, which is free.
    pub fn on(number: RawFd) -> Inherited {
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
pub fn place(fd: OwnedFd, number: RawFd) -> RawFd {
    // SAFETY: dup2 onto a number that is free here.
    assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
    number
}

/// What the variable says of a descriptor, as a spawner would write it.
pub fn value(number: RawFd) -> String {
    let stat = fstat(borrow(number)).expect("fstat");
    format!("fd={number},pipe={}:{}", stat.st_dev, stat.st_ino)
}

pub fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the case put it there and closes it by nothing but its own end.
    unsafe { BorrowedFd::borrow_raw(number) }
}

pub fn set_variable(value: impl AsRef<OsStr>) {
    // Removed first: setenv(3) would leave a second one of that name as it is.
    // SAFETY: a case has one thread.
    unsafe {
        env::remove_var(ENV_VAR);
        env::set_var(ENV_VAR, value);
    }
}

pub fn from_env() -> Result<Option<Watchdog>, AdoptError> {
    // SAFETY: no inherited descriptor is owned by anybody in a case.
    unsafe { Watchdog::from_env() }
}

/// What a failed adoption must leave as it was: every descriptor, its flags and those of its file.
type Everything = Vec<(RawFd, String, FdFlags, OFlags)>;

pub fn everything() -> Everything {
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

/// The adoption fails, and changes nothing: the variable is left as well.
pub fn refused(value: impl AsRef<OsStr>) -> AdoptError {
    set_variable(&value);
    let before = everything();
    let error = from_env().expect_err("adopted what it must not");
    assert_eq!(everything(), before, "{error:?}");
    assert_eq!(env::var_os(ENV_VAR).as_deref(), Some(value.as_ref()));
    error
}

/// The variable is not for this process: no error, nothing is touched, and whatever is started from
/// here does not see it.
pub fn not_supervised(value: impl AsRef<OsStr>) {
    set_variable(value);
    let before = everything();
    assert!(from_env().expect("no error").is_none());
    assert_eq!(everything(), before);
    assert_eq!(env::var_os(ENV_VAR), None);
}

/// After all those errors, the right one is adopted.
pub fn then_a_good_one_is_adopted(number: RawFd) {
    set_variable(value(number));
    let mut watchdog = from_env().expect("adopt").expect("supervised");
    assert_eq!(watchdog.try_wait().expect("look"), None);
    let flags = fcntl_getfd(borrow(number)).expect("F_GETFD");
    assert!(
        flags.contains(FdFlags::CLOEXEC),
        "inheritable after the adoption"
    );
    assert_eq!(env::var_os(ENV_VAR), None);
}

pub fn reopened(number: RawFd, flags: OFlags) -> OwnedFd {
    open(
        format!("/proc/self/fd/{number}"),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("reopen")
}
