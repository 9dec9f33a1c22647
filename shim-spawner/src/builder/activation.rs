//! Socket activation.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ShimSpawner;

impl ShimSpawner {
    /// Descriptors with names, as a service manager passes them by its socket activation: they lie
    /// on 3 and up, and `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID` say so. The child writes
    /// its own pid into the last one, so that no shell is needed between.
    ///
    /// Each call takes the place of the one before; none at all passes nothing on. Variables of
    /// these names that this process has, or sets by [`env`](ShimSpawner::env), are not passed on
    /// then, nor is `LISTEN_PIDFDID`. The descriptors' flags are left alone: whether they block is
    /// the caller's choice. The spawner keeps them: see [`map_fd`](ShimSpawner::map_fd).
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
    /// Of the spawn: [`Stage::Arguments`](crate::Stage::Arguments) for a name that is empty, is
    /// longer than 255 bytes, or has a colon or something else than printable ASCII; and with a
    /// [supervisor](ShimSpawner::supervised), whose pid is not the program's.
    /// [`Stage::Descriptors`](crate::Stage::Descriptors) where the caller maps something else to
    /// one of these numbers.
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
