//! The sentinel's thread. The C library makes it, not Rust's standard library.
//!
//! Rust's own threads map a signal stack when they start, and end the process if they cannot. This
//! thread needs none: it makes a few system calls and sleeps. So if something that it needs is
//! missing, that is an error here, and the parent lives on.

use std::ffi::{CStr, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

use super::robust_list::RobustList;
use crate::sys::{BlockedSignals, RawThread, ask_for_slices};

/// The kernel keeps 15 bytes of the name.
const NAME: &CStr = c"watchdog-sentinel";

/// Stack size in bytes. The thread needs little.
const STACK: usize = 32 << 10;

/// The thread has not answered yet.
const PENDING: u32 = 0;

/// Set in an answer that is an errno. A thread id is smaller (`FUTEX_TID_MASK`).
const FAILED: u32 = 1 << 31;

/// What the new thread gets. It is on the stack of the thread that creates it.
struct Start<'a, T: 'static> {
    list: &'a RobustList,
    slices: Duration,
    keeper: &'static T,
    over: fn(&'static T, u32),
    /// `PENDING`, a thread id, or an errno with `FAILED`. The thread does not touch this structure
    /// once it has answered.
    answer: AtomicU32,
}

/// Starts a thread whose death the kernel reports through `list`. Returns its id in this PID
/// namespace. The thread sleeps as long as its process lives. If every call by which it could sleep
/// is refused, it calls `over` with its id, and ends.
///
/// All signals are blocked in it from its first instruction, except for two of the C library (32
/// and 33). With those the C library changes the user id of every thread, and waits until each has
/// answered.
///
/// # Errors
/// What `pthread_create` or a call of the thread answered: `EAGAIN`, `ENOMEM`, `EPERM` by a filter.
/// Then no thread is left, or it is about to end.
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
    // SAFETY: `run::<T>` takes what `argument` points to for a `Start<T>`, and it is one. It lives
    // until the thread has answered or is dead: `answer_of` waits for that. Nothing in `run`
    // unwinds.
    let thread = unsafe { RawThread::create(STACK, run::<T>, argument) }?;
    drop(blocked);
    match answer_of(thread, &start.answer) {
        Some(id) if id & FAILED == 0 => {
            // The kernel reads the list from now on.
            std::mem::forget(list);
            Ok(id)
        }
        Some(errno) => Err(io::Error::from_raw_os_error(
            (errno & !FAILED).cast_signed(),
        )),
        None => Err(io::Error::other("the sentinel's thread was killed")),
    }
}

/// Waits for the answer, and detaches the thread. `None`: the thread alone was killed, as a filter
/// can do (`SECCOMP_RET_KILL_THREAD`).
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
        // If the wait is refused, this loop spins for as long as the thread takes to start.
        let _ = futex::wait(answer, Flags::PRIVATE, PENDING, Some(&a_moment));
        let Err(runs) = thread.join_if_ended() else {
            let said = answer.load(Ordering::Acquire);
            return (said & FAILED != 0).then_some(said);
        };
        thread = runs;
    }
}

/// What the thread runs. Nothing here allocates or can panic.
extern "C" fn run<T: Sync + 'static>(start: *mut c_void) -> *mut c_void {
    // SAFETY: see `start`.
    let start = unsafe { &*start.cast_const().cast::<Start<'_, T>>() };
    let (keeper, over) = (start.keeper, start.over);
    // SAFETY: a string that ends with a zero byte. The thread works without its name too.
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
    // Release: pairs with the Acquire in `answer_of`. The registration of the list happens before
    // anybody knows the id. Without it, a word could be given to a thread whose end the kernel
    // would not report yet.
    // SAFETY: the thread that created this one keeps the place until it has an answer.
    unsafe { (*place).store(said, Ordering::Release) };
    // From here on the memory at `place` may be gone; only its address is used. If the wake-up
    // reaches something else that is there now, that is one of the wake-ups for no reason.
    // SAFETY: FUTEX_WAKE reads no memory of ours.
    unsafe {
        let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, place, how, 1)
    };
}

/// Makes the raw call, whose failure can be seen: a word must hold nothing but the kernel's own id.
fn thread_id() -> io::Result<u32> {
    // SAFETY: gettid(2) has no memory effect.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    match u32::try_from(id) {
        Ok(id @ 1..=libc::FUTEX_TID_MASK) => Ok(id),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// How often all ways to sleep may return. They return for a signal of the C library, and if a
/// filter answers them.
const ROUNDS: usize = 1_000;

/// Sleeps as long as the process lives, and touches no page of memory meanwhile. A filter that is
/// installed later may refuse any of these calls: the kernel asks it again when the process was
/// stopped and goes on. Returns when none of the calls sleeps.
fn sleep() {
    static NEVER: AtomicU32 = AtomicU32::new(0);
    let for_ever = libc::timespec {
        tv_sec: libc::time_t::MAX,
        tv_nsec: 0,
    };
    // The scheduler remembers what it owes a thread that goes to sleep. When the thread wakes, it
    // could therefore run on ahead of the thread that it wakes. A yield forfeits this debt on
    // kernels that handle it, and costs nothing on others.
    // SAFETY: none of these calls has a memory effect; the one that gets an address only reads
    // there.
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
