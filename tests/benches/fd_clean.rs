//! What it costs that a child inherits nothing but what it is given, against the number of
//! descriptors that are open here without close-on-exec: fork, exec and wait of `/bin/true`, in
//! turns.
//!
//! - `bare close_range`: fork, one close_range(2) that marks everything from 3 up, execve, in this
//!   binary; all others go through std's `Command`, which waits for the exec as well.
//! - `fd-preserve`: a plan without descriptors; the plan is made once, as it may be.
//! - `close_fds`: `set_fds_cloexec` in a `pre_exec` closure, which its documentation names for
//!   this.
//! - `naive loop`: command-fds, which cleans nothing, and a `pre_exec` closure that marks every
//!   number below the limit.
//! - `command-fds, nothing cleaned`: what that costs without the loop.
//!
//! `--quick` takes fewer rounds; `--open N,N` chooses the numbers.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use fd_preserve::PreserveFds;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use workspace_tests::fd_table::{file, litter};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

const PROGRAM: &std::ffi::CStr = c"/bin/true";
const BARE: &str = "bare close_range";
const OURS: &str = "fd-preserve";
const WARM_UP: usize = 3;
/// Numbers besides the open ones.
const OTHERS: usize = 240;

type Contestant = (&'static str, Box<dyn FnMut()>);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let sizes = match args.iter().position(|arg| arg == "--open") {
        Some(at) => args[at + 1]
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>()?,
        None => vec![10, 100, 1_000, 10_000],
    };
    let rounds = if quick { 60 } else { 400 };
    let mut contestants = contestants()?;
    let mut all = Vec::new();
    for open in sizes {
        raise_limit(open)?;
        let samples = measure(&mut contestants, open, rounds);
        samples.print();
        all.push(samples);
    }
    Samples::save(&all, "fd_clean")
}

/// Just above what is open: the naive loop goes up to the limit, and is given no more to do than it
/// must.
fn raise_limit(open: usize) -> io::Result<()> {
    let needed = (open + OTHERS) as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(needed),
        maximum: maximum.map(|maximum| maximum.max(needed)),
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn contestants() -> anyhow::Result<Vec<Contestant>> {
    let by_std = |mut command: Command| -> Box<dyn FnMut()> {
        Box::new(move || assert!(command.status().expect("spawn").success()))
    };
    let program = || Command::new(PROGRAM.to_str().expect("ASCII"));
    let mut planned = program();
    PreserveFds::new().apply(&mut planned)?;
    let mut marked = program();
    // SAFETY: its documentation: async-signal-safe on Linux; the copy has one thread, and marks
    // alone.
    unsafe {
        marked.pre_exec(|| {
            close_fds::set_fds_cloexec(3, &[]);
            Ok(())
        });
    }
    let mapped = || -> anyhow::Result<Command> {
        let mut command = program();
        let mapping = FdMapping {
            parent_fd: file(),
            child_fd: 3,
        };
        command.fd_mappings(vec![mapping])?;
        Ok(command)
    };
    let mut looped = mapped()?;
    // SAFETY: system calls alone; a number that is not open is refused.
    unsafe {
        looped.pre_exec(|| {
            for number in 4..libc::sysconf(libc::_SC_OPEN_MAX) {
                libc::fcntl(number as i32, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            Ok(())
        });
    }
    Ok(vec![
        (BARE, Box::new(bare)),
        (OURS, by_std(planned)),
        ("close_fds", by_std(marked)),
        ("naive loop", by_std(looped)),
        ("command-fds, nothing cleaned", by_std(mapped()?)),
    ])
}

unsafe extern "C" {
    /// environ(7): what std's children get as well.
    static environ: *const *const libc::c_char;
}

/// The limit: what the kernel takes.
fn bare() {
    let argv = [PROGRAM.as_ptr(), std::ptr::null()];
    // SAFETY: the copy makes system calls alone, on what was prepared before it.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork: {}", io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: as above.
        unsafe {
            let (all, mark) = (libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if libc::syscall(libc::SYS_close_range, 3, all, mark) == 0 {
                libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), environ);
            }
            libc::_exit(127)
        }
    }
    let mut status = 0;
    // SAFETY: a valid place for the status of our own child.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((reaped, status), (pid, 0), "reaped with a good status");
}

fn measure(contestants: &mut [Contestant], open: usize, rounds: usize) -> Samples {
    let what = format!("spawn that cleans, {open} descriptors open");
    let mut samples = Samples::new(&what, "us")
        .at("open descriptors", open as f64)
        .compare(OURS, BARE);
    let mut progress = Progress::new(what, rounds + WARM_UP);
    let open = litter(100, 1, open);
    for round in 0..rounds + WARM_UP {
        for turn in order(round, contestants.len()) {
            let (name, spawn) = &mut contestants[turn];
            let start = Instant::now();
            spawn();
            let taken = start.elapsed();
            if round >= WARM_UP {
                samples.push(name, taken.as_secs_f64() * 1e6);
            }
        }
        progress.step();
    }
    drop(open);
    samples
}
