//! What runs between fork and exec.
//!
//! Another thread of the parent may have held any lock at the fork, and another spawner may share the
//! parent's memory with the child (`CLONE_VM`): so nothing here allocates, locks, panics, or writes to
//! memory that the parent reads, `errno` and the caller's own error record excepted. System calls are
//! made by number, since the C library's functions may be cancellation points.

use std::ffi::{c_int, c_long};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use crate::registry::{Mark, Reservation};
use crate::report::Report;
use crate::{ChildFdsError, OtherFds};

/// The child's half of a plan: the descriptors that it should have, ready to be put on their numbers.
///
/// Made by [`PreserveFds::prepare`](crate::PreserveFds::prepare), for spawners that have a child
/// routine of their own; [`PreserveFds::apply`](crate::PreserveFds::apply) does both for a `Command`.
/// It owns the sources: they stay open in the parent until it is dropped.
#[derive(Debug)]
pub struct ChildFds {
    pub(crate) others: OtherFds,
    /// Whether the spawner has a socket that must be on no target.
    pub(crate) guarded: bool,
    pub(crate) targets: Box<[Target]>,
    /// Standard descriptors that were closed, on which the parent holds /dev/null.
    pub(crate) null_stdio: [bool; 3],
    /// Keeps the sources open, and the targets occupied in the parent.
    pub(crate) _reservation: Reservation,
}

/// One descriptor of the child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    number: RawFd,
    /// The source; never a target itself. `None` if the descriptor keeps its number.
    from: Option<RawFd>,
    /// The socket that lay on the number when the plan was made: the caller's own, not the spawner's.
    known: Socket,
}

impl ChildFds {
    /// Runs in the child between fork and exec: puts every descriptor on its number.
    ///
    /// In this order: everything from 3 up is marked close-on-exec (unless
    /// [`OtherFds::Inherit`]); the targets are checked for the spawner's own error socket; the sources
    /// are duplicated onto their numbers, or `FD_CLOEXEC` is cleared where they have them already. It
    /// may be called again, in the same process too: the result is the same.
    ///
    /// Async-signal-safe: does not allocate, lock or panic, and changes no memory but `errno`.
    ///
    /// Everything is marked by one call of `close_range(2)` (Linux 5.11). Where that is refused, with
    /// whatever errno, every entry of `/proc/self/fd` is; without /proc, every number below 1,048,576.
    ///
    /// # Errors
    ///
    /// Any [`ChildFdsError`]. The caller must not exec then. Nothing was overwritten in the case of
    /// [`NoCloseMethod`](ChildFdsError::NoCloseMethod) and
    /// [`TargetCollision`](ChildFdsError::TargetCollision).
    ///
    /// # Panics
    ///
    /// None.
    ///
    /// # Safety
    ///
    /// Numbers are replaced without regard to who owns them, so the descriptor table must be one that
    /// nobody else relies on: that of a child made by fork or by clone without `CLONE_FILES`, before its exec, or
    /// that of a process that is about to exec. In the child of a clone with `CLONE_VM`, the parent must
    /// be suspended (`CLONE_VFORK`), because `errno` is shared.
    ///
    /// # References
    ///
    /// [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html),
    /// [dup3(2)](https://man7.org/linux/man-pages/man2/dup3.2.html),
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn install(&self) -> Result<(), ChildFdsError> {
        if self.others == OtherFds::CloseOnExec {
            mark_all_cloexec()?;
        }
        if self.guarded {
            for target in &self.targets {
                target.guard()?;
            }
            self.pass_null_stdio()?;
        }
        for target in &self.targets {
            target.install()?;
        }
        Ok(())
    }

    /// Runs in the child: lets /dev/null through where the parent holds it for a closed standard
    /// descriptor, and `Command` put nothing over it.
    fn pass_null_stdio(&self) -> Result<(), ChildFdsError> {
        for (fd, held) in (0..).zip(self.null_stdio) {
            if held && !matches!(socket(fd), Socket::None) {
                return Err(ChildFdsError::TargetCollision { target: fd });
            }
            if held {
                keep(fd)?;
            }
        }
        Ok(())
    }
}

impl Target {
    /// Runs in the parent, once the number is reserved. What lies there matters to a `guarded` child alone.
    pub(crate) fn new(number: RawFd, from: Option<RawFd>, guarded: bool) -> Target {
        Target {
            number,
            from,
            known: if guarded {
                socket(number)
            } else {
                Socket::None
            },
        }
    }

    /// Runs in the child: refuses a number on which the spawner's error socket lies.
    ///
    /// Overwriting that socket makes a failed exec look like a success and sends std's error record
    /// into the descriptor that took its place; clearing its flag makes the parent wait for the
    /// child's end.
    fn guard(&self) -> Result<(), ChildFdsError> {
        match socket(self.number) {
            Socket::None => Ok(()),
            found @ Socket::Cookie(_) if found == self.known => Ok(()),
            _ => Err(ChildFdsError::TargetCollision {
                target: self.number,
            }),
        }
    }

