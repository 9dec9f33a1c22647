//! Threads of the C library.
//!
//! Not std's: those ask for a name, an alternate signal stack, and the CPUs that they may run on. A
//! seccomp filter that was made for this process need not know such calls, and std ends the whole
//! process where it gets no signal stack.

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use crate::payload;

/// What a thread runs.
pub(crate) type Main = Box<dyn FnOnce() + Send>;

/// The C library's name of a thread that was neither joined nor detached yet.
#[derive(Debug)]
pub(crate) struct RawThread(libc::pthread_t);

// SAFETY: any thread may join, detach or compare another one.
unsafe impl Send for RawThread {}
// SAFETY: as above; what ends the name takes the value.
unsafe impl Sync for RawThread {}

impl RawThread {
    /// A thread with at least `stack` bytes for its own frames. A panic of `main` ends the thread
    /// alone. `EAGAIN` without room for a thread, or for its stack.
    pub(crate) fn start(stack: usize, main: Main) -> io::Result<RawThread> {
        let argument = Box::into_raw(Box::new(Some(main)));
        // SAFETY: `run` takes what the argument points to, which is its own from here on.
        let made = unsafe { RawThread::create(stack, run, argument.cast()) };
        if made.is_err() {
            // SAFETY: from `Box::into_raw` above, and no thread has it.
            drop(unsafe { Box::from_raw(argument) });
        }
        made
    }

    /// A thread that begins with `main`.
    ///
    /// The C library puts the thread-local storage of the whole program on the stack too, and says
    /// only that a size was too small (`EINVAL`): a larger one is tried then.
    ///
    /// # Safety
    /// `main` may be given `argument`, in another thread, and does not unwind.
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
            // SAFETY: the attributes are initialised; the rest is the caller's promise.
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

    /// Whether it has ended, perhaps without having run to its end: a filter can kill a thread
    /// alone (`SECCOMP_RET_KILL_THREAD`). It is joined then; else it comes back.
    ///
    /// # References
    /// [pthread_tryjoin_np(3)](https://man7.org/linux/man-pages/man3/pthread_tryjoin_np.3.html)
    pub(crate) fn join_if_ended(self) -> Result<(), RawThread> {
        // SAFETY: neither joined nor detached yet, as the value says. No place for an answer is
        // given.
        match unsafe { libc::pthread_tryjoin_np(self.0, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(self),
        }
    }

    /// Waits for the end.
    pub(crate) fn join(self) {
        // SAFETY: neither joined nor detached yet, as the value says, and gone with it. No place
        // for an answer is given.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }

    /// Lets it end by itself.
    pub(crate) fn detach(self) {
        // SAFETY: neither joined nor detached yet, as the value says, and gone with it.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// It gives no memory back before `main` has ended, nor takes any: the first such call of a thread
/// makes the C library map and unmap 128 MiB of addresses for an arena of the thread's own, and
/// touch two pages of it.
extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `start` gave the only pointer to it away.
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
        // SAFETY: the place is large enough for what is initialised there.
        result(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: pthread_attr_init answered 0.
        Ok(Attributes(unsafe { attributes.assume_init() }))
    }

    fn set_stack(&mut self, stack: usize) -> io::Result<()> {
        // What the C library takes of a stack for itself, but for thread-local storage: a signal
        // frame.
        // SAFETY: sysconf(3) has no memory effect.
        let theirs = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
        let stack = stack.saturating_add(usize::try_from(theirs).unwrap_or(0));
        // SAFETY: the attributes are initialised.
        result(unsafe { libc::pthread_attr_setstacksize(&raw mut self.0, stack) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and used no more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

fn result(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Names the calling thread, where /proc and tools look. The kernel keeps 15 bytes.
///
/// # References
/// [PR_SET_NAME(2const)](https://man7.org/linux/man-pages/man2/pr_set_name.2const.html)
pub(crate) fn name_this_thread(name: &CStr) {
    // SAFETY: the kernel reads the string, which ends with a zero byte.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Asks the scheduler for slices of that length, less than a second, in this thread. Who has the
/// shorter one takes the CPU from whom it is woken by, or beside. Linux 6.12, which gives 0.1 to
/// 100 ms; before that it changes nothing.
///
/// # References
/// [sched_setattr(2)](https://man7.org/linux/man-pages/man2/sched_setattr.2.html)
pub(crate) fn ask_for_slices(length: Duration) {
    let size = size_of::<libc::sched_attr>();
    let mut attr = MaybeUninit::<libc::sched_attr>::zeroed();
    // SAFETY: as large a place as is said for the answer; all zero is a valid sched_attr.
    let (known, mut attr) = unsafe {
        let known = libc::syscall(libc::SYS_sched_getattr, 0, attr.as_mut_ptr(), size, 0);
        (known == 0, attr.assume_init())
    };
    // What the program has asked for itself is left alone.
    if known && attr.sched_policy == libc::SCHED_OTHER.unsigned_abs() {
        attr.sched_runtime = u64::from(length.subsec_nanos());
        // SAFETY: a valid structure of the size that it names; no memory of ours is written to.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}
