//! clone3(2). The C library has no function for it that begins on a new stack.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
use std::ptr;

use rustix::io::Errno;

use super::stack::Stack;

/// `struct clone_args` as Linux 5.7 has it (`CLONE_ARGS_SIZE_VER2`), include/uapi/linux/sched.h.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    // Linux 5.5.
    set_tid: u64,
    set_tid_size: u64,
    // Linux 5.7.
    cgroup: u64,
}

/// `CLONE_ARGS_SIZE_VER0`: the fields that Linux 5.3 knows.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
const FIRST_VERSION: usize = std::mem::offset_of!(CloneArgs, set_tid);

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<CloneArgs>() == 88);
    assert!(FIRST_VERSION == 64);
    assert!(offset_of!(CloneArgs, cgroup) == 80);
    assert!(offset_of!(CloneArgs, pidfd) == 8);
    assert!(offset_of!(CloneArgs, exit_signal) == 32);
    assert!(offset_of!(CloneArgs, stack) == 40);
    assert!(offset_of!(CloneArgs, stack_size) == 48);
};

/// What only clone3 can ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) kill: Kill,
    pub(super) cgroup: Option<RawFd>,
}

/// Whether the kernel kills and reaps the child when its pidfd is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    No,
    /// Linux 7.1, with `CAP_SYS_ADMIN`.
    OnClose,
    /// The same without `CAP_SYS_ADMIN`: the child gets `no_new_privs`.
    OnCloseUnprivileged,
}

impl Kill {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    fn flags(self) -> u64 {
        const CLONE_AUTOREAP: u64 = 1 << 34;
        const CLONE_NNP: u64 = 1 << 35;
        const CLONE_PIDFD_AUTOKILL: u64 = 1 << 36;
        // `CLONE_PIDFD_AUTOKILL` requires `CLONE_AUTOREAP`.
        match self {
            Kill::No => 0,
            Kill::OnClose => CLONE_AUTOREAP | CLONE_PIDFD_AUTOKILL,
            Kill::OnCloseUnprivileged => CLONE_AUTOREAP | CLONE_PIDFD_AUTOKILL | CLONE_NNP,
        }
    }
}

/// Creates a child that shares this process's memory, with the options in `wish`. The child begins
/// on `stack` with `main(entry)`. Returns when the child has executed a program or ended. `ENOSYS`
/// on platforms without the assembly for it.
///
/// # Safety
/// `main` may get `entry` in such a child, and never returns. Nothing else uses the stack.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
pub(super) unsafe fn clone3(
    stack: &Stack,
    main: extern "C" fn(*mut c_void) -> c_int,
    entry: *mut c_void,
    pidfd: &mut c_int,
    wish: Wish,
) -> Result<c_int, Errno> {
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let flags = u64::from(flags.cast_unsigned()) | CLONE_CLEAR_SIGHAND;
    let cgroup = wish.cgroup.and_then(|cgroup| u64::try_from(cgroup).ok());
    // A kernel before 5.7 refuses the larger structure, and the caller tries without the cgroup.
    let size = cgroup.map_or(FIRST_VERSION, |_| size_of::<CloneArgs>());
    let args = CloneArgs {
        flags: flags | cgroup.map_or(0, |_| CLONE_INTO_CGROUP) | wish.kill.flags(),
        pidfd: ptr::from_mut(pidfd).expose_provenance() as u64,
        // The kernel adds the two, and the child begins at the sum.
        stack: stack.bottom().expose_provenance() as u64,
        stack_size: Stack::SIZE as u64,
        cgroup: cgroup.unwrap_or_default(),
        ..CloneArgs::default()
    };
    let result: i64;
    // SAFETY: the kernel reads `args` and writes one int to `pidfd`. In the parent this is a system
    // call like any other: rax, rcx and r11 change, and memory, which the child writes before the
    // call returns. The child has the same registers and the stack of `args`, whose top is aligned
    // to 16. It never leaves the call to `main`, so it touches this thread's frames only through
    // `entry`. CLONE_VFORK suspends this thread until then. Nothing writes the red zone below this
    // thread's stack pointer: the parent's half of the assembly pushes nothing.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // the outermost frame, for whoever unwinds
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size,
            in("r8") entry,
            in("r9") main,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match c_int::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(errno) => Err(Errno::from_raw_os_error(-errno)),
        Err(_) => Err(Errno::NOSYS),
    }
}

/// For platforms without the assembly.
///
/// # Safety
/// No precondition.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub(super) unsafe fn clone3(
    _: &Stack,
    _: extern "C" fn(*mut c_void) -> c_int,
    _: *mut c_void,
    _: &mut c_int,
    _: Wish,
) -> Result<c_int, Errno> {
    Err(Errno::NOSYS)
}
