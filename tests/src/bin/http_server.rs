//! A tiny HTTP/1.0 server on 127.0.0.1: the demo's program that does work. It uses no crate of this
//! workspace.
//!
//! Usage: `http_server PORT [with-worker]` (port 0 lets the kernel choose). Prints the port it
//! listens on, then answers every request for `/` with 200 and its pid, and any other with 404. On
//! SIGTERM it finishes the answer that it is at, prints "stopped in good order" and exits with 0.
//! With a worker it first starts itself again as a child in a session of its own, which ignores
//! SIGTERM, does nothing and never ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No client may hold the server up for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than a request line and its headers need.
const MAX_REQUEST: u64 = 16 * 1024;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (port, done) = match args[..] {
        ["worker"] => work(),
        [port] => (port, Ok(())),
        [port, "with-worker"] => (port, start_worker()),
        _ => ("", Ok(())),
    };
    let Ok(number) = port.parse() else {
        eprintln!("usage: http_server PORT [with-worker]");
        return ExitCode::from(2);
    };
    match done.and_then(|()| serve(number)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_server: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Comes back when the worker ignores SIGTERM.
fn start_worker() -> io::Result<()> {
    let mut worker = Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut worker.stdout {
        stdout.read_to_end(&mut said)?;
    }
    if said.is_empty() {
        return Err(io::Error::other(format!("worker: {}", worker.wait()?)));
    }
    Ok(())
}

fn work() -> ! {
    // SAFETY: SIG_IGN is no function that could be wrong; setsid takes nothing.
    let session = unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::setsid()
    };
    if session < 0 {
        std::process::exit(1);
    }
    println!("working");
    // SAFETY: nothing in this process uses standard output any more.
    unsafe { libc::close(libc::STDOUT_FILENO) };
    loop {
        std::thread::park();
    }
}

fn serve(port: u16) -> io::Result<()> {
    let answering = stop_on_sigterm()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("{}", listener.local_addr()?.port());
    for client in listener.incoming() {
        let _answering = answering.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that went away is no reason to stop serving.
        if let Err(error) = client.and_then(answer) {
            eprintln!("http_server: {error}");
        }
    }
    Ok(())
}

/// A thread that waits for SIGTERM, and ends the process when nobody holds the lock.
fn stop_on_sigterm() -> io::Result<Arc<Mutex<()>>> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set; a null pointer says that the old mask is not
    // wanted. The thread that is started below inherits the mask.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        let set = set.assume_init();
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::other("SIGTERM cannot be blocked"));
        }
        set
    };
    let answering = Arc::new(Mutex::new(()));
    let idle = Arc::clone(&answering);
    std::thread::Builder::new().spawn(move || {
        let mut signal = 0;
        // SAFETY: both are initialised locals.
        while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
        let _idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        println!("stopped in good order");
        std::process::exit(0);
    })?;
    Ok(answering)
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
