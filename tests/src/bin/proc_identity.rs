//! Saves and adopts shim identities as a runtime does, in a process that can be killed.

use std::path::Path;

use shim_spawner::{AdoptError, ShimIdentity};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["adopt", path] => adopt(Path::new(path)),
        ["save-for-ever", path, one, two] => save_for_ever(Path::new(path), one, two),
        ["save-at-limit", path, one] => save_at_limit(Path::new(path), one),
        _ => panic!("unknown arguments: {args:?}"),
    }
}

/// What a runtime does after its restart.
fn adopt(path: &Path) {
    let saved = ShimIdentity::load(path).expect("a saved identity");
    match saved.open() {
        Ok(process) => println!("same {} proven {}", process.pid(), saved.proven()),
        Err(AdoptError::Gone) => println!("gone"),
        Err(AdoptError::PidReused) => println!("pid reused"),
        Err(error) => println!("{error:?}"),
    }
}

/// Saves two identities in turns until it is killed.
fn save_for_ever(path: &Path, one: &str, two: &str) {
    let identities: [ShimIdentity; 2] = [
        one.parse().expect("an identity"),
        two.parse().expect("an identity"),
    ];
    println!("saving");
    for identity in identities.iter().cycle() {
        identity.save(path).expect("save");
    }
}

/// A file may have ten bytes: the write fails half-way.
fn save_at_limit(path: &Path, one: &str) {
    // SAFETY: sets a disposition, installs no handler; the limit is a plain structure on the stack.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit {
            rlim_cur: 10,
            rlim_max: 10,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
    let identity: ShimIdentity = one.parse().expect("an identity");
    let error = identity.save(path).expect_err("no room");
    assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
}
