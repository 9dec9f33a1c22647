//! What /proc says about this process. Its files are opened at adoption, before a filter could
//! refuse that.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::thread::{self, ThreadId};

use rustix::process::Signal;

use crate::sys;

/// The seccomp filters of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filters {
    /// 0: no filter.
    mode: u64,
    /// How many filters; since Linux 5.9.
    count: Option<u64>,
}

/// Which optional calls may be made. A filter that was installed after adoption may end the process
/// for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// A name for the thread. Allowed if no filter was added since adoption.
    pub(crate) names: bool,
    /// Time slices of its own. Allowed only if there is no filter at all: even a filter that was
    /// there before adoption may end the process for these calls.
    pub(crate) slices: bool,
}

/// The filters of the thread that adopted the pipe.
#[derive(Debug)]
pub(crate) struct Adopter {
    thread: ThreadId,
    before: Filters,
    /// Read once more, once.
    now: File,
}

impl Adopter {
    /// `None` without /proc.
    pub(crate) fn this_thread() -> Option<Adopter> {
        // The path of the first thread names the same file, and puts two names less into the
        // kernel's cache.
        let path = if sys::is_first_thread() {
            "/proc/self/status"
        } else {
            "/proc/thread-self/status"
        };
        let open = || File::open(path).ok();
        let now = open()?;
        // Usually there is no filter, and one cheap call says so. Opening, reading and closing the
        // file takes 8 us.
        let before = if sys::has_no_filter() {
            Filters::NONE
        } else {
            Filters::read(&open()?)?
        };
        Some(Adopter {
            thread: thread::current().id(),
            before,
            now,
        })
    }

    /// Makes only a read(2). A second call, or one from another thread, allows nothing.
    pub(crate) fn allows(&self) -> Extras {
        if thread::current().id() != self.thread {
            return Extras::default();
        }
        Filters::read(&self.now).map_or_else(Extras::default, |now| Extras {
            names: now.mode == 0 || (now == self.before && now.count.is_some()),
            slices: now.mode == 0,
        })
    }
}

impl Filters {
    const NONE: Filters = Filters {
        mode: 0,
        count: None,
    };

    fn read(status: &File) -> Option<Filters> {
        let (mut mode, mut count) = (None, None);
        each_line(status, |name, value| {
            match name {
                "Seccomp" => mode = value.parse().ok(),
                "Seccomp_filters" => count = value.parse().ok(),
                // Before Linux 5.9 the second line does not exist.
                _ if mode.is_some() => return ControlFlow::Break(()),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        mode.map(|mode| Filters { mode, count })
    }
}

/// The first thread of this process. Its mask decides whether the kernel keeps a signal to pid 1.
#[derive(Debug)]
pub(crate) struct FirstThread {
    status: File,
    /// Which system call the thread is in.
    call: Option<File>,
}

impl FirstThread {
    /// `None` without /proc.
    pub(crate) fn open() -> Option<FirstThread> {
        Some(FirstThread {
            status: File::open("/proc/self/status").ok()?,
            call: File::open("/proc/self/syscall").ok(),
        })
    }

    /// Whether the kernel would drop a signal to pid 1: the signal is neither handled nor ignored,
    /// and the first thread neither blocks it nor waits for it. Makes only read(2) calls, works
    /// once, and allocates nothing. `None`: unknown.
    pub(crate) fn is_deaf_to(&self, signal: Signal) -> Option<bool> {
        let bit = 1_u64 << (signal.as_raw() - 1);
        let (mut lines, mut hears) = (0, false);
        each_line(&self.status, |name, value| {
            if matches!(name, "SigBlk" | "SigIgn" | "SigCgt") {
                // If the value cannot be parsed, assume that the signal arrives, so that the grace
                // period is kept.
                let set = u64::from_str_radix(value, 16).unwrap_or(u64::MAX);
                hears |= set & bit != 0;
                lines += 1;
            }
            if lines == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        (lines == 3).then(|| !hears && !self.waits_for_signals())
    }

    /// Whether the thread is in sigwait(3) or a similar call: the masks do not show which signals
    /// such a call waits for.
    fn waits_for_signals(&self) -> bool {
        let mut waits = false;
        if let Some(call) = &self.call {
            let mut number = [0; 32];
            let length = (&*call).read(&mut number).unwrap_or(0);
            let text = std::str::from_utf8(&number[..length]).unwrap_or("");
            let number = text
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok());
            waits = number.is_some_and(sys::waits_for_signals);
        }
        waits
    }
}

/// Calls `see` with the name and the value of each line that fits, until `see` breaks.
fn each_line(status: &File, mut see: impl FnMut(&str, &str) -> ControlFlow<()>) {
    let mut status = status;
    // Usually large enough for the whole file.
    let mut chunk = [0; 2048];
    let (mut line, mut length) = ([0; 64], 0);
    while let Ok(count @ 1..) = status.read(&mut chunk) {
        for &byte in &chunk[..count] {
            if byte != b'\n' {
                if let Some(place) = line.get_mut(length) {
                    *place = byte;
                }
                length += 1;
                continue;
            }
            let whole = line
                .get(..length)
                .and_then(|line| std::str::from_utf8(line).ok());
            if let Some((name, value)) = whole.and_then(|line| line.split_once(":\t"))
                && see(name, value).is_break()
            {
                return;
            }
            length = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn first_thread_is_not_deaf_to_what_it_handles() {
        let first = FirstThread::open().unwrap();
        // Rust's runtime ignores SIGPIPE.
        assert_eq!(first.is_deaf_to(Signal::PIPE), Some(false));
        // The file was read to its end, so it says nothing more.
        assert_eq!(first.is_deaf_to(Signal::PIPE), None);
        // Nobody handles SIGUSR2. But the harness's first thread blocks every signal while it
        // creates this test's thread, so the right answer can come late.
        let deadline = Instant::now() + Duration::from_secs(60);
        while FirstThread::open().unwrap().is_deaf_to(Signal::USR2) != Some(true) {
            assert!(Instant::now() < deadline, "the first thread hears SIGUSR2");
            thread::yield_now();
        }
    }

    #[test]
    fn extras_are_allowed_once_and_to_the_adopter_alone() {
        let adopter = Adopter::this_thread().unwrap();
        let none = Extras::default();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| adopter.allows());
            assert_eq!(other.join().unwrap(), none);
        });
        assert!(adopter.allows().names);
        assert_eq!(adopter.allows(), none);
    }
}
