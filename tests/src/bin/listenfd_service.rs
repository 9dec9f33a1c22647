//! A service that is started by socket activation, and knows no more of its parent than the
//! `listenfd` crate does: says hello on each socket it was given. It ends then.

use std::io::Write;

fn main() -> anyhow::Result<()> {
    let mut given = listenfd::ListenFd::from_env();
    anyhow::ensure!(given.len() > 0, "no descriptor was accepted");
    for index in 0..given.len() {
        let listener = given.take_tcp_listener(index)?;
        let listener = listener.ok_or_else(|| anyhow::anyhow!("no listener {index}"))?;
        let (mut stream, _) = listener.accept()?;
        write!(stream, "hello from {index}")?;
    }
    Ok(())
}
