//! A child whose parent is killed, both of them forks: for cases that say in code what the child is
//! and does.
//!
//! The caller is pid 1 of a PID namespace
//! ([`alone_in_pid_namespace!`](crate::alone_in_pid_namespace)): it inherits the child, and nothing
//! that runs in there outlives it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pidfd_watcher::Process;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::Pid;
use watchdog_pipe::{Builder, ENV_VAR, Keepalive, Watchdog};

use crate::fork::{Cue, Fork};
use crate::until;

/// Where the child finds its pipe and its page: above everything that is open.
const NUMBERS: [RawFd; 2] = [900, 901];

/// A number that processes share, to be read and written without a system call.
#[derive(Clone, Copy, Debug)]
pub struct Flag(&'static AtomicU32);

impl Flag {
    #[allow(clippy::new_without_default, reason = "it makes a mapping")]
    pub fn new() -> Flag {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, never undone; zero is a valid
        // value.
        Flag(unsafe {
            let page = mmap_anonymous(std::ptr::null_mut(), 4096, access, MapFlags::SHARED);
            &*page.expect("mmap").cast::<AtomicU32>()
        })
    }

    pub fn set(self, value: u32) {
        self.0.store(value, Ordering::SeqCst);
    }

    pub fn get(self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until it is no longer zero.
    pub fn wait(self) -> u32 {
        until("a flag is set", || {
            Some(self.get()).filter(|value| *value != 0)
        })
    }
}

/// How a pair is born.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    pub sentinel: bool,
    /// The child is pid 1 of a PID namespace of its own.
    pub as_pid_1: bool,
}

/// A parent with one child, which runs `child` with its watchdog and never returns from it.
#[derive(Debug)]
pub struct Pair {
    parent: Fork,
    child: Process,
    order: Cue,
}

impl Pair {
    /// Returns when the child has adopted; `child` then tells by a [`Flag`] how far it is.
    pub fn start(birth: Birth, child: impl FnOnce(Watchdog)) -> Pair {
        let (order, mut orders) = Cue::pair();
        let (born, adopted) = (Flag::new(), Flag::new());
        let mut child = Some(child);
        let parent = Fork::run(|| {
            let (keepalive, mut setup) = Builder::new()
                .sentinel(birth.sentinel)
                .channel()
                .expect("channel");
            setup.renumber_each(NUMBERS);
            let variable = setup.env().1;
            let fds = setup
                .fds()
                .map(|(fd, _)| fd.try_clone_to_owned().expect("dup"));
            let fds: Vec<OwnedFd> = fds.collect();
            drop(setup);
            if birth.as_pid_1 {
                // SAFETY: a plain number; this process's next child is pid 1 of the new namespace,
                // nothing else changes.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
            }
            let mut held = Some((keepalive, fds));
            let copy = Fork::run(|| {
                // SAFETY: prctl(2) of this kind has no memory effect. The link is what is to end
                // this copy.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
                let (keepalive, fds) = held.take().expect("the copies");
                drop(keepalive);
                let watchdog = adopt(&fds, &variable);
                drop(fds);
                adopted.set(1);
                let child = child.take().expect("the child");
                child(watchdog);
            });
            born.set(copy.pid().unsigned_abs());
            // Not killed by a drop: this process is.
            std::mem::forget(copy);
            let (keepalive, _) = held.take().expect("the originals");
            live(keepalive, &mut orders);
        });
        adopted.wait();
        let child = Pid::from_raw(born.wait().cast_signed()).expect("a pid");
        let child = Process::open(child).expect("open the child");
        Pair {
            parent,
            child,
            order,
        }
    }

    /// The child's number.
    pub fn child(&self) -> i32 {
        self.child.pid().as_raw_nonzero().get()
    }

    /// The parent lets the child live on.
    pub fn release(&mut self) {
        self.order.give();
    }

    /// Kills the parent and waits for the child's end, which is the caller's by then: how, and how
    /// long that took at least.
    pub fn kill_the_parent(mut self) -> (ExitStatus, Duration) {
        assert!(
            self.child.try_wait().expect("poll a pidfd").is_none(),
            "the child did not wait for its parent's end"
        );
        let start = Instant::now();
        self.parent.signal(libc::SIGKILL);
        self.parent.wait();
        let status = any_end();
        (status, start.elapsed())
    }
}

/// Until it is killed.
fn live(keepalive: Keepalive, orders: &mut Cue) -> ! {
    orders.take();
    keepalive.release().expect("release");
    loop {
        std::thread::park();
    }
}

fn adopt(fds: &[OwnedFd], variable: &str) -> Watchdog {
    for (fd, number) in fds.iter().zip(NUMBERS) {
        // SAFETY: nothing lies on these numbers in this process.
        assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
    }
    // SAFETY: a fork with one thread; and the numbers are the ones just made, owned by nobody.
    unsafe {
        std::env::set_var(ENV_VAR, variable);
        Watchdog::from_env().expect("adopt").expect("a variable")
    }
}

/// Waits for the end of whichever child of this process ends next.
fn any_end() -> ExitStatus {
    until("the child ends", || {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer; whatever ends is to be reaped.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        (reaped > 0).then(|| ExitStatus::from_raw(status))
    })
}
