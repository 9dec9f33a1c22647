//! Asking a program for an answer, as a client would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_ANSWER: u64 = 512;

/// The first line that whatever listens on the port answers to `GET / HTTP/1.0`.
pub(super) fn ask(port: u16) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    // As far as the line's end; a protocol without lines gets its answer cut off.
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(first_line(&answer))
}

/// Fit to be printed: a terminal does not get what it might obey.
fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(60)
        .collect()
}

/// Free ports, all different. Nothing keeps them free until the programs take them.
pub(super) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_cut_at_its_first_line_and_made_printable() {
        assert_eq!(
            first_line(b"HTTP/1.0 200 OK\r\nServer: x\r\n"),
            "HTTP/1.0 200 OK"
        );
        assert_eq!(first_line(b"\x1b[31mred"), "?[31mred");
        assert_eq!(first_line(b""), "");
    }

    #[test]
    fn listener_that_says_nothing_is_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = std::thread::spawn(move || ask(port));
        drop(listener.accept().unwrap());
        assert!(client.join().unwrap().is_err());
    }
}
