//! What runs in the child between its creation and its exec, on every engine: no allocation, no lock, no
//! panic of our own.
//!
//! The child may share the parent's memory (`CLONE_VM`). Then the calling thread of the parent is suspended
//! (`CLONE_VFORK`), so that what belongs to that thread is the child's to use: `errno`, and what it passed
//! here by reference. Everything else belongs to the parent's other threads, which go on, and is not touched.
//! System calls are made by number: the C library's functions may take locks or be cancellation points.

mod record;

use std::cell::UnsafeCell;
use std::ffi::{CString, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use fd_preserve::ChildFds;

use crate::identity::Record;
use crate::image::Image;
use crate::report::Report;
use crate::{ShimSpawner, Stage};

type Closure = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A closure of the caller's, to be run in the child.
pub(crate) struct Hook(UnsafeCell<Closure>);

// SAFETY: the closure is reached only by `Hook::run`, in a forked child, which has one thread and memory
// of its own; the parent's copy is never called.
unsafe impl Sync for Hook {}

impl Hook {
    /// Between fork and exec: runs the caller's closure. A panic in it ends the child, in the stage it is in.
    ///
    /// # Safety
    /// In a child made by fork, before its exec.
    unsafe fn run(&self) -> Result<(), Errno> {
        // SAFETY: a forked child has one thread, so no other reference to the closure is in use.
        let run = || unsafe { (*self.0.get())() };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Errno(error.raw_os_error().unwrap_or(libc::EINVAL))),
            Err(_) => exit(PANICKED),
        }
    }
}

impl ShimSpawner {
    /// Runs a closure in the child, after session and directory are set and before the descriptors are
    /// put on their numbers. Closures run in the order in which they were added. They need a copy of this
    /// process's memory: the engine is [`Engine::Fork`](crate::Engine::Fork) then.
    ///
    /// # Safety
    /// The closure runs between fork and exec: it may only do what is async-signal-safe. A panic in it
    /// ends the child, and is an error of [`Stage::PreExec`].
    ///
    /// # References
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn pre_exec(
        &mut self,
        closure: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut ShimSpawner {
        self.hooks
            .push(Arc::new(Hook(UnsafeCell::new(Box::new(closure)))));
        self
    }
}

/// Which session and group the child belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Belonging {
    OwnSession,
    /// 0: a group of its own.
    Group(i32),
}

/// Who has reset the signal handlers to their default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handlers {
    /// The kernel, by `CLONE_CLEAR_SIGHAND`.
    Cleared,
    /// Nobody yet: they are the parent's.
    Inherited,
}

/// All that the child needs to know, made before it exists.
pub(crate) struct Routine {
    pub(crate) belonging: Belonging,
    pub(crate) record: Option<Record>,
    pub(crate) current_dir: Option<CString>,
    /// The child's standard streams, each on a number above 2; `None`: inherited.
    pub(crate) streams: [Option<OwnedFd>; 3],
    pub(crate) hooks: Vec<Arc<Hook>>,
    pub(crate) fds: ChildFds,
    pub(crate) image: Image,
}

impl Routine {
    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// Runs in the child, from its first instruction on: becomes the program, or says in `report` why not
    /// and ends. Every step is announced before it is taken.
    ///
    /// # Safety
    /// In a child that was just created, with all signals blocked and a descriptor table of its own. Where
    /// it shares the parent's memory, there are no hooks, and the calling thread of the parent is suspended.
    pub(crate) unsafe fn run(&self, report: &Report, handlers: Handlers) -> ! {
        // SAFETY: the caller's promise.
        let Err(Errno(errno)) = unsafe { self.attempt(report, handlers) };
        give_up(report, rustix::io::Errno::from_raw_os_error(errno))
    }

