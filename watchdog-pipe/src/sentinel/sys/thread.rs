//! The sentinel's thread, made by the C library alone.
//!
//! Rust's own threads map a signal stack when they start, and end the process if they cannot. This
//! thread needs none: it runs a few system calls and sleeps. So whatever is missing for it is an
//! error here, and the parent lives on.

use std::ffi::{CStr, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

use super::robust_list::RobustList;
use crate::sys::{BlockedSignals, RawThread, ask_for_slices};

/// The kernel keeps 15 bytes of it.
const NAME: &CStr = c"watchdog-sentinel";

/// Bytes for its own frames, which are few.
const STACK: usize = 32 << 10;

/// The thread has not answered yet.
const PENDING: u32 = 0;

/// Set in an answer that is an errno. A thread id is smaller (`FUTEX_TID_MASK`).
const FAILED: u32 = 1 << 31;

/// What the new thread is given. It lies on the stack of the one that makes it.
struct Start<'a, T: 'static> {
    list: &'a RobustList,
    slices: Duration,
    keeper: &'static T,
    over: fn(&'static T, u32),
    /// `PENDING`, a thread id, or an errno with `FAILED`. The thread does not touch the structure
    /// once it has answered.
    answer: AtomicU32,
}

/// Starts a thread whose death the kernel tells by `list`, and gives its id in this PID namespace.
/// It sleeps as long as its process lives. If nothing in this process sleeps any more, it calls
/// `over` with its id, and ends.
///
/// All signals are blocked in it before it exists, but for the two of the C library's own (32 and
/// 33): with those it changes the user id of every thread, and waits until each has answered.
///
/// # Errors
/// What `pthread_create` or a call of the thread answered: `EAGAIN`, `ENOMEM`, `EPERM` by a filter.
/// No thread is left then, or it is about to end.
pub(in crate::sentinel) fn start<T: Sync + 'static>(
    list: RobustList,
    slices: Duration,
    keeper: &'static T,
    over: fn(&'static T, u32),
) -> io::Result<u32> {
    let start = Start {
        list: &list,
        slices,
        keeper,
        over,
        answer: AtomicU32::new(PENDING),
    };
    let blocked = BlockedSignals::all()?;
    let argument = ptr::from_ref(&start).cast_mut().cast();
    // SAFETY: `run::<T>` takes what is pointed to for a `Start<T>`, which it is, and which lives
    // until the thread has answered or is dead: `answer_of` waits for that. Nothing in `run`
    // unwinds.
    let thread = unsafe { RawThread::create(STACK, run::<T>, argument) }?;
    drop(blocked);
    match answer_of(thread, &start.answer) {
        Some(id) if id & FAILED == 0 => {
            // The kernel reads it from now on.
            std::mem::forget(list);
            Ok(id)
        }
        Some(errno) => Err(io::Error::from_raw_os_error(
            (errno & !FAILED).cast_signed(),
        )),
        None => Err(io::Error::other("the sentinel's thread was killed")),
    }
}

/// Waits for it, and lets go of the thread. `None`: the thread was killed, alone, as a filter can
/// do (`SECCOMP_RET_KILL_THREAD`).
fn answer_of(mut thread: RawThread, answer: &AtomicU32) -> Option<u32> {
    let a_moment = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    loop {
        let said = answer.load(Ordering::Acquire);
        if said != PENDING {
            thread.detach();
            return Some(said);
        }
        // A wait that is refused makes this loop busy, for as long as the thread takes to start.
        let _ = futex::wait(answer, Flags::PRIVATE, PENDING, Some(&a_moment));
        let Err(runs) = thread.join_if_ended() else {
            let said = answer.load(Ordering::Acquire);
            return (said & FAILED != 0).then_some(said);
        };
        thread = runs;
    }
}

/// The thread. Nothing here allocates, or can panic.
extern "C" fn run<T: Sync + 'static>(start: *mut c_void) -> *mut c_void {
    // SAFETY: see `start`.
    let start = unsafe { &*start.cast_const().cast::<Start<'_, T>>() };
    let (keeper, over) = (start.keeper, start.over);
    // SAFETY: a string that ends with a zero byte. A thread without its name does as well.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    ask_for_slices(start.slices);
    let registered = thread_id().and_then(|id| start.list.register().map(|()| id));
    let place = &raw const start.answer;
    match registered {
        Ok(id) => {
            answer(place, id);
            sleep();
            over(keeper, id);
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EPERM);
            answer(place, errno.unsigned_abs() | FAILED);
        }
    }
    ptr::null_mut()
}

fn answer(place: *const AtomicU32, said: u32) {
    // Release, for the Acquire in `answer_of`: the registration of the list happens before the id
    // is known to anybody. Without that, a word could be given to a thread whose end the kernel
    // would not tell yet.
    // SAFETY: who made the thread keeps the place until it has an answer.
    unsafe { (*place).store(said, Ordering::Release) };
    // From here on the place may be gone; its address is all that is used of it. A wake that comes
    // to whatever lies there now is one of those that come for no reason.
    // SAFETY: FUTEX_WAKE reads no memory of ours.
    unsafe {
        let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, place, how, 1)
    };
}

/// By the raw call, whose failure can be seen: nobody but the kernel's own id may stand in a word.
fn thread_id() -> io::Result<u32> {
    // SAFETY: gettid(2) has no memory effect.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    match u32::try_from(id) {
        Ok(id @ 1..=libc::FUTEX_TID_MASK) => Ok(id),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// How often every way to sleep may have come back. They come back for a signal of the C library's
/// own, and where a filter answers them.
const ROUNDS: usize = 1_000;

/// Sleeps as long as the process lives, and does not touch a page of memory. A filter that is
/// installed later may refuse any of the ways; the kernel asks it again when the process was
/// stopped and goes on. Returns when none of them sleeps.
fn sleep() {
    static NEVER: AtomicU32 = AtomicU32::new(0);
    let for_ever = libc::timespec {
        tv_sec: libc::time_t::MAX,
        tv_nsec: 0,
    };
    // What the scheduler owes a thread that goes to sleep is kept for it until it wakes, and would
    // let it run on ahead of whom it wakes. A yield forfeits that on the kernels that see to it,
    // and costs nothing on others.
    // SAFETY: none of these calls has a memory effect; the one that is given an address only reads
    // from there.
    unsafe { libc::sched_yield() };
    for _ in 0..ROUNDS {
        let _ = futex::wait(&NEVER, Flags::PRIVATE, 0, None);
        // SAFETY: as above.
        unsafe {
            libc::pause();
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                0,
                &raw const for_ever,
                ptr::null_mut(),
            );
            libc::poll(ptr::null_mut(), 0, -1);
        }
    }
}