    /// Runs in the child: gives the descriptor its number.
    fn install(&self) -> Result<(), ChildFdsError> {
        let target = self.number;
        match self.from {
            None => keep(target),
            Some(from) => duplicate(from, target)
                .map_err(|Errno(errno)| ChildFdsError::Duplicate { target, errno }),
        }
    }
}

/// A Unix socket of type `SOCK_SEQPACKET`, which is what std reports a failed exec over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    /// Nothing of that kind lies on the number.
    None,
    /// One does; the kernel gives no two sockets the same cookie while it runs (`SO_COOKIE`, Linux 4.6).
    Cookie(u64),
    /// A seccomp filter does not let us know.
    Unknown,
}

/// Runs in the child, and in the parent: what kind of socket lies on `fd`.
fn socket(fd: RawFd) -> Socket {
    let mut kind: c_int = 0;
    let mut domain: c_int = 0;
    let mut cookie: u64 = 0;
    match socket_option(fd, libc::SO_TYPE, &mut kind) {
        Ok(()) if kind != libc::SOCK_SEQPACKET => return Socket::None,
        Ok(()) => {}
        Err(Errno(libc::EBADF | libc::ENOTSOCK)) => return Socket::None,
        Err(_) => return Socket::Unknown,
    }
    match socket_option(fd, libc::SO_DOMAIN, &mut domain) {
        Ok(()) if domain != libc::AF_UNIX => return Socket::None,
        Ok(()) => {}
        Err(_) => return Socket::Unknown,
    }
    match socket_option(fd, libc::SO_COOKIE, &mut cookie) {
        Ok(()) => Socket::Cookie(cookie),
        Err(_) => Socket::Unknown,
    }
}

/// Runs in the child: everything from 3 up will close at the exec. What is marked and what is kept
/// need not be told apart here: `Target::install` comes later.
fn mark_all_cloexec() -> Result<(), ChildFdsError> {
    // A container's filter may answer anything, so any error is a reason to go on (moby#43595).
    if by_close_range().is_ok() || by_proc().is_ok() {
        Ok(())
    } else {
        by_loop()
    }
}

/// Runs in the child: one system call, whatever is open.
fn by_close_range() -> Result<(), Errno> {
    // SAFETY: takes no pointer. CLOSE_RANGE_CLOEXEC sets a flag and closes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    checked(done).map(drop)
}

/// Runs in the child: every descriptor that the kernel lists.
fn by_proc() -> Result<(), Errno> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; openat(2) reads it and nothing else.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/proc/self/fd".as_ptr(),
            flags,
        )
    };
    // A descriptor always fits.
    let folder = RawFd::try_from(checked(opened)?).map_err(|_| Errno(libc::EBADF))?;
    let marked = if is_procfs(folder) {
        mark_listed(folder)
    } else {
        Err(Errno(libc::ENOENT))
    };
    // SAFETY: opened above and known to nobody else.
    unsafe { libc::syscall(libc::SYS_close, folder) };
    marked
}

/// Runs in the child: whether `folder` is the kernel's list, and not a folder of that name.
fn is_procfs(folder: RawFd) -> bool {
    let mut statfs = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the kernel fills a statfs, and `statfs` has room for one. By the C library, because the
    // call by number has another layout on 32-bit machines; fstatfs is no cancellation point.
    let done = unsafe { libc::fstatfs(folder, statfs.as_mut_ptr()) };
    // SAFETY: zeroed is a valid statfs, whether or not the kernel filled it in.
    let statfs = unsafe { statfs.assume_init() };
    // The C libraries disagree on the type; i128 holds them all.
    done == 0 && i128::from(statfs.f_type) == i128::from(libc::PROC_SUPER_MAGIC)
}

