//! Holds a forked child back until its parent has a handle on it.

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A locked mutex in memory that parent and child share. The child waits for the lock.
///
/// The mutex is robust: if the parent dies, the kernel unlocks it, so the child does not wait for
/// ever. A pipe cannot promise that: another thread may fork at the same moment, and its child
/// would hold the pipe open.
///
/// [pthread_mutexattr_setrobust(3)](https://man7.org/linux/man-pages/man3/pthread_mutexattr_setrobust.3.html)
pub(crate) struct Gate(NonNull<GateMemory>);

struct GateMemory {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    /// Whether the child must run. The parent writes it before it unlocks the mutex.
    opened: AtomicBool,
}

impl Gate {
    /// Makes a gate that the calling thread keeps closed. Error: `ENOMEM`.
    pub(crate) fn closed() -> Result<Gate, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing.
        let page = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                size_of::<GateMemory>(),
                access,
                MapFlags::SHARED,
            )
        }?;
        let memory = NonNull::new(page.cast::<GateMemory>()).ok_or(Errno::NOMEM)?;
        // SAFETY: the mapping is new and large enough, a page is aligned for it, and nobody else
        // knows it yet. Zeros are a valid `opened`.
        let locked = unsafe { lock_new(memory.as_ref().mutex.get()) };
        if let Err(errno) = locked {
            // SAFETY: the mapping just made, which nothing refers to any more.
            let _ = unsafe { munmap(page, size_of::<GateMemory>()) };
            return Err(errno);
        }
        Ok(Gate(memory))
    }

    /// In the parent: lets the child run. A gate that is dropped instead makes the child end.
    pub(crate) fn open(self) {
        // Relaxed: the mutex orders it. This store happens before the unlock in the drop of `self`,
        // and the child loads it after it has locked the mutex.
        self.memory().opened.store(true, Ordering::Relaxed);
    }

    /// In the child: waits until the parent has opened the gate or dropped it. Returns whether the
    /// child must run.
    ///
    /// Runs between fork and the caller's closure: no allocation, no panic.
    pub(super) fn wait(self) -> bool {
        let gate = ManuallyDrop::new(self);
        let mutex = gate.memory().mutex.get();
        // SAFETY: the mutex is initialised, and the mapping stays until the call below.
        let locked = unsafe { libc::pthread_mutex_lock(mutex) };
        // The parent died, so it can open nothing. Its child runs, as after any fork.
        let run = locked == libc::EOWNERDEAD || gate.memory().opened.load(Ordering::Relaxed);
        // Unlocked before the memory is unmapped: the mutexes that this thread owns are on a list
        // that the kernel reads when the thread ends.
        // SAFETY: as above; if the lock was not taken, this call is an error and does nothing.
        unsafe { libc::pthread_mutex_unlock(mutex) };
        // SAFETY: this process's own copy of the mapping, which nothing refers to any more.
        let _ = unsafe { munmap(gate.0.as_ptr().cast(), size_of::<GateMemory>()) };
        run
    }

    fn memory(&self) -> &GateMemory {
        // SAFETY: the mapping lives as long as the gate. Its contents are an atomic and a mutex,
        // which may be shared.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: the calling thread made the gate and holds its lock; a child unmaps its own copy
        // of the mapping.
        unsafe {
            libc::pthread_mutex_unlock(self.memory().mutex.get());
            let _ = munmap(self.0.as_ptr().cast(), size_of::<GateMemory>());
        }
    }
}

/// Makes a robust mutex for several processes, and locks it.
///
/// # Safety
///
/// `mutex` must be valid memory that nobody else uses yet.
unsafe fn lock_new(mutex: *mut libc::pthread_mutex_t) -> Result<(), Errno> {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the first call initialises the attributes that the others take; the mutex is ours to
    // initialise.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes))?;
        let made = check(libc::pthread_mutexattr_setpshared(
            attributes,
            libc::PTHREAD_PROCESS_SHARED,
        ))
        .and_then(|()| {
            check(libc::pthread_mutexattr_setrobust(
                attributes,
                libc::PTHREAD_MUTEX_ROBUST,
            ))
        })
        .and_then(|()| check(libc::pthread_mutex_init(mutex, attributes)))
        .and_then(|()| check(libc::pthread_mutex_lock(mutex)));
        libc::pthread_mutexattr_destroy(attributes);
        made
    }
}

fn check(answer: libc::c_int) -> Result<(), Errno> {
    match answer {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}
