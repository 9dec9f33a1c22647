//! User, groups, root directory, privileges.

use std::path::Path;

use rustix::process::{Gid, Uid};

use crate::ShimSpawner;

impl ShimSpawner {
    /// The user of the child: its real, effective and saved user id. The child sets it itself,
    /// after [`groups`](ShimSpawner::groups) and [`gid`](ShimSpawner::gid), and before it changes
    /// its [directory](ShimSpawner::current_dir). So this user must be allowed to use the directory
    /// and the program.
    ///
    /// As with std's `Command`, a spawner that runs as root removes the child's supplementary
    /// groups, unless [`groups`](ShimSpawner::groups) names some.
    ///
    /// This process does not change, on any [`Engine`](crate::Engine). The child asks the kernel
    /// and not the C library, whose `setuid` would change every thread of a process. While the
    /// child shares this process's memory and has another user, the kernel lets nobody trace either
    /// of them (`PR_GET_DUMPABLE` reads 0 here). After the exec this process is as dumpable as
    /// before.
    ///
    /// A process without `CAP_KILL` cannot signal a child of another user. [`ShimHandler::stop`]
    /// then fails with `EPERM`.
    ///
    /// With a [supervisor](ShimSpawner::supervised), both the supervisor and the program have this
    /// user, so the supervisor may signal the program. The user must be allowed to execute the
    /// supervisor's program.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Uid`](crate::Stage::Uid): `EPERM` without `CAP_SETUID` for a user
    /// that is neither the real, effective nor saved user of this process; `EINVAL` for one that
    /// the user namespace does not map. [`Stage::Groups`](crate::Stage::Groups): `EPERM` if root
    /// may not change the groups. [`Stage::Exec`](crate::Stage::Exec): `EAGAIN` if the user has
    /// more processes than `RLIMIT_NPROC`. [`Stage::Arguments`](crate::Stage::Arguments) for
    /// `u32::MAX`, which is no user.
    ///
    /// # References
    /// [setresuid(2)](https://man7.org/linux/man-pages/man2/setresuid.2.html),
    /// [credentials(7)](https://man7.org/linux/man-pages/man7/credentials.7.html),
    /// [PR_SET_DUMPABLE(2const)](https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html)
    ///
    /// [`ShimHandler::stop`]: crate::ShimHandler::stop
    pub fn uid(&mut self, id: u32) -> &mut ShimSpawner {
        self.credentials.uid = Some(Uid::from_raw_unchecked(id));
        self
    }

    /// The group of the child: its real, effective and saved group id. Does not change the
    /// supplementary groups: see [`groups`](ShimSpawner::groups).
    ///
    /// # Errors
    /// From the spawn: [`Stage::Gid`](crate::Stage::Gid): `EPERM` without `CAP_SETGID`, `EINVAL`
    /// for a group that the user namespace does not map.
    /// [`Stage::Arguments`](crate::Stage::Arguments) for `u32::MAX`.
    ///
    /// # References
    /// [setresgid(2)](https://man7.org/linux/man-pages/man2/setresgid.2.html)
    pub fn gid(&mut self, id: u32) -> &mut ShimSpawner {
        self.credentials.gid = Some(Gid::from_raw_unchecked(id));
        self
    }

    /// The supplementary groups of the child, instead of those of this process. An empty list
    /// removes them all.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Groups`](crate::Stage::Groups): `EPERM` without `CAP_SETGID`, or in
    /// a user namespace that denies it; `EINVAL` for a group that the namespace does not map;
    /// `ENOMEM`. [`Stage::Arguments`](crate::Stage::Arguments) for more than 65,536 groups, and for
    /// `u32::MAX`.
    ///
    /// # References
    /// [setgroups(2)](https://man7.org/linux/man-pages/man2/setgroups.2.html)
    pub fn groups(&mut self, ids: impl IntoIterator<Item = u32>) -> &mut ShimSpawner {
        let groups = ids.into_iter().map(Gid::from_raw_unchecked);
        self.credentials.groups = Some(groups.collect());
        self
    }

    /// Whether the child, and everything that it ever executes, cannot gain privileges: set-user-ID
    /// bits and file capabilities then have no effect. The default is no. If this process itself
    /// has this flag, the child has it too: nothing clears it. When a
    /// [`pre_exec`](ShimSpawner::pre_exec) closure runs, the flag is already set, so the closure
    /// may install a seccomp filter.
    ///
    /// # Errors
    /// From the spawn: [`Stage::NoNewPrivs`](crate::Stage::NoNewPrivs), if a filter refuses it.
    ///
    /// # References
    /// [PR_SET_NO_NEW_PRIVS(2const)](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)
    pub fn no_new_privs(&mut self, no_new_privs: bool) -> &mut ShimSpawner {
        self.credentials.no_new_privs = no_new_privs;
        self
    }

    /// The root directory of the child. The program, its interpreter and its libraries are looked
    /// up below it, and so is [`current_dir`](ShimSpawner::current_dir). As with std's `Command`,
    /// that is `/` by default. The [identity file](ShimSpawner::identity_file) is not below it.
    ///
    /// A root directory is no jail: root can leave it, and descriptors lead out of it.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Chroot`](crate::Stage::Chroot): `EPERM` without `CAP_SYS_CHROOT`;
    /// `ENOENT`, `ENOTDIR`, `EACCES`. [`Stage::Arguments`](crate::Stage::Arguments) with a
    /// [supervisor](ShimSpawner::supervised), whose program and /proc are not below it: let it
    /// start chroot(1).
    ///
    /// # References
    /// [chroot(2)](https://man7.org/linux/man-pages/man2/chroot.2.html)
    pub fn chroot(&mut self, dir: impl AsRef<Path>) -> &mut ShimSpawner {
        self.credentials.root = Some(dir.as_ref().to_owned());
        self
    }
}
