//! A service that is started by socket activation, and knows no more of its parent than the
//! `sd-notify` crate does: says hello on each socket it was given.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() -> anyhow::Result<()> {
    let given = sd_notify::listen_fds()?;
    anyhow::ensure!(given.len() > 0, "no descriptor was accepted");
    for fd in given {
        // SAFETY: sd-notify has checked that it is ours to take, and gives each number once.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        let (mut stream, _) = listener.accept()?;
        write!(stream, "hello from {fd}")?;
    }
    Ok(())
}
