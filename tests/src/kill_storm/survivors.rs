//! Who has outlived a runtime, and whether they may.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use shim_spawner::ShimIdentity;

use super::case::Kind;
use super::runtime::{released, releasing, stopping};

/// The shim of an identity file, after the death of its runtime.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) path: PathBuf,
    pub(super) identity: ShimIdentity,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was let go.
    Lives,
    /// It was about to be let go, or to be stopped.
    Either,
    /// It was attached.
    Ends,
}

/// The shims by their pids.
///
/// # Panics
/// Where an identity file is not whole.
pub(super) fn shims(kind: Kind, folder: &Path) -> BTreeMap<i32, Shim> {
    let entries = fs::read_dir(folder).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    // Beside them are what the runtime says, and the halves of writers that were killed.
    let identities = paths.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.extension().is_none() && name.is_some_and(|name| name.starts_with("id-"))
    });
    identities
        .map(|path| {
            let identity = ShimIdentity::load(&path)
                .unwrap_or_else(|error| panic!("not whole: {:#}", anyhow::Error::from(error)));
            let fate = fate(kind, &path);
            let pid = identity.pid().as_raw_nonzero().get();
            (
                pid,
                Shim {
                    path,
                    identity,
                    fate,
                },
            )
        })
        .collect()
}

fn fate(kind: Kind, path: &Path) -> Fate {
    match kind {
        Kind::Adopt if stopping(path).exists() => Fate::Either,
        Kind::Adopt => Fate::Lives,
        _ if released(path).exists() => Fate::Lives,
        _ if releasing(path).exists() => Fate::Either,
        _ => Fate::Ends,
    }
}
