//! A service whose helpers live on while it is killed, or restarted, by the service manager: the
//! manager's descriptor store keeps what holds them.
//!
//! ```console
//! $ cargo build -p shim-spawner --example service_restart
//! $ systemd-run --user -p FileDescriptorStoreMax=16 -p KillMode=process -p Restart=always \
//!       target/debug/examples/service_restart PROGRAM NAME...
//! ```
//!
//! Each helper is `PROGRAM NAME`, and PROGRAM has a watchdog. Under its NAME the store has two
//! descriptors: the keepalive, and a memory file with the identity. The service obeys two words on
//! its standard input: `stop NAME`, and `leave` for an end that no helper is to be told of.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};
use sd_notify::NotifyState::{FdName, FdStore, FdStoreRemove, Ready};
use sd_notify::{listen_fds_with_names, notify, notify_with_fds};
use shim_spawner::{AdoptError, Keepalive, ShimHandler, ShimIdentity, ShimSpawner, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An error ends it, and its helpers too: each handler that is dropped tells its own.
fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().ok_or("service_restart PROGRAM NAME...")?;
    // First of all: from here on they are close-on-exec, and no helper inherits them.
    let mut store = stored()?;
    let mut shims = BTreeMap::new();
    for name in args {
        let shim = match adopt(&name, store.remove(&name).unwrap_or_default())? {
            Some(shim) => shim,
            None => start(&program, &name)?,
        };
        let ended = name.clone();
        shim.on_exit(move |_| forget(&ended).unwrap_or_else(|error| eprintln!("{error}")))?;
        shims.insert(name, shim);
    }
    // Nobody wants these any more. Closed here and in the store, they tell their helpers.
    for name in store.into_keys() {
        forget(&name)?;
        println!("{name} forgotten");
    }
    notify(&[Ready])?;

    for line in io::stdin().lines() {
        let line = line?;
        if line == "leave" {
            shims.into_values().for_each(let_go);
            return Ok(());
        }
        let stopped = line.strip_prefix("stop ");
        if let Some((name, mut shim)) = stopped.and_then(|name| shims.remove_entry(name)) {
            let report = shim.stop()?;
            forget(&name)?;
            println!("{name} stopped {:?}", report.exit().status);
        }
    }
    // SIGTERM is not handled: its default action drops nothing, as SIGKILL does.
    loop {
        std::thread::park();
    }
}

/// What the manager gives back, by name.
fn stored() -> Result<BTreeMap<String, Vec<OwnedFd>>> {
    let mut store: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    for (number, name) in listen_fds_with_names()? {
        // SAFETY: LISTEN_PID says that it is ours, each number comes once, and nothing in this
        // program has taken one yet.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        store.entry(name).or_default().push(fd);
    }
    Ok(store)
}

/// Starts a helper, and puts what holds it into the store.
fn start(program: &str, name: &str) -> Result<ShimHandler> {
    let mut spawner = ShimSpawner::new(program);
    // The manager's words are for this service alone.
    for variable in [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
    ] {
        spawner.env_remove(variable);
    }
    spawner.arg(name).stdin(Stdio::null());
    let mut shim = ShimHandler::new(spawner.spawn()?);
    let identity = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    identity.write_all_at(shim.identity()?.to_string().as_bytes(), 0)?;
    // From here on the helper follows the pipe alone. Until the manager has its copy, the death of
    // this process ends the helper: it is never lost.
    let keepalive = shim.take_keepalive().ok_or("not attached")?.hand_over()?;
    // One message: the store has both, or none.
    notify_with_fds(
        &[FdStore, FdName(name)],
        &[keepalive.as_fd(), identity.as_fd()],
    )?;
    println!("{name} started {}", shim.pid());
    Ok(shim.attach(Keepalive::from_fd(keepalive)?))
}

/// Takes a helper back by what the store had under its name. `None` if it has ended; the store has
/// nothing of that name then.
fn adopt(name: &str, fds: Vec<OwnedFd>) -> Result<Option<ShimHandler>> {
    let (mut keepalive, mut identity) = (None, None);
    for fd in fds {
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Fifo => keepalive = Some(fd),
            _ => identity = Some(File::from(fd)),
        }
    }
    let found = match identity {
        Some(identity) => find(&identity)?,
        None => None,
    };
    let Some(shim) = found else {
        if keepalive.is_some() {
            println!("{name} stale, with its keepalive");
        }
        forget(name)?;
        return Ok(None);
    };
    println!("{name} adopted {}", shim.pid());
    Ok(Some(match keepalive {
        Some(keepalive) => shim.attach(Keepalive::from_fd(keepalive)?),
        // The manager has dropped it: the helper has closed its end, and listens no more.
        None => shim,
    }))
}

/// The process of that identity, if it lives.
fn find(identity: &File) -> Result<Option<ShimHandler>> {
    let mut text = vec![0; usize::try_from(identity.metadata()?.len())?];
    // All copies share one position in the file: it is left alone.
    identity.read_exact_at(&mut text, 0)?;
    let identity: ShimIdentity = String::from_utf8(text)?.parse()?;
    match ShimHandler::adopt(&identity) {
        // One that has ended, and that its new parent has not reaped, is still found.
        Ok(mut shim) => Ok(shim.try_wait()?.is_none().then_some(shim)),
        Err(AdoptError::Gone | AdoptError::PidReused | AdoptError::OtherBoot) => Ok(None),
        // It may live: this is no reason to start a second one.
        Err(error) => Err(error.into()),
    }
}

/// Takes the name out of the store.
fn forget(name: &str) -> io::Result<()> {
    notify(&[FdStoreRemove, FdName(name)])
}

/// Closes this process's copy of the keepalive without a word: the store has the other one. A
/// handler that is dropped with its keepalive would tell the helper to end.
fn let_go(mut shim: ShimHandler) {
    match shim.take_keepalive().map(Keepalive::hand_over) {
        None | Some(Ok(_)) => {}
        Some(Err(error)) => eprintln!("{} has ended: {error}", shim.pid()),
    }
}
