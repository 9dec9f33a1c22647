//! Socket activation.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ShimSpawner;

impl ShimSpawner {
    /// Passes descriptors with names, as a service manager does for socket activation. They are on
    /// 3 and up, and `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID` describe them. The child
    /// writes its own pid into `LISTEN_PID`, so that no shell is needed in between.
    ///
    /// Each call replaces the previous one; an empty list passes nothing on. If this process has
    /// variables of these names, or sets them by [`env`](ShimSpawner::env), they are not passed on
    /// then, nor is `LISTEN_PIDFDID`. The descriptors' flags are not changed: the caller chooses
    /// whether they block. The spawner keeps them: see [`map_fd`](ShimSpawner::map_fd).
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use shim_spawner::ShimSpawner;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let service = ShimSpawner::new("sh")
    ///     .args(["-c", r#"test "$LISTEN_PID" = $$ && test "$LISTEN_FDNAMES" = http"#])
    ///     .listen_fds([("http", listener)])
    ///     .spawn()?;
    /// let exit = service.child.process().wait()?;
    /// assert!(exit.status.is_some_and(|status| status.success()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// From the spawn: [`Stage::Arguments`](crate::Stage::Arguments) for a name that is empty,
    /// longer than 255 bytes, or contains a colon or anything but printable ASCII; and with a
    /// [supervisor](ShimSpawner::supervised), whose pid is not the program's.
    /// [`Stage::Descriptors`](crate::Stage::Descriptors) if the caller maps something else to one
    /// of these numbers.
    ///
    /// # References
    /// [sd_listen_fds(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)
    pub fn listen_fds<N: Into<String>, F: Into<OwnedFd>>(
        &mut self,
        fds: impl IntoIterator<Item = (N, F)>,
    ) -> &mut ShimSpawner {
        let fds = fds.into_iter();
        self.listen = fds
            .map(|(name, fd)| (name.into(), Arc::new(fd.into())))
            .collect();
        self
    }
}
