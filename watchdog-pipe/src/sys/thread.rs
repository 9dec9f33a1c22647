//! Threads made by the C library.
//!
//! They are not std's threads. Those ask for a name, an alternate signal stack, and the CPUs that
//! they may run on. A seccomp filter that was made for this process need not allow such calls, and
//! std ends the whole process if it gets no signal stack.

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use crate::payload;

/// What a thread runs.
pub(crate) type Main = Box<dyn FnOnce() + Send>;

/// The C library's handle of a thread that was neither joined nor detached yet.
#[derive(Debug)]
pub(crate) struct RawThread(libc::pthread_t);

// SAFETY: any thread may join, detach or compare another one.
unsafe impl Send for RawThread {}
// SAFETY: as above; the functions that invalidate the handle take the value.
unsafe impl Sync for RawThread {}

impl RawThread {
    /// Starts a thread with at least `stack` bytes for its own frames. A panic of `main` ends only
    /// the thread. `EAGAIN` without room for a thread or for its stack.
    pub(crate) fn start(stack: usize, main: Main) -> io::Result<RawThread> {
        let argument = Box::into_raw(Box::new(Some(main)));
        // SAFETY: `run` takes what the argument points to, and owns it from here on.
        let made = unsafe { RawThread::create(stack, run, argument.cast()) };
        if made.is_err() {
            // SAFETY: from `Box::into_raw` above; no thread has it.
            drop(unsafe { Box::from_raw(argument) });
        }
        made
    }

    /// Starts a thread that begins with `main`.
    ///
    /// The C library also puts the thread-local storage of the whole program on the stack. If the
    /// stack is too small for that, it says only that (`EINVAL`). Then a larger one is tried.
    ///
    /// # Safety
    /// `main` may be called with `argument` in another thread, and does not unwind.
    ///
    /// # References
    /// [pthread_create(3)](https://man7.org/linux/man-pages/man3/pthread_create.3.html)
    pub(crate) unsafe fn create(
        stack: usize,
        main: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> io::Result<RawThread> {
        let mut attributes = Attributes::new()?;
        let mut made = Err(io::Error::from_raw_os_error(libc::EINVAL));
        for size in [0, 256 << 10, 1 << 20, 8 << 20] {
            let mut thread = MaybeUninit::uninit();
            attributes.set_stack(stack.saturating_add(size))?;
            // SAFETY: the attributes are initialised; the caller promises the rest.
            let answer = unsafe {
                let attributes = &raw const attributes.0;
                libc::pthread_create(thread.as_mut_ptr(), attributes, main, argument)
            };
            // SAFETY: pthread_create answered 0, so it has filled the place.
            made = result(answer).map(|()| RawThread(unsafe { thread.assume_init() }));
            if answer != libc::EINVAL {
                break;
            }
        }
        made
    }

    /// Joins the thread if it has ended; otherwise returns it. It may have ended before its
    /// function did: a filter can kill a single thread (`SECCOMP_RET_KILL_THREAD`).
    ///
    /// # References
    /// [pthread_tryjoin_np(3)](https://man7.org/linux/man-pages/man3/pthread_tryjoin_np.3.html)
    pub(crate) fn join_if_ended(self) -> Result<(), RawThread> {
        // SAFETY: neither joined nor detached yet, as the type promises. No place for a result is
        // given.
        match unsafe { libc::pthread_tryjoin_np(self.0, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(self),
        }
    }

    /// Waits for the thread to end.
    pub(crate) fn join(self) {
        // SAFETY: neither joined nor detached yet, as the type promises; the handle is gone
        // afterwards. No place for a result is given.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }

    /// Lets the thread end by itself.
    pub(crate) fn detach(self) {
        // SAFETY: neither joined nor detached yet, as the type promises; the handle is gone
        // afterwards.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Allocates and frees nothing before `main` has ended. The first allocation or free in a thread
/// makes the C library map and unmap 128 MiB of addresses for an arena of the thread's own, and
/// touch two pages of it.
extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `start` gave away the only pointer to it.
    let mut argument: Box<Option<Main>> = unsafe { Box::from_raw(argument.cast()) };
    if let Some(main) = argument.take()
        && let Err(panicked) = catch_unwind(AssertUnwindSafe(main))
    {
        payload::discard(panicked);
    }
    ptr::null_mut()
}

struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the place is large enough for the attributes.
        result(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: pthread_attr_init answered 0.
        Ok(Attributes(unsafe { attributes.assume_init() }))
    }

    fn set_stack(&mut self, stack: usize) -> io::Result<()> {
        // The part of a stack that the C library needs for a signal frame. It does not include
        // thread-local storage.
        // SAFETY: sysconf(3) has no memory effect.
        let theirs = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
        let stack = stack.saturating_add(usize::try_from(theirs).unwrap_or(0));
        // SAFETY: the attributes are initialised.
        result(unsafe { libc::pthread_attr_setstacksize(&raw mut self.0, stack) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

fn result(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Names the calling thread, as /proc and tools show it. The kernel keeps 15 bytes.
///
/// # References
/// [PR_SET_NAME(2const)](https://man7.org/linux/man-pages/man2/pr_set_name.2const.html)
pub(crate) fn name_this_thread(name: &CStr) {
    // SAFETY: the kernel reads the string, which ends with a zero byte.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Asks the scheduler for time slices of this length, less than a second, for the calling thread. A
/// thread with shorter slices takes the CPU from the thread that wakes it, or that runs beside it.
/// Since Linux 6.12, which grants 0.1 to 100 ms; before that it changes nothing.
///
/// # References
/// [sched_setattr(2)](https://man7.org/linux/man-pages/man2/sched_setattr.2.html)
pub(crate) fn ask_for_slices(length: Duration) {
    let size = size_of::<libc::sched_attr>();
    let mut attr = MaybeUninit::<libc::sched_attr>::zeroed();
    // SAFETY: the place is as large as the call is told; all zero is a valid sched_attr.
    let (known, mut attr) = unsafe {
        let known = libc::syscall(libc::SYS_sched_getattr, 0, attr.as_mut_ptr(), size, 0);
        (known == 0, attr.assume_init())
    };
    // A policy that the program has set itself is left alone.
    if known && attr.sched_policy == libc::SCHED_OTHER.unsigned_abs() {
        attr.sched_runtime = u64::from(length.subsec_nanos());
        // SAFETY: a valid structure that contains its own size; no memory of ours is written to.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}
