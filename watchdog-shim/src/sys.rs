//! System calls that rustix does not wrap, and everything unsafe in this crate but the code of the forked COMMAND.

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, waitid};

use crate::ledger::Ledger;

/// This process has one thread, and the descriptors that it was born with belong to nobody else in it.
///
/// What forks takes it by reference: a copy of a process with several threads may do next to nothing.
#[derive(Debug)]
pub(crate) struct SoleThread(PhantomData<*const ()>);

impl SoleThread {
    /// # Safety
    /// It is as the type says, and stays so while the value lives.
    pub(crate) unsafe fn assume() -> SoleThread {
        SoleThread(PhantomData)
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// fork(2), by the C library, whose own state is then right in the copy.
pub(crate) fn fork(_: &SoleThread) -> io::Result<Forked> {
    // SAFETY: the process has one thread, so that its copy may do everything.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        // A positive number; -1 and whatever else a filter makes of it is a failure.
        number => match pid(number) {
            Some(pid) => Ok(Forked::Parent(pid)),
            None => Err(io::Error::last_os_error()),
        },
    }
}

/// A number as a pid; `None` for what is none. rustix's own function takes a negative number for one.
pub(crate) fn pid(number: c_int) -> Option<Pid> {
    if number > 0 {
        Pid::from_raw(number)
    } else {
        None
    }
}

/// Whether this process leads its session.
pub(crate) fn leads_session() -> bool {
    // SAFETY: takes a plain number. The answer is 0 where the leader is outside of this PID namespace.
    let leader = unsafe { libc::syscall(libc::SYS_getsid, 0) };
    own_pid().is_ok_and(|own| libc::c_long::from(own.as_raw_nonzero().get()) == leader)
}

/// Raises the soft limit on descriptors to the hard one, if that is allowed.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the place has room for the limits, which are read again only if the first call answered 0.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == 0 {
            let mut limit = limit.assume_init();
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// This process's own number in its PID namespace, or that of its parent.
///
/// rustix's functions cannot fail. Under a seccomp filter the calls can, and hand out a number that would mean
/// "every process" to kill(2).
pub(crate) fn own_pid() -> io::Result<Pid> {
    // SAFETY: takes nothing.
    positive(unsafe { libc::syscall(libc::SYS_getpid) })
}

/// Whether this process is pid 1 of its PID namespace.
pub(crate) fn is_init() -> bool {
    own_pid().is_ok_and(|pid| pid.as_raw_nonzero().get() == 1)
}

/// The number of the parent; an error of kind `NotFound` where it lives outside of this PID namespace.
pub(crate) fn parent_pid() -> io::Result<Pid> {
    // SAFETY: takes nothing.
    positive(unsafe { libc::syscall(libc::SYS_getppid) })
}

fn positive(answer: libc::c_long) -> io::Result<Pid> {
    match c_int::try_from(answer) {
        Ok(0) => Err(io::ErrorKind::NotFound.into()),
        Ok(number) => pid(number).ok_or_else(io::Error::last_os_error),
        Err(_) => Err(io::Error::from_raw_os_error(libc::EOVERFLOW)),
    }
}

/// The effective user and group of this process. geteuid(2) has no way to fail, and hands out a number that is no user's
/// where a filter refuses it.
pub(crate) fn effective_ids() -> io::Result<(u32, u32)> {
    let ([mut real, mut user, mut saved], [mut real_group, mut group, mut saved_group]) =
        ([0; 3], [0; 3]);
    // SAFETY: the six places have room for an id each.
    let failed = unsafe {
        libc::getresuid(&raw mut real, &raw mut user, &raw mut saved) != 0
            || libc::getresgid(&raw mut real_group, &raw mut group, &raw mut saved_group) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok((user, group))
}

/// Closes a descriptor of its own, and says what came of it.
pub(crate) fn try_close() -> io::Result<()> {
    let (read, _write) = pipe()?;
    // SAFETY: ours alone, and given up.
    if unsafe { libc::close(read.into_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What the monotonic clock shows, in nanoseconds. rustix gives whatever was in memory where a filter refuses.
#[allow(
    clippy::useless_conversion,
    reason = "fields of 32 bits on some targets"
)]
pub(crate) fn monotonic_nanoseconds() -> io::Result<u64> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the place has room for the time.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it answered 0, so it filled the structure.
    let now = unsafe { now.assume_init() };
    let seconds = u64::from(now.tv_sec.unsigned_abs()).saturating_mul(1_000_000_000);
    Ok(seconds.saturating_add(now.tv_nsec.unsigned_abs().into()))
}

/// The descriptor of a number on the command line, close-on-exec. It is a duplicate of a standard stream, which stays
/// COMMAND's; any other one becomes our own.
pub(crate) fn given(alone: &SoleThread, number: RawFd) -> io::Result<OwnedFd> {
    // What is close-on-exec did not come through an exec: it was closed, and is a filler.
    // SAFETY: F_GETFD takes no argument and changes nothing.
    if number <= 2 && unsafe { libc::fcntl(number, libc::F_GETFD) } != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    let stream = match number {
        0 => rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3),
        1 => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
        2 => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
        _ => {
            let fd = own(alone, number)?;
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            return Ok(fd);
        }
    };
    Ok(stream?)
}

fn own(_: &SoleThread, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no argument and changes nothing; a number that is not open is only an error.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: open, and nobody else's: the promise of whoever made the `SoleThread`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes a number that this process was born with, which is to say one that is not close-on-exec.
pub(crate) fn close_inherited(_: &SoleThread, number: RawFd) {
    // SAFETY: F_GETFD takes no argument and changes nothing; a number that is not open is only an error. What is closed
    // is nobody's: everything of this process's own is close-on-exec, and the rest is none of its parts', by the
    // promise of whoever made the `SoleThread`.
    unsafe {
        if libc::fcntl(number, libc::F_GETFD) == 0 {
            libc::close(number);
        }
    }
}

/// The watchdog that the environment names for this process.
pub(crate) fn adopt_watchdog(
    _: &SoleThread,
) -> Result<Option<watchdog_pipe::Watchdog>, watchdog_pipe::AdoptError> {
    // SAFETY: the numbers of the environment belong to nobody else: the promise of whoever made the `SoleThread`.
    unsafe { watchdog_pipe::Watchdog::from_env() }
}

/// The page that all processes of the shim share.
pub(crate) fn shared_ledger() -> io::Result<&'static Ledger> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let length = size_of::<Ledger>();
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::SHARED) }?;
    // SAFETY: large and aligned enough (a page), zero is a valid Ledger, which is made of atomics, and it is never
    // unmapped.
    Ok(unsafe { &*page.cast::<Ledger>() })
}

