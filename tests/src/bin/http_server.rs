//! A tiny HTTP/1.0 server on 127.0.0.1: the demo's program that does work.
//!
//! Usage: `http_server PORT` (0 lets the kernel choose). Prints the port it listens on, then answers
//! every request for `/` with 200 and its pid, and any other with 404. Runs until it is killed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// No client may hold the server up for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than a request line and its headers need.
const MAX_REQUEST: u64 = 16 * 1024;

fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|port| port.parse().ok()) else {
        eprintln!("usage: http_server PORT");
        return ExitCode::from(2);
    };
    match serve(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_server: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("{}", listener.local_addr()?.port());
    for client in listener.incoming() {
        // A client that went away is no reason to stop serving.
        if let Err(error) = client.and_then(answer) {
            eprintln!("http_server: {error}");
        }
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(client.try_clone()?.take(MAX_REQUEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // To the end of the headers: closing with bytes unread would reset the connection.
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let (status, body) = match request.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/", ..] => ("200 OK", format!("served by pid {}\n", std::process::id())),
        ["GET", ..] => ("404 Not Found", "nothing here\n".to_owned()),
        _ => ("400 Bad Request", "GET only\n".to_owned()),
    };
    // In one piece: each write to a socket is a packet of its own.
    let answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes())
}
