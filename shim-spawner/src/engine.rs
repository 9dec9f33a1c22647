//! How the child is created, and how the parent learns that the child has executed the program.

mod dumpable;
mod fork;
mod outcome;
#[allow(unsafe_code)]
mod sys;
mod vfork;

use pidfd_watcher::Process;

use crate::SpawnError;
use crate::child::Routine;

/// How the child is created. The child itself does the same with each engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// The child runs in this process's memory until its exec, and the calling thread waits for
    /// that. So the cost does not depend on how much memory this process has.
    ///
    /// The engine tries these calls, in this order:
    ///
    /// - `clone3` with `CLONE_VM`, `CLONE_VFORK`, `CLONE_PIDFD` and `CLONE_CLEAR_SIGHAND` (Linux
    ///   5.5, x86-64);
    /// - if that is not available or a seccomp filter refuses it, `clone` without the last flag;
    /// - if shared memory is refused, `clone` without `CLONE_VM`, which copies page tables as fork
    ///   does.
    ///
    /// The calling thread waits as long as the exec takes, and only SIGKILL ends that wait. Before
    /// Linux 5.16, a child that dumps core before its exec kills this process with it, as after any
    /// `vfork`.
    ///
    /// A spawner with a [`pre_exec`](crate::ShimSpawner::pre_exec) closure uses [`Engine::Fork`]
    /// instead.
    #[default]
    Vfork,
    /// The C library's `fork`. It runs the handlers of `pthread_atfork` and leaves a working
    /// allocator in the child. Its cost grows with the memory of this process: about 30 ms for each
    /// GiB in pages of 4 KiB.
    Fork,
}

/// Starts the child. Returns when the child has executed the program or has ended.
pub(crate) fn start(engine: Engine, routine: &Routine<'_>) -> Result<Process, SpawnError> {
    if engine == Engine::Fork || routine.has_closures() {
        fork::start(routine)
    } else {
        vfork::start(routine)
    }
}
