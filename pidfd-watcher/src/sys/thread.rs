//! Threads of the C library.
//!
//! Not std's: those map a signal stack when they start, and end the whole process where they get
//! none.

use std::ffi::{CStr, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;

use rustix::io::Errno;

/// What a thread runs. It does not unwind.
type Main = Box<dyn FnOnce() + Send>;

/// A thread that was not joined yet. Dropping the value lets it end by itself.
#[derive(Debug)]
pub(crate) struct RawThread(libc::pthread_t);

// SAFETY: any thread may join or detach another one.
unsafe impl Send for RawThread {}
// SAFETY: as above; what ends the name takes the value.
unsafe impl Sync for RawThread {}

struct Start {
    name: &'static CStr,
    main: Main,
}

impl RawThread {
    /// A thread of that name, with at least `stack` bytes for its own frames. The kernel keeps 15
    /// bytes of the name. `EAGAIN` without room for a thread, or for its stack.
    ///
    /// The C library puts the thread-local storage of the whole program on the stack too, and says
    /// only that a size was too small (`EINVAL`): a larger one is tried then.
    ///
    /// # References
    /// [pthread_create(3)](https://man7.org/linux/man-pages/man3/pthread_create.3.html)
    pub(crate) fn start(name: &'static CStr, stack: usize, main: Main) -> Result<RawThread, Errno> {
        let mut attributes = Attributes::new()?;
        let start = Box::into_raw(Box::new(Start { name, main }));
        let mut made = Err(Errno::INVAL);
        for more in [0, 256 << 10, 1 << 20, 8 << 20] {
            made = attributes
                .set_stack(stack.saturating_add(more))
                .and_then(|()| attributes.create(start));
            if !matches!(made, Err(Errno::INVAL)) {
                break;
            }
        }
        if made.is_err() {
            // SAFETY: from `Box::into_raw` above, and no thread has it.
            drop(unsafe { Box::from_raw(start) });
        }
        made
    }

    /// Waits for the end.
    pub(crate) fn join(self) -> Result<(), Errno> {
        let thread = ManuallyDrop::new(self);
        // SAFETY: neither joined nor detached yet, as the value says, and gone with it. No place
        // for an answer is given.
        result(unsafe { libc::pthread_join(thread.0, ptr::null_mut()) })
    }
}

impl Drop for RawThread {
    fn drop(&mut self) {
        // SAFETY: neither joined nor detached yet, as the value says, and gone with it.
        unsafe { libc::pthread_detach(self.0) };
    }
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    // SAFETY: `RawThread::start` gave the only pointer to it away.
    let start: Box<Start> = unsafe { Box::from_raw(start.cast()) };
    // SAFETY: the kernel reads the string, which ends with a zero byte. A thread without its name
    // does as well.
    unsafe { libc::prctl(libc::PR_SET_NAME, start.name.as_ptr()) };
    (start.main)();
    ptr::null_mut()
}

struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn new() -> Result<Attributes, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the place is large enough for what is initialised there.
        result(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: pthread_attr_init answered 0.
        Ok(Attributes(unsafe { attributes.assume_init() }))
    }

    fn set_stack(&mut self, stack: usize) -> Result<(), Errno> {
        // SAFETY: the attributes are initialised.
        result(unsafe { libc::pthread_attr_setstacksize(&raw mut self.0, stack) })
    }

    /// A thread that owns `start` from then on; nobody does after an error.
    fn create(&self, start: *mut Start) -> Result<RawThread, Errno> {
        let mut thread = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised; `run` takes what a `Start` from a box is.
        let answer = unsafe {
            libc::pthread_create(thread.as_mut_ptr(), &raw const self.0, run, start.cast())
        };
        // SAFETY: pthread_create answered 0, so it has filled the place.
        result(answer).map(|()| RawThread(unsafe { thread.assume_init() }))
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and used no more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

fn result(error: libc::c_int) -> Result<(), Errno> {
    match error {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(error)),
    }
}
