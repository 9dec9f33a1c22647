//! Resource limits of the child.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::ShimSpawner;
use crate::limits::OomScoreAdj;

impl ShimSpawner {
    /// A resource limit of the child, soft and hard. `u64::MAX` means no limit. If it is called
    /// twice for a resource, the later call counts. The unit depends on the resource: see
    /// getrlimit(2).
    ///
    /// Limits are set with the privileges of this process, before the child becomes another
    /// [user](ShimSpawner::uid). So a low `RLIMIT_NPROC` makes the exec fail if that user already
    /// has as many processes ([`Stage::Exec`](crate::Stage::Exec), `EAGAIN`). `RLIMIT_NOFILE` is
    /// lowered last, so that descriptors may be above it.
    ///
    /// With a [supervisor](ShimSpawner::supervised), the limits apply to the supervisor and to the
    /// program, each by itself. The supervisor is three processes with up to two threads each.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Limits`](crate::Stage::Limits), with the
    /// [resource](crate::SpawnError::resource): `EPERM` for a hard limit above that of this process
    /// without `CAP_SYS_RESOURCE`, or for `RLIMIT_NOFILE` above `fs.nr_open`.
    /// [`Stage::Exec`](crate::Stage::Exec): `E2BIG`, `ENOMEM`, `EAGAIN` if the program does not
    /// fit. [`Stage::Arguments`](crate::Stage::Arguments) for a soft limit above the hard one.
    ///
    /// # References
    /// [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)
    pub fn rlimit(&mut self, resource: Resource, soft: u64, hard: u64) -> &mut ShimSpawner {
        let limited = |limit: u64| (limit != u64::MAX).then_some(limit);
        let limit = Rlimit {
            current: limited(soft),
            maximum: limited(hard),
        };
        self.limits.set(resource, limit);
        self
    }

    /// The largest size of a core dump of the child, in bytes: `RLIMIT_CORE`, soft and hard. 0
    /// switches core dumps off, so that a child with much memory ends at once when it crashes. If
    /// the kernel pipes dumps to a program (`core_pattern` begins with `|`), the limit does not
    /// count bytes, and 1 switches dumps off: core(5).
    ///
    /// # Errors
    /// As [`rlimit`](ShimSpawner::rlimit).
    ///
    /// # References
    /// [core(5)](https://man7.org/linux/man-pages/man5/core.5.html)
    pub fn core_limit(&mut self, bytes: u64) -> &mut ShimSpawner {
        self.rlimit(Resource::Core, bytes, bytes)
    }

    /// How likely the kernel is to kill the child when memory runs out: from -1000, never, to 1000.
    /// What the child starts inherits this.
    ///
    /// # Errors
    /// From the spawn: [`Stage::OomScoreAdj`](crate::Stage::OomScoreAdj): `EACCES` without
    /// `CAP_SYS_RESOURCE` for a value below the one that a privileged process has set last;
    /// `ENOENT` without /proc; `EACCES` if this process has changed its own user and is not
    /// dumpable; `EMFILE`. [`Stage::Arguments`](crate::Stage::Arguments) for a value out of range.
    ///
    /// # References
    /// [proc_pid_oom_score_adj(5)](https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html)
    pub fn oom_score_adj(&mut self, value: i32) -> &mut ShimSpawner {
        self.limits.oom_score_adj = Some(OomScoreAdj::new(value));
        self
    }

    /// The nice value of the child, -20 to 19. It is absolute, and not an increment.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Nice`](crate::Stage::Nice): `EACCES` without `CAP_SYS_NICE` for a
    /// value below that of this process and below what `RLIMIT_NICE` allows.
    /// [`Stage::Arguments`](crate::Stage::Arguments) for a value out of range.
    ///
    /// # References
    /// [setpriority(2)](https://man7.org/linux/man-pages/man2/setpriority.2.html)
    pub fn nice(&mut self, value: i32) -> &mut ShimSpawner {
        self.limits.nice = Some(value);
        self
    }

    /// The CPUs that the child may run on.
    ///
    /// # Errors
    /// From the spawn: [`Stage::CpuAffinity`](crate::Stage::CpuAffinity): `EINVAL` if the machine,
    /// or the child's cpuset, has none of them. [`Stage::Arguments`](crate::Stage::Arguments) for
    /// an empty set.
    ///
    /// # References
    /// [sched_setaffinity(2)](https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html)
    pub fn cpu_affinity(&mut self, cpus: CpuSet) -> &mut ShimSpawner {
        self.limits.cpu_affinity = Some(cpus);
        self
    }

    /// The permission bits that are cleared in new files of the child: 0 to 0o777. The mode of the
    /// [identity file](ShimSpawner::identity_file) does not depend on it.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Umask`](crate::Stage::Umask), if a filter refuses it.
    /// [`Stage::Arguments`](crate::Stage::Arguments) for other bits.
    ///
    /// # References
    /// [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html)
    pub fn umask(&mut self, mask: u32) -> &mut ShimSpawner {
        self.limits.umask = Some(mask);
        self
    }

    /// The cgroup of version 2 in which the child is created: a descriptor of its folder, opened
    /// for reading or by `O_PATH`. [`Cgroup`](crate::Cgroup) makes and removes one. With a
    /// [supervisor](ShimSpawner::supervised), the supervisor is in it too.
    ///
    /// The kernel creates the child there (`CLONE_INTO_CGROUP`, Linux 5.7). Otherwise, for example
    /// with [`Engine::Fork`](crate::Engine::Fork), the child moves there before anything else, by
    /// `cgroup.procs`; that takes the kernel milliseconds. The spawner keeps the descriptor: see
    /// [`map_fd`](ShimSpawner::map_fd).
    ///
    /// # Errors
    /// From the spawn: [`Stage::Cgroup`](crate::Stage::Cgroup): `EACCES` if this process may not
    /// write to `cgroup.procs` of that cgroup, or of the closest common ancestor of that cgroup and
    /// this process's own; `EBUSY` for a cgroup that has controllers for those below it;
    /// `EOPNOTSUPP` for an invalid domain among threaded ones; `ENOENT`, `ENOTDIR` if it is no
    /// cgroup; `ENODEV` if it was removed; `EMFILE`. [`Stage::Create`](crate::Stage::Create):
    /// `EAGAIN` if its `pids.max` is reached.
    ///
    /// # References
    /// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
    /// [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)
    pub fn cgroup(&mut self, cgroup: impl Into<OwnedFd>) -> &mut ShimSpawner {
        self.cgroup = Some(Arc::new(cgroup.into()));
        self
    }
}