    /// # Safety
    /// As [`run`](Routine::run).
    unsafe fn attempt(
        &self,
        report: &Report,
        handlers: Handlers,
    ) -> Result<std::convert::Infallible, Errno> {
        report.enter(Stage::Session);
        // While all signals are blocked: from here on, none runs a handler of the parent's.
        reset_handlers(handlers)?;
        self.belonging.take()?;
        if let Some(record) = &self.record {
            // With the credentials and the descriptors that the parent had when it opened the folder.
            report.enter(Stage::Identity);
            let identity = record.identify().map_err(raw)?;
            report.enter(Stage::IdentityFile);
            record.write(&identity).map_err(raw)?;
        }
        report.enter(Stage::CurrentDir);
        if let Some(dir) = &self.current_dir {
            // SAFETY: a C string that lives through the call.
            check(unsafe { libc::syscall(libc::SYS_chdir, dir.as_ptr()) })?;
        }
        report.enter(Stage::Stdio);
        for (number, stream) in (0..).zip(&self.streams) {
            put_stream(stream.as_ref(), number)?;
        }
        report.enter(Stage::PreExec);
        unblock_signals()?;
        for hook in &self.hooks {
            // SAFETY: hooks are in a forked child alone, which has not executed anything yet.
            unsafe { hook.run() }?;
        }
        report.enter(Stage::InstallFds);
        // SAFETY: a descriptor table of the child's own; a parent that shares memory is suspended.
        if let Err(error) = unsafe { self.fds.install() } {
            report.set_number(error.fd().unwrap_or(-1));
            return Err(Errno(error.errno()));
        }
        report.enter(Stage::Exec);
        Err(self.image.exec())
    }
}

impl Belonging {
    /// Runs in the child: one system call.
    fn take(self) -> Result<(), Errno> {
        check(match self {
            // SAFETY: takes no pointer; a child just created leads no group, so it may lead a session.
            Belonging::OwnSession => unsafe { libc::syscall(libc::SYS_setsid) },
            // SAFETY: takes no pointer.
            Belonging::Group(group) => unsafe { libc::syscall(libc::SYS_setpgid, 0, group) },
        })
        .map(drop)
    }
}

impl Image {
    /// Runs in the child: looks for the program as execvp(3) does, with everything prepared. Comes back with
    /// the reason why there is none.
    ///
    /// Unlike execvp(3) it asks no shell to run a file without a header that the kernel knows: `ENOEXEC` may
    /// as well be a damaged program, or one for another machine.
    fn exec(&self) -> Errno {
        let mut reason = Errno(libc::ENOENT);
        let mut denied = false;
        for &candidate in self.candidates() {
            // SAFETY: C strings and arrays of them that end with null, made by `Image::new`; they live
            // as long as `self`, which outlives the child's use of this memory.
            reason = unsafe { execve(candidate, self.argv(), self.environment()) };
            match reason {
                // There may be another one, which may be executed; if there is none, this is the reason.
                Errno(libc::EACCES) => denied = true,
                Errno(
                    libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT,
                ) => {}
                _ => return reason,
            }
        }
        if denied { Errno(libc::EACCES) } else { reason }
    }
}

/// Runs in the child: execve(2); what it comes back with.
///
/// # Safety
/// A C string, and two arrays of C strings that end with a null pointer.
unsafe fn execve(
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> Errno {
    // SAFETY: the caller's promise.
    match check(unsafe { libc::syscall(libc::SYS_execve, path, argv, environment) }) {
        Err(errno) => errno,
        // It does not come back with success.
        Ok(_) => Errno(libc::ENOEXEC),
    }
}

/// Runs in the child: puts `stream` on `number`. Without one, the child has what stands there in this process,
/// close-on-exec or not: node marks its own streams. Where nothing does it has /dev/null, since a program whose
/// first open file becomes its standard error writes its messages into it.
fn put_stream(stream: Option<&OwnedFd>, number: c_int) -> Result<(), Errno> {
    if let Some(stream) = stream {
        // The two differ: a stream lies above 2.
        return put(stream.as_raw_fd(), number);
    }
    // SAFETY: takes no pointer and changes nothing.
    match check(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) }) {
        Ok(0) => return Ok(()),
        Ok(_) => {
            // SAFETY: takes no pointer; FD_CLOEXEC is the only flag there is, and the table is the child's own.
            let cleared = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, 0) };
            return check(cleared).map(drop);
        }
        Err(Errno(libc::EBADF)) => {}
        Err(errno) => return Err(errno),
    }
    let (path, flags) = (c"/dev/null".as_ptr(), libc::O_RDWR);
    // SAFETY: the path is a C string, which openat(2) reads.
    let null = check(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags) })?;
    match c_int::try_from(null) {
        // Above 2, it is closed at the exec like everything else.
        Ok(null) if null != number => put(null, number),
        _ => Ok(()),
    }
}

