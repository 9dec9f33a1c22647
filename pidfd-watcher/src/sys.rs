//! System calls that rustix does not wrap, and everything unsafe outside the child's half of a fork.

mod signals;
mod threads;

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::process::Pid;

use crate::Process;

pub(crate) use signals::SignalsBlocked;
pub(crate) use threads::{gettid, thread_exists};

impl Process {
    /// Takes the two numbers that `clone` with `CLONE_PIDFD` gave its caller, with no system call and no
    /// way to fail: a child that has exited, or that the kernel has reaped by itself already, is as good.
    ///
    /// Linux 5.2; [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html).
    ///
    /// # Safety
    ///
    /// Both must come from one call of `clone` or `clone3` of this process; `pidfd` may be a duplicate. Whoever
    /// reads [`pid`](Process::pid) takes it for the number of the process behind `pidfd`.
    #[must_use]
    pub unsafe fn from_clone(pidfd: OwnedFd, pid: Pid) -> Process {
        Process::new(pidfd, pid)
    }
}

/// `struct pidfd_info` as Linux 6.13 had it (`PIDFD_INFO_SIZE_VER0`). Its size is part of the ioctl's
/// number, and a newer kernel copies no more than the size that was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PidfdInfo {
    /// What was asked for on the way in, what was answered on the way out.
    pub(crate) mask: u64,
    cgroupid: u64,
    pid: u32,
    /// The process id in the caller's PID namespace.
    pub(crate) tgid: u32,
    ppid: u32,
    /// Real, effective, saved and file-system ids: a pair of user and group each.
    creds: [u32; 8],
    /// The wait status; `spare0` until Linux 6.15.
    pub(crate) exit_code: i32,
}

// The layout is shared with the kernel: include/uapi/linux/pidfd.h.
const _: () = {
    assert!(size_of::<PidfdInfo>() == 64);
    assert!(offset_of!(PidfdInfo, cgroupid) == 8);
    assert!(offset_of!(PidfdInfo, pid) == 16);
    assert!(offset_of!(PidfdInfo, tgid) == 20);
    assert!(offset_of!(PidfdInfo, ppid) == 24);
    assert!(offset_of!(PidfdInfo, creds) == 28);
    assert!(offset_of!(PidfdInfo, exit_code) == 60);
};

/// `PIDFD_INFO_PID`: the ids are filled in. Asked for or not, a live process answers it.
pub(crate) const INFO_PID: u64 = 1 << 0;
/// `PIDFD_INFO_EXIT`: the exit status of a reaped process is filled in (Linux 6.15).
pub(crate) const INFO_EXIT: u64 = 1 << 3;

const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);

/// Asks the kernel about the process behind `pidfd`. Check the mask of the answer: what an older
/// kernel does not know, and what is not there yet, is missing there and zero in its field.
///
/// Issue it on pidfds only: the same number means something else to another kind of file.
pub(crate) fn info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    // SAFETY: PIDFD_GET_INFO reads and writes exactly the structure whose size its number carries,
    // and that is `PidfdInfo`, whose layout is asserted above. It is plain integers, for which any
    // bytes are a value. A file that does not know the number answers ENOTTY and writes nothing.
    unsafe { ioctl(pidfd, Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info))? };
    Ok(info)
}

/// The error of the C library's call that has just failed in this thread.
pub(crate) fn errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Our own number. `None` when a filter refuses: rustix takes the error for a number.
pub(crate) fn own_pid() -> Option<i32> {
    // SAFETY: no argument and no effect.
    let pid = unsafe { libc::getpid() };
    (pid > 0).then_some(pid)
}

/// What the monotonic clock shows. std's `Instant` panics, and rustix may, where a filter refuses.
pub(crate) fn monotonic() -> Result<Duration, Errno> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is room for what is written.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(errno());
    }
    // SAFETY: the call succeeded and has filled it in.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(|_| Errno::INVAL)?;
    Ok(Duration::new(seconds, nanoseconds))
}

/// The kernel's release: "6.1.0-18-amd64". `None` when a filter refuses: rustix would give whatever was in memory.
pub(crate) fn release() -> Option<Vec<u8>> {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: there is room for what is written.
    if unsafe { libc::uname(name.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: arrays of bytes, for which the zeros are a value.
    let name = unsafe { name.assume_init() };
    let release = name.release.iter().take_while(|&&byte| byte != 0);
    // c_char is signed on some architectures.
    Some(release.map(|&byte| byte.to_ne_bytes()[0]).collect())
}

/// A page that reads as zero in every process forked from this one.
///
/// Made without a lock: a fork in between would leave the copy a lock that nobody opens.
/// [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), `MADV_WIPEONFORK`: Linux 4.14.
pub(crate) fn page_wiped_on_fork() -> Result<&'static AtomicU64, Errno> {
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    let standing = PAGE.load(Ordering::Acquire);
    let page = if standing.is_null() {
        let length = page_size()?;
        let fresh = map_wiped_on_fork(length)?;
        match PAGE.compare_exchange(standing, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(first) => {
                // SAFETY: another thread was first, so nobody has seen this mapping.
                let _ = unsafe { munmap(fresh.cast(), length) };
                first
            }
        }
    } else {
        standing
    };
    // SAFETY: what PAGE holds is a mapping of `map_wiped_on_fork`: aligned, large enough, of zeros,
    // which are an AtomicU64, and never unmapped once it stands there.
    Ok(unsafe { &*page })
}

/// Not rustix's, which panics where neither prctl(2) with `PR_GET_AUXV` (Linux 6.4) nor /proc tells it: without a
/// free descriptor, for one.
fn page_size() -> Result<usize, Errno> {
    // SAFETY: a plain number; the C library answers from what the kernel gave it at the start.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).ok().filter(|&size| size > 0);
    size.ok_or(Errno::INVAL)
}

fn map_wiped_on_fork(length: usize) -> Result<*mut AtomicU64, Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping, where the kernel likes, overlaps nothing.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::PRIVATE)? };
    // SAFETY: the range is the mapping just made, which nothing refers to yet.
    if let Err(errno) = unsafe { madvise(page, length, Advice::LinuxWipeOnFork) } {
        // SAFETY: as above.
        let _ = unsafe { munmap(page, length) };
        return Err(errno);
    }
    Ok(page.cast())
}

/// A place for one value of a process's own, made at most once by each process. It is never dropped: a
/// copy made by fork may be left with a reference to what its parent made.
pub(crate) struct Published<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) const fn new() -> Published<T> {
        Published(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value that stands there. Takes no lock.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: a pointer that stands here came from Box::leak in `replace`, and nobody frees it.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Puts `fresh` where `old` stands; gives what stands there now, and `fresh` back if another
    /// thread was first.
    pub(crate) fn replace(&self, old: Option<&'static T>, fresh: T) -> (&'static T, Option<T>) {
        let old = old.map_or(ptr::null_mut(), |old| ptr::from_ref(old).cast_mut());
        let fresh = Box::into_raw(Box::new(fresh));
        match self
            .0
            .compare_exchange(old, fresh, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: just made by Box::into_raw, and from now on freed by nobody.
            Ok(_) => (unsafe { &*fresh }, None),
            // SAFETY: the exchange failed, so that nobody but us has seen `fresh`; what stands there is
            // another caller's, freed by nobody, and not null, since a value is never taken out.
            Err(first) => unsafe { (&*first, Some(*Box::from_raw(fresh))) },
        }
    }
}