/// What a program is born with and hands on: the signals that it blocks and those that it ignores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BornSignals {
    pub(crate) blocked: libc::sigset_t,
    /// Signal `n` is bit `n - 1`.
    pub(crate) ignored: u64,
}

/// The highest signal number there is on Linux.
pub(crate) const LAST_SIGNAL: c_int = 64;

/// Blocks every signal, and gives every ignored one its default action, since an ignored signal cannot be read from
/// a descriptor. Says how it was before.
pub(crate) fn take_signals() -> io::Result<BornSignals> {
    let mut all = MaybeUninit::uninit();
    let mut blocked = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set; both sets are valid for sigprocmask, which fills `blocked`.
    let failed = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), blocked.as_mut_ptr())
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it answered 0, so it filled the set.
    let blocked = unsafe { blocked.assume_init() };
    let mut ignored = 0;
    for signal in 1..=LAST_SIGNAL {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: no new action; `now` has room for the old one. The C library refuses its own two signals.
        if unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: it answered 0, so it filled the structure.
        if unsafe { now.assume_init() }.sa_sigaction == libc::SIG_IGN {
            ignored |= 1 << (signal - 1);
            // SAFETY: SIG_DFL is no function that could be wrong.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    Ok(BornSignals { blocked, ignored })
}

/// The default action, which is to end the process.
pub(crate) fn default_sigpipe() {
    // SAFETY: SIG_DFL is no function that could be wrong.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// The arguments of C's `main`.
///
/// # Safety
/// `arguments` are `count` strings.
pub(crate) unsafe fn arguments(count: c_int, arguments: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(count).unwrap_or(0);
    let argument = |index| {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(*arguments.add(index)) };
        OsString::from_vec(text.to_bytes().to_vec())
    };
    (0..count).map(argument).collect()
}

/// A child of which there is news.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) pid: Pid,
    /// How it ended; `None` where it was stopped or continued.
    pub(crate) ended: Option<ExitStatus>,
}

