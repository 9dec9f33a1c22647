//! Servers on sockets in a folder of the test's own, asked by the test.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::time_limit;

/// Whether the server is there and its answer holds the text.
#[must_use]
pub fn answers(socket: &Path, request: &str, text: &str) -> bool {
    answer(socket, request, text).unwrap_or(false)
}

fn answer(socket: &Path, request: &str, text: &str) -> io::Result<bool> {
    let mut server = UnixStream::connect(socket)?;
    server.set_read_timeout(Some(time_limit()))?;
    server.write_all(request.as_bytes())?;
    let mut said = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let count = server.read(&mut bytes)?;
        said.extend_from_slice(&bytes[..count]);
        if String::from_utf8_lossy(&said).contains(text) {
            return Ok(true);
        }
        // A server that keeps the connection has said all with the line.
        if count == 0 || said.ends_with(b"\r\n") {
            return Ok(false);
        }
    }
}
