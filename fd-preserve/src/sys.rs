//! The system calls that rustix does not wrap, and what adopts bare numbers or addresses.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::InheritError;

/// Whether anything is open on `fd` in this process.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing; any number is a valid argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Sleeps for a millisecond. Not by `thread::sleep`, which panics where a filter refuses the system call; then
/// another thread gets the processor, no more.
pub(crate) fn pause() {
    let millisecond = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    // SAFETY: nanosleep(2) reads one timespec, and the time that is left is not asked for.
    if unsafe { libc::nanosleep(&raw const millisecond, ptr::null_mut()) } == -1 {
        // SAFETY: takes no pointer.
        unsafe { libc::sched_yield() };
    }
}

/// Claims a descriptor that this process inherited on a known number, and makes it close-on-exec, so
/// that it goes no further.
///
/// # Errors
///
/// [`InheritError::Negative`]; [`InheritError::NotOpen`] (`EBADF`) when nothing is open there;
/// [`InheritError::Io`] for any other errno of fcntl(2). The number is left alone in each case.
///
/// # Panics
///
/// None.
///
/// # Safety
///
/// Nothing else in this process may own `fd`, now or later: the returned [`OwnedFd`] closes it. This
/// holds when `fd` is a number that the parent was told to give, when it is claimed once, and when it
/// is claimed before anything could be opened: first thing in `main`, before threads start. If the
/// parent did not give it, any descriptor that this process opened itself may lie there, and an open
/// number does not prove that it is the right one; pass the number in the environment, and check the
/// type of what you get.
///
/// # Examples
///
/// ```no_run
/// use std::fs::File;
///
/// // SAFETY: first statement of main, and the parent maps the log to 3.
/// let log = File::from(unsafe { fd_preserve::inherited_fd(3) }?);
/// # Ok::<(), fd_preserve::InheritError>(())
/// ```
///
/// # References
///
/// [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
pub unsafe fn inherited_fd(fd: RawFd) -> Result<OwnedFd, InheritError> {
    if fd < 0 {
        return Err(InheritError::Negative { fd });
    }
    // SAFETY: F_SETFD takes an integer; FD_CLOEXEC is the only flag there is, so nothing is lost.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        let source = io::Error::last_os_error();
        return Err(match source.raw_os_error() {
            Some(libc::EBADF) => InheritError::NotOpen { fd },
            _ => InheritError::Io { fd, source },
        });
    }
    // SAFETY: open, as F_SETFD has just proved, and ours alone, as the caller promises.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How many words a [`Page`] shows.
const WORDS: usize = 4;

/// A page of memory with a meaning across fork; all words start as 0.
#[derive(Debug)]
pub(crate) struct Page(NonNull<[AtomicU32; WORDS]>);

// SAFETY: the page is reached through atomics only, and it stays mapped until the drop.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A page that a forked child shares with this process.
    pub(crate) fn shared() -> io::Result<Page> {
        Page::map(libc::MAP_SHARED)
    }

    /// A page that reads 0 in every forked copy of this process (Linux 4.14).
    pub(crate) fn wiped_on_fork() -> io::Result<Page> {
        let page = Page::map(libc::MAP_PRIVATE)?;
        // SAFETY: the whole of a private anonymous mapping of ours; the advice keeps its content here.
        let advised = unsafe {
            libc::madvise(
                page.0.as_ptr().cast(),
                size_of::<Words>(),
                libc::MADV_WIPEONFORK,
            )
        };
        if advised == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(page)
        }
    }

    pub(crate) fn words(&self) -> &Words {
        // SAFETY: mapped readable and writable, zeroed, page-aligned, until the drop; 0 is a valid
        // atomic; other processes write it by atomics too.
        unsafe { self.0.as_ref() }
    }

    fn map(sharing: libc::c_int) -> io::Result<Page> {
        // SAFETY: a new anonymous mapping where the kernel likes it: no memory of ours is touched.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Words>(),
                libc::PROT_READ | libc::PROT_WRITE,
                sharing | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(page) if address != libc::MAP_FAILED => Ok(Page(page)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// What a [`Page`] shows.
pub(crate) type Words = [AtomicU32; WORDS];

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, with the same length; no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Words>()) };
    }
}

/// A value that lives for ever once published, and can be superseded. No lock: a process forked in the
/// middle of `supersede` can go on.
pub(crate) struct Published<T: 'static>(AtomicPtr<T>, PhantomData<&'static T>);

impl<T: Sync> Published<T> {
    pub(crate) const fn empty() -> Self {
        Published(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// The latest value.
    pub(crate) fn latest(&self) -> Option<&'static T> {
        // SAFETY: null, or a box leaked in `supersede`, which is never freed and never borrowed mutably.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `value` if `seen` is still the latest; drops it if somebody else was faster.
    pub(crate) fn supersede(&self, seen: Option<&'static T>, value: T) {
        let old = seen.map_or(ptr::null_mut(), |seen| ptr::from_ref(seen).cast_mut());
        let new = Box::into_raw(Box::new(value));
        if self
            .0
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: made by Box::into_raw just above, and not published, so nobody else knows it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}