/// Runs in the child: dup3(2), not close-on-exec.
fn put(from: c_int, to: c_int) -> Result<(), Errno> {
    // SAFETY: takes no pointer; what lies on `to` is replaced in the child's own table.
    check(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) }).map(drop)
}

/// The kernel's `struct sigaction`, larger than any architecture's. All zeros: `SIG_DFL`, no flags.
type Action = [usize; 20];

/// Where the handler lies in it: first, but for MIPS, which has the flags there.
const HANDLER: usize = if MIPS { 1 } else { 0 };

/// The size of the kernel's `sigset_t`, which the calls insist on.
pub(crate) const SIGSET_BYTES: usize = if MIPS { 16 } else { 8 };

/// A set of all the signals there are, as the kernel has it; the other one is all zeros.
pub(crate) type SignalSet = [u64; 2];

const MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));

/// Runs in the child: default actions, ignored signals excepted, which stay so; but SIGPIPE, which Rust
/// programs ignore, is not. The C library's two signals included, which its own functions do not show.
fn reset_handlers(handlers: Handlers) -> Result<(), Errno> {
    if handlers == Handlers::Inherited {
        for signal in 1..=SIGSET_BYTES * 8 {
            let mut now: Action = [0; 20];
            // SAFETY: no new action; the kernel writes no more than a `struct sigaction` to `now`.
            check(unsafe { sigaction(signal, ptr::null(), now.as_mut_ptr()) })?;
            if now[HANDLER] != libc::SIG_DFL && now[HANDLER] != libc::SIG_IGN {
                default_action(signal)?;
            }
        }
    }
    // A signal's number is small and positive.
    default_action(libc::SIGPIPE.unsigned_abs() as usize)
}

/// Runs in the child.
fn default_action(signal: usize) -> Result<(), Errno> {
    let action: Action = [0; 20];
    // SAFETY: the kernel reads a `struct sigaction`, which `action` is not smaller than.
    check(unsafe { sigaction(signal, action.as_ptr(), ptr::null_mut()) }).map(drop)
}

/// Runs in the child: `rt_sigaction(2)`. With a signal table of its own, no other process is changed.
///
/// # Safety
/// Null pointers, or room for an [`Action`].
unsafe fn sigaction(signal: usize, new: *const usize, old: *mut usize) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, SIGSET_BYTES) }
}

/// Runs in the child: an empty mask, whatever the spawning thread had blocked.
fn unblock_signals() -> Result<(), Errno> {
    let none: SignalSet = [0; 2];
    // SAFETY: the kernel reads SIGSET_BYTES from `none`; the old mask is not asked for.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            none.as_ptr(),
            ptr::null_mut::<c_void>(),
            SIGSET_BYTES,
        )
    })
    .map(drop)
}

/// Runs in the child: says in `report` that the stage it is in has failed, and ends it.
pub(crate) fn give_up(report: &Report, errno: rustix::io::Errno) -> ! {
    report.fail(errno.raw_os_error());
    exit(FAILED)
}

/// Runs in the child: ends it, and runs nothing of the parent's on the way.
fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: takes no pointer and does not come back.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

/// How a child ends that could not become the program, and one whose closure panicked. The parent goes by
/// the report.
const FAILED: c_int = 127;
const PANICKED: c_int = 101;

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Errno(i32);

/// Runs in the child.
fn raw(errno: rustix::io::Errno) -> Errno {
    Errno(errno.raw_os_error())
}

/// Runs in the child: what a system call returned, or its errno.
fn check(returned: c_long) -> Result<c_long, Errno> {
    if returned == -1 {
        // SAFETY: the C library gives the address of this thread's errno, always valid. In a child that
        // shares memory it is that of the parent's suspended thread.
        Err(Errno(unsafe { *libc::__errno_location() }))
    } else {
        Ok(returned)
    }
}