/// The next child that has ended, was stopped or continued. It stays as it is until somebody takes the news:
/// [`reap`], [`take_stop`].
///
/// A status that is written down before the number is free again leaves no instant in which another process could take
/// the number of one that was reaped for its own. rustix's waitid(2) does not tell the number.
pub(crate) fn peek() -> Result<Option<News>, Errno> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the place has room for the answer.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    // SAFETY: zeros are a valid siginfo_t, and the kernel has filled it where there was news.
    let info = unsafe { info.assume_init() };
    // SAFETY: either zeros, or what waitid(2) fills, which has these two fields.
    let (number, value) = unsafe { (info.si_pid(), info.si_status()) };
    let status = match info.si_code {
        libc::CLD_EXITED => Some((value & 0xff) << 8),
        libc::CLD_KILLED => Some(value & 0x7f),
        libc::CLD_DUMPED => Some(value & 0x7f | 0x80),
        _ => None,
    };
    Ok(pid(number).map(|pid| News {
        pid,
        ended: status.map(ExitStatus::from_raw),
    }))
}

/// Waits until a child of this process has ended, and reaps it.
///
/// All waits here are waitid(2): a filter that refuses it is found before anything was started.
pub(crate) fn reap(child: Pid) -> Result<(), Errno> {
    retry_on_intr(|| waitid(WaitId::Pid(child), WaitIdOptions::EXITED)).map(drop)
}

/// Takes the news that a child was stopped (true) or continued, and no other: should the child have ended since the news
/// was seen, its end is still there to be seen.
pub(crate) fn take_stop(child: Pid) -> Result<Option<bool>, Errno> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
    let status = retry_on_intr(|| waitid(WaitId::Pid(child), options))?;
    Ok(status.map(|status| status.stopped()))
}

/// How a child of this process has ended, or `None` while it lives. It is not reaped. An error for everybody else.
pub(crate) fn end_of_child(process: BorrowedFd<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(process), look)
}

/// Ends a child of this process that nobody has reaped: its number is its own.
pub(crate) fn kill_child(child: Pid) {
    let _ = kill_process(child, Signal::KILL);
    let _ = reap(child);
}

/// A signal that came, and what is known of its sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) signal: c_int,
    /// The kernel sent it: a terminal's Ctrl-C, for example.
    pub(crate) by_kernel: bool,
    /// This process has caused it: SIGPIPE, by writing where nobody reads; SIGCONT, by [`continue_at_news_of`].
    pub(crate) by_itself: bool,
    /// The process that sent it; 0 where it lives outside of this PID namespace, and for the kernel.
    pub(crate) sender: u32,
}

