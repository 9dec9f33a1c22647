//! System calls that rustix does not wrap, and everything unsafe in this crate.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::Signal;

mod fork_generation;
mod process;
mod published;
mod signals;
mod thread;
mod time;

pub(crate) use fork_generation::ForkGeneration;
pub(crate) use process::{OwnPid, has_default_action, is_pending, waits_for_signals};
pub(crate) use published::Published;
pub(crate) use signals::BlockedSignals;
pub(crate) use thread::{RawThread, ask_for_slices, name_this_thread};
pub(crate) use time::{now, poll, sleep};

/// The promise of who calls [`Watchdog::from_env`](crate::Watchdog::from_env), for what rests on
/// it.
#[derive(Debug)]
pub(crate) struct Inherited(());

#[allow(clippy::unused_self, reason = "the value stands for the promise")]
impl Inherited {
    /// # Safety
    /// Nothing in this process owns the descriptor numbers that the variable names, and no other
    /// thread uses the environment other than by the functions of [`std::env`](mod@std::env).
    pub(crate) unsafe fn promised() -> Inherited {
        Inherited(())
    }

    /// The owner of a number that was found open as the pipe or the page which the variable names.
    /// Once for each number.
    pub(crate) fn own(&self, number: RawFd) -> OwnedFd {
        // SAFETY: open, and nobody else's, by the promise.
        unsafe { OwnedFd::from_raw_fd(number) }
    }

    /// Looks at such a number.
    pub(crate) fn borrow<T>(&self, number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        // SAFETY: open, and closed by nobody meanwhile, since nobody owns it, by the promise.
        look(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// Takes a variable out of the environment.
    ///
    /// # References
    /// [unsetenv(3)](https://man7.org/linux/man-pages/man3/unsetenv.3.html): it fails for a name
    /// that is none
    pub(crate) fn forget(&self, name: &'static str) {
        // SAFETY: nobody reads the environment behind the back of `std::env`, by the promise.
        unsafe { std::env::remove_var(name) };
    }
}

/// What the kernel says of a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) is_fifo: bool,
    /// Whether read(2) and write(2) may be called on it. Neither, on an `O_PATH` descriptor.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Looks at a number without owning it. `EBADF` when it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<Inspected> {
    // The large variant: on 32-bit architectures the other one has inodes of 32 bits.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat writes; a number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat answered 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    // SAFETY: F_GETFL takes no argument and changes nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // O_PATH is looked at as well: such a descriptor has the access mode of a read end.
    let (readable, writable) = match flags & (libc::O_ACCMODE | libc::O_PATH) {
        libc::O_RDONLY => (true, false),
        libc::O_WRONLY => (false, true),
        libc::O_RDWR => (true, true),
        _ => (false, false),
    };
    Ok(Inspected {
        device: stat.st_dev,
        inode: stat.st_ino,
        is_fifo: stat.st_mode & libc::S_IFMT == libc::S_IFIFO,
        readable,
        writable,
    })
}

/// The size of a page in bytes. Not rustix's: that one panics before Linux 6.4 when no descriptor
/// is free, or when the process has dropped privileges, since it has to open /proc/self/auxv there.
pub(crate) fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf(3) has no memory effect. The C library knows this number since the program
    // started.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).ok();
    let size = size.filter(|size| size.is_power_of_two());
    size.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The first number that no descriptor of this process can have from now on; `None` if it cannot be
/// had, or is larger than any number. Not by rustix, which makes up an answer where a filter
/// refuses one.
pub(crate) fn descriptor_limit() -> Option<RawFd> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for the answer, and is read if the call has filled it alone.
    let limit = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) {
            0 => limit.assume_init(),
            _ => return None,
        }
    };
    RawFd::try_from(limit.rlim_cur).ok()
}

/// A signal from the number in the environment; `None` for what is no signal, and for the numbers
/// that the C library keeps to itself.
pub(crate) fn signal_from_raw(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: the number is a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    })
}

/// A write that answers `EPIPE` where the reader is gone, and raises no SIGPIPE.
///
/// # References
/// [write(2)](https://man7.org/linux/man-pages/man2/write.2.html),
/// [pwritev2(2)](https://man7.org/linux/man-pages/man2/pwritev2.2.html)
pub(crate) fn write_without_sigpipe(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    /// `RWF_NOSIGNAL` of include/uapi/linux/fs.h: since Linux 6.18, for pipes too.
    const NO_SIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);
    /// A pipe has none.
    const NO_POSITION: u64 = u64::MAX;
    match rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], NO_POSITION, NO_SIGNAL) {
        Ok(written) => Ok(written),
        Err(error @ (Errno::PIPE | Errno::AGAIN)) => Err(error.into()),
        // EOPNOTSUPP before 6.18, and whatever a filter answers: nothing was written.
        Err(_) => write_with_sigpipe_blocked(fd, bytes),
    }
}

/// The kernel sends SIGPIPE to the writing thread alone. Blocked, it stays pending there, and is
/// taken back before the mask is restored. One that was pending before is not ours and is left; if
/// that one waits for the whole process, two do now, which a program that counts signals could
/// tell.
///
/// # References
/// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)
fn write_with_sigpipe_blocked(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut sigpipe = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; SIGPIPE is a valid signal number.
    let sigpipe = unsafe {
        libc::sigemptyset(sigpipe.as_mut_ptr());
        libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
        sigpipe.assume_init()
    };
    let _blocked = BlockedSignals::all()?;
    let pending_before = is_pending(libc::SIGPIPE);
    let written = rustix::io::write(fd, bytes);
    if written == Err(Errno::PIPE) && !pending_before {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both pointers are valid for the call; no place for the details is asked for.
        // EINTR is another signal's: the one waited for has its own answer, so ask once more.
        while unsafe { libc::sigtimedwait(&raw const sigpipe, ptr::null_mut(), &raw const now) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    Ok(written?)
}

/// Ends this process at once: no destructor, no atexit function. Either could hang.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) ends the process; nothing runs after it that could see a broken invariant.
    unsafe { libc::_exit(code) }
}

/// The number of a descriptor that somebody owns, for [`inspect`].
pub(crate) fn number(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}
