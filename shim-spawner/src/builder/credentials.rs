//! User, groups, root directory, privileges.

use std::path::Path;

use rustix::process::{Gid, Uid};

use crate::ShimSpawner;

impl ShimSpawner {
    /// The user of the child: its real, effective and saved user id. The child sets it itself,
    /// after [`groups`](ShimSpawner::groups) and [`gid`](ShimSpawner::gid), and before it changes
    /// its [directory](ShimSpawner::current_dir). So the directory and the program must be ones
    /// that this user may use.
    ///
    /// As with std's `Command`, a spawner that runs as root takes the supplementary groups away
    /// from the child, unless [`groups`](ShimSpawner::groups) names some.
    ///
    /// This process stays what it is, on every [`Engine`](crate::Engine): the child asks the kernel
    /// and not the C library, whose `setuid` would have every thread of a process change. While the
    /// child has this process's memory and another user, the kernel lets nobody trace either of
    /// them (`PR_GET_DUMPABLE` reads 0 here); after the exec this process is as dumpable as before.
    ///
    /// A process without `CAP_KILL` cannot signal a child of another user: [`ShimHandler::stop`]
    /// fails with `EPERM` then.
    ///
    /// With a [supervisor](ShimSpawner::supervised), the supervisor and the program both have this
    /// user: so the supervisor may signal the program. The supervisor's program must be one that
    /// the user may execute.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Uid`](crate::Stage::Uid): `EPERM` without `CAP_SETUID` for a user
    /// that this process is not, neither really, effectively nor by the saved id; `EINVAL` for one
    /// that the user namespace does not map. [`Stage::Groups`](crate::Stage::Groups): `EPERM`,
    /// where root may not change the groups. [`Stage::Exec`](crate::Stage::Exec): `EAGAIN` if the
    /// user has more processes than `RLIMIT_NPROC`. [`Stage::Arguments`](crate::Stage::Arguments)
    /// for `u32::MAX`, which is no user.
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

    /// The group of the child: its real, effective and saved group id. Supplementary groups are
    /// left as they are: see [`groups`](ShimSpawner::groups).
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Gid`](crate::Stage::Gid): `EPERM` without `CAP_SETGID`, `EINVAL` for
    /// one that the user namespace does not map. [`Stage::Arguments`](crate::Stage::Arguments) for
    /// `u32::MAX`.
    ///
    /// # References
    /// [setresgid(2)](https://man7.org/linux/man-pages/man2/setresgid.2.html)
    pub fn gid(&mut self, id: u32) -> &mut ShimSpawner {
        self.credentials.gid = Some(Gid::from_raw_unchecked(id));
        self
    }

    /// The supplementary groups of the child, in place of those that this process has. None at all
    /// takes them away.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Groups`](crate::Stage::Groups): `EPERM` without `CAP_SETGID`, or in a
    /// user namespace that denies it; `EINVAL` for one that the namespace does not map; `ENOMEM`.
    /// [`Stage::Arguments`](crate::Stage::Arguments) for more than 65,536 groups, and for
    /// `u32::MAX`.
    ///
    /// # References
    /// [setgroups(2)](https://man7.org/linux/man-pages/man2/setgroups.2.html)
    pub fn groups(&mut self, ids: impl IntoIterator<Item = u32>) -> &mut ShimSpawner {
        let groups = ids.into_iter().map(Gid::from_raw_unchecked);
        self.credentials.groups = Some(groups.collect());
        self
    }

    /// Whether nothing that the child ever executes gains privileges: set-user-ID bits and file
    /// capabilities have no effect then. Off unless set. What this process has set itself stays
    /// set: nothing takes it off again. A [`pre_exec`](ShimSpawner::pre_exec) closure finds it set,
    /// and may install a seccomp filter.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::NoNewPrivs`](crate::Stage::NoNewPrivs), where a filter refuses it.
    ///
    /// # References
    /// [PR_SET_NO_NEW_PRIVS(2const)](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)
    pub fn no_new_privs(&mut self, no_new_privs: bool) -> &mut ShimSpawner {
        self.credentials.no_new_privs = no_new_privs;
        self
    }

    /// The root directory of the child. The program, its interpreter and its libraries are looked
    /// up below it, and so is [`current_dir`](ShimSpawner::current_dir), which is `/` unless set:
    /// as with std's `Command`. The [identity file](ShimSpawner::identity_file) is not.
    ///
    /// A root directory is no jail: root leaves it again, and descriptors lead out of it.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Chroot`](crate::Stage::Chroot): `EPERM` without `CAP_SYS_CHROOT`;
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