/// A descriptor from which all signals are read; they must be blocked. Above the standard streams, close-on-exec.
pub(crate) fn signal_fd() -> io::Result<OwnedFd> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set that signalfd reads.
    let number = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    above_standard_streams(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Fills the numbers 0 to 2 that are closed, so that no descriptor of the shim's lands there: what it lets go of when
/// COMMAND runs are these numbers. COMMAND finds them closed, as they were.
pub(crate) fn occupy_standard_streams() -> io::Result<()> {
    loop {
        // An end to read that has no other end: nothing can be read from it or written to it.
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        drop(write);
        if read.as_raw_fd() > 2 {
            return Ok(());
        }
        let _ = read.into_raw_fd();
    }
}

/// Whether [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html) works: signal 0 checks, and sends nothing.
pub(crate) fn can_signal(process: BorrowedFd<'_>) -> io::Result<()> {
    let nothing = ptr::null::<libc::siginfo_t>();
    let number = process.as_raw_fd();
    // SAFETY: an open pidfd and plain values.
    if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, 0, nothing, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kernel sends SIGCONT to this process when the pipe can be read, or has no writer any more:
/// `F_SETSIG` of [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
pub(crate) fn continue_at_news_of(pipe: &OwnedFd) -> io::Result<()> {
    let (fd, own) = (pipe.as_raw_fd(), own_pid()?.as_raw_nonzero().get());
    // SAFETY: an open descriptor of ours and plain numbers; the signal is blocked, and runs no handler.
    let failed = unsafe {
        libc::fcntl(fd, libc::F_SETOWN, own) != 0
            || libc::fcntl(fd, F_SETSIG, libc::SIGCONT) != 0
            || libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// include/uapi/asm-generic/fcntl.h.
const F_SETSIG: c_int = 10;

/// A pipe: the end to read, and the end to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        above_standard_streams(read)?,
        above_standard_streams(write)?,
    ))
}

/// Moves a descriptor of ours off the numbers 0 to 2, where one lands if those are closed.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// The next signal of a [`signal_fd`], if one has come.
pub(crate) fn next_signal(fd: &OwnedFd) -> Option<Arrived> {
    let mut bytes = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(fd, &mut bytes).ok()?;
    if count != bytes.len() {
        return None;
    }
    // SAFETY: the kernel writes whole structures, which are plain integers; read_unaligned needs no alignment.
    let info = unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<libc::signalfd_siginfo>()) };
    Some(Arrived {
        signal: c_int::try_from(info.ssi_signo).ok()?,
        // SI_KERNEL of include/uapi/asm-generic/siginfo.h.
        by_kernel: info.ssi_code == 0x80,
        by_itself: own_pid()
            .is_ok_and(|own| own.as_raw_nonzero().get().unsigned_abs() == info.ssi_pid)
            // POLL_IN to POLL_HUP of include/uapi/asm-generic/siginfo.h.
            || info.ssi_signo == libc::SIGCONT.unsigned_abs() && matches!(info.ssi_code, 1..=6),
        sender: info.ssi_pid,
    })
}

/// A signal by its number, real-time signals included; `None` for what is none, and for the C library's own.
pub(crate) fn signal(number: c_int) -> Option<Signal> {
    let real_time = || {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: the number is a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    };
    Signal::from_named_raw(number).or_else(real_time)
}

/// Sends a signal to every process of this PID namespace but this one. Refused unless this process is pid 1 of a
/// namespace that was made for COMMAND: to anybody else, it means every process of the machine.
pub(crate) fn signal_namespace(_: &crate::namespace::Inside, signal: c_int) -> io::Result<()> {
    if own_pid()?.as_raw_nonzero().get() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: plain numbers; the receivers live in a namespace that was made for COMMAND's tree alone.
    if unsafe { libc::kill(-1, signal) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ends this process as `signal` ended COMMAND, without a core dump of its own; comes back where that cannot be, as for
/// pid 1 of a PID namespace.
pub(crate) fn die_of(signal: c_int) {
    // SAFETY: SIG_DFL is no function that could be wrong; the set is initialised before it is used; the number of this
    // process means this process alone.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        // raise(3) refuses the two signals that the C library keeps to itself, and never blocks: COMMAND may have died of
        // one of them too.
        libc::kill(libc::getpid(), signal);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// Stops this process, as Ctrl-Z has stopped COMMAND; comes back when it is continued.
pub(crate) fn stop_here() {
    // SAFETY: sends to this thread, and with it stops the process.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Ends this process, and runs nothing on the way.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: does not come back.
    unsafe { libc::_exit(code.into()) }
}

/// New namespaces for this process, as `CLONE_NEW*` flags name them.
pub(crate) fn unshare(_: &SoleThread, flags: c_int) -> io::Result<()> {
    // SAFETY: a plain number. The namespaces concern this process alone, which has one thread.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Mounts of this process's own: its working directory and umask are its own already, having one thread or not.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a plain number; no memory of ours is concerned.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// mount(2) without data.
pub(crate) fn mount(
    source: Option<&CString>,
    target: &CString,
    kind: Option<&CString>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&CString>| text.map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: C strings that live through the call, and null pointers where mount(2) allows them.
    let failed = unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            ptr::null(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
