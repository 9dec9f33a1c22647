//! The next runtime: finds what the killed one has let go, by the identity files, and stops it.

use shim_spawner::{AdoptError, ShimHandler};

use super::survivors::{Fate, Shim};

/// # Panics
/// Where a shim cannot be found that must be there, or one is found that must not.
pub(super) fn run<'a>(shims: impl Iterator<Item = &'a Shim>) {
    for Shim {
        path,
        identity,
        fate,
    } in shims
    {
        let name = path.display();
        match ShimHandler::adopt(identity) {
            Ok(mut shim) if *fate != Fate::Ends => {
                let report = shim.stop().expect("stop");
                let left = report.left().pids();
                assert!(left.is_empty(), "{name}: {report:?}");
            }
            Err(AdoptError::Gone | AdoptError::PidReused) if *fate != Fate::Lives => {}
            other => panic!("{name}: {fate:?}, and there is {other:?}"),
        }
    }
}
