//! The thread that a sentinel is, as the kernel sees it.

use std::ops::Range;
use std::{fs, io};

use workspace_tests::alone;
use workspace_tests::fork::Fork;
use workspace_tests::proc_fs::open_signals;

use super::given::{Given, sockets};
use super::take_in_orphans;
use super::words::{sleeps_on_a_word, thread_named};

/// The mapping of this process in which an address lies, and how it may be used.
fn mapping_of(address: usize) -> (Range<usize>, String) {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let found = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).expect("an address");
        let range = number(start)..number(end);
        let access = rest.split(' ').next()?;
        range.contains(&address).then(|| (range, access.to_owned()))
    });
    found.expect("a mapping")
}

/// Its stack is small, it runs no handler of the program's, and its list is in memory that nobody
/// can write to.
#[test]
fn sentinel_is_a_small_thread_that_no_signal_reaches_and_nobody_writes_to_its_list() {
    alone!({
        take_in_orphans();
        drop(watchdog_pipe::channel().expect("channel"));
        let own = rustix::process::getpid().as_raw_nonzero().get();
        // As much of its name as the kernel keeps.
        let thread = thread_named(own, "watchdog-sentin");
        sleeps_on_a_word(own, thread);

        assert_eq!(open_signals(own, thread), 0);

        // Number, six arguments, stack pointer, program counter.
        let call =
            fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).expect("syscall");
        let stack = call.split(' ').nth(7).expect("a stack pointer");
        let stack = stack.strip_prefix("0x").expect("a number");
        let (stack, access) = mapping_of(usize::from_str_radix(stack, 16).expect("an address"));
        assert_eq!(access, "rw-p");
        assert!(stack.len() <= 256 * 1024, "{}", stack.len());

        let (mut head, mut length) = (0_usize, 0_usize);
        // SAFETY: both are places for the answer.
        let answer = unsafe {
            let (head, length) = (&raw mut head, &raw mut length);
            libc::syscall(libc::SYS_get_robust_list, thread, head, length)
        };
        assert_eq!((answer, length), (0, 24), "{}", io::Error::last_os_error());
        let (list, access) = mapping_of(head);
        assert_eq!(access, "r--p");
        // The nodes lie behind the head.
        assert!(head + length + 2048 * 8 <= list.end, "{list:?} {head:x}");
    });
}

/// A thread with the shorter slice takes the CPU from the one that wakes it; with equal ones the
/// dying parent would take its memory down first.
#[test]
fn listener_has_a_shorter_slice_than_the_sentinel_that_wakes_it() {
    alone!({
        take_in_orphans();
        let (ours, theirs) = sockets();
        let parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            Given::send(&theirs, &mut setup);
            loop {
                std::thread::park();
            }
        });
        let watchdog = Given::receive(&ours).adopt_whole();
        let _monitor = watchdog.on_verdict(|_| {}).expect("on_verdict");
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let sentinel = thread_named(parent.pid(), "watchdog-sentin");
        let listener = thread_named(own, "watchdog-listen");
        // Asleep: both have asked by then.
        sleeps_on_a_word(parent.pid(), sentinel);
        sleeps_on_a_word(own, listener);
        let (sentinel, listener) = (slice(sentinel), slice(listener));
        if sentinel == 0 {
            eprintln!("skipped: this kernel has no slices of a thread's own (Linux 6.12)");
            return;
        }
        assert!(listener < sentinel, "{listener} ns, {sentinel} ns");
    });
}

/// Nanoseconds.
fn slice(thread: i32) -> u64 {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: all zero is a valid sched_attr, and the place for the answer is as large as is said.
    let (answer, attr) = unsafe {
        let mut attr: libc::sched_attr = std::mem::zeroed();
        let attr_mut = &raw mut attr;
        let answer = libc::syscall(libc::SYS_sched_getattr, thread, attr_mut, size, 0);
        (answer, attr)
    };
    assert_eq!(answer, 0, "sched_getattr: {}", io::Error::last_os_error());
    attr.sched_runtime
}