/// Runs in the child: marks every descriptor that the open folder lists.
fn mark_listed(folder: RawFd) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`.
        let filled = checked(unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder,
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        })?;
        let filled = usize::try_from(filled).unwrap_or(0);
        let mut rest = match buffer.get(..filled) {
            Some([]) | None => return Ok(()),
            Some(entries) => entries,
        };
        while let Some((fd, next)) = entry(rest) {
            if let Some(fd) = fd {
                fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)?;
            }
            rest = next;
        }
    }
}

/// Runs in the child: the first of some `linux_dirent64` records, as a number from 3 up, and the rest.
/// A record is inode (8 bytes), offset (8), length (2), type (1), and a name that a 0 ends.
fn entry(records: &[u8]) -> Option<(Option<RawFd>, &[u8])> {
    let length = usize::from(u16::from_ne_bytes([*records.get(16)?, *records.get(17)?]));
    let name = records.get(19..length)?;
    let mut number: RawFd = 0;
    for &byte in name.iter().take_while(|&&byte| byte != 0) {
        // "." and ".." are no numbers.
        if !byte.is_ascii_digit() {
            return Some((None, records.get(length..)?));
        }
        number = number
            .saturating_mul(10)
            .saturating_add(RawFd::from(byte - b'0'));
    }
    Some(((number >= FIRST).then_some(number), records.get(length..)?))
}

/// Runs in the child: every number below [`LOOP_END`]. The soft limit is no bound: it may have been
/// lowered when higher numbers were open. The hard limit is what they were opened under.
fn by_loop() -> Result<(), ChildFdsError> {
    let provable =
        |limits: libc::rlimit64| u64::try_from(LOOP_END).is_ok_and(|end| limits.rlim_max <= end);
    if !limits().is_some_and(provable) {
        return Err(ChildFdsError::NoCloseMethod);
    }
    for fd in FIRST..LOOP_END {
        match fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) {
            Ok(_) | Err(Errno(libc::EBADF)) => {}
            Err(_) => return Err(ChildFdsError::NoCloseMethod),
        }
    }
    Ok(())
}

/// Runs in the child, and in the parent: the limits of open files, unless a seccomp filter hides them.
pub(crate) fn limits() -> Option<libc::rlimit64> {
    let mut limits = MaybeUninit::<libc::rlimit64>::zeroed();
    // SAFETY: pid 0 is the caller; the kernel reads no new limits (null) and fills in an rlimit64, for
    // which `limits` has room.
    let done = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_NOFILE,
            std::ptr::null::<libc::rlimit64>(),
            limits.as_mut_ptr(),
        )
    };
    // SAFETY: zeroed is a valid rlimit64, whether or not the kernel filled it in.
    let limits = unsafe { limits.assume_init() };
    checked(done).is_ok().then_some(limits)
}

/// The first number that is not a standard stream's.
const FIRST: RawFd = 3;

/// Where the loop ends: the default of `/proc/sys/fs/nr_open`, above which no limit can be set. About
/// 0.17 s of system calls.
const LOOP_END: RawFd = 1 << 20;

/// Runs in the child: clears `FD_CLOEXEC`, the only flag there is.
fn keep(fd: RawFd) -> Result<(), ChildFdsError> {
    fcntl(fd, libc::F_SETFD, 0)
        .map(drop)
        .map_err(|Errno(errno)| ChildFdsError::Keep { fd, errno })
}

/// Runs in the child: dup3(2), not close-on-exec. `from` and `to` differ, or it would be EINVAL.
fn duplicate(from: RawFd, to: RawFd) -> Result<(), Errno> {
    loop {
        // SAFETY: takes no pointer. What lies on `to` is replaced, which `install`'s caller allows.
        match checked(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) }) {
            // EINTR: closing what lay on `to` was interrupted. EBUSY: an open(2) of another thread is
            // about to have `to`; only a process that execs in place has other threads.
            Err(Errno(libc::EINTR | libc::EBUSY)) => {}
            done => return done.map(drop),
        }
    }
}

/// Runs in the child: fcntl(2) for commands that take and give integers.
fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<c_long, Errno> {
    // SAFETY: the commands used here (F_SETFD) take no pointer.
    checked(unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) })
}

/// Runs in the child, and in the parent: reads an option of `SOL_SOCKET` that is a plain integer.
fn socket_option<T: Integer>(fd: RawFd, option: c_int, value: &mut T) -> Result<(), Errno> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `value`, and any bytes are an integer.
    checked(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_mut(value),
            &raw mut length,
        )
    })
    .map(drop)
}

/// A type of which any bytes are a value.
trait Integer {}
impl Integer for c_int {}
impl Integer for u64 {}

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Errno(i32);

/// Runs in the child: what a system call returned, or its errno.
fn checked(returned: c_long) -> Result<c_long, Errno> {
    if returned == -1 {
        // SAFETY: the C library gives the address of this thread's errno, always valid.
        Err(Errno(unsafe { *libc::__errno_location() }))
    } else {
        Ok(returned)
    }
}

/// What a `Command` carries: its plan, where to report, and the note that it has a plan.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) fds: ChildFds,
    pub(crate) report: Arc<Report>,
    pub(crate) _mark: Mark,
}

impl Hook {
    /// Runs in the child: installs the plan and reports what went wrong.
    ///
    /// # Safety
    ///
    /// As [`ChildFds::install`].
    unsafe fn run(&self) -> io::Result<()> {
        self.report.clear();
        // SAFETY: the caller's promise.
        unsafe { self.fds.install() }.map_err(|error| {
            self.report.set(error);
            // Carries a number: nothing is allocated.
            io::Error::from_raw_os_error(error.errno())
        })
    }
}

/// Lets `command` run `hook` in the child, after its own steps and after earlier closures.
pub(crate) fn attach(command: &mut Command, hook: Hook) {
    // SAFETY: the closure makes async-signal-safe system calls and atomic stores only; it neither
    // allocates nor locks nor panics. `Command` runs it in a forked child, or in a process that execs in
    // place, which is what `install` asks for. It is one method call, so that it captures all of `hook`.
    unsafe {
        command.pre_exec(move || hook.run());
    }
}
