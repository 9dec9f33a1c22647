//! Saves and adopts shim identities as a runtime does, in a process that can be killed.

use std::path::Path;
use std::process::ExitCode;

use shim_spawner::{AdoptError, ShimIdentity};
use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| {
        match order {
            Order::LoadAndOpen { path } => adopt(&path),
            Order::SaveForEver { path, identities } => save_for_ever(&path, &identities),
            Order::SaveAtLimit { path, identity } => save_at_limit(&path, &identity),
            other => panic!("not for this program: {other:?}"),
        }
        ExitCode::SUCCESS
    })
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
fn save_for_ever(path: &Path, identities: &[String; 2]) {
    let identities: [ShimIdentity; 2] = identities
        .each_ref()
        .map(|text| text.parse().expect("an identity"));
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
