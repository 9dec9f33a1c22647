//! The identity that a child writes of itself before it executes the program.

use std::io;
use std::path::Path;

use watchdog_pipe::StopPolicy;

use super::draft::Draft;
use super::file;
use super::place::{Place, Purpose};
use super::{IdentityError, IdentityErrorKind};
use crate::{SpawnError, Stage, StopTarget};

/// The parts that can be made before the child exists.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) draft: Draft,
    /// The present content of the file. It is written back if the spawn fails.
    before: Option<Vec<u8>>,
}

impl Record {
    /// Removes the files of writers that were killed.
    pub(crate) fn prepare(
        path: &Path,
        stop_policy: StopPolicy,
        stop_target: StopTarget,
        attached: bool,
    ) -> Result<Record, SpawnError> {
        let draft = Draft::of_child(stop_policy, stop_target, attached)
            .map_err(|error| SpawnError::io(Stage::Identity, error))?;
        let (place, before) =
            look(path).map_err(|error| SpawnError::io(Stage::IdentityFile, error))?;
        Ok(Record {
            place,
            draft,
            before,
        })
    }

    /// Runs after a failed spawn, when the child is dead. Restores the file as far as the file
    /// system allows.
    pub(crate) fn undo(&self) {
        let unchanged = standing(&self.place).is_ok_and(|now| now == self.before);
        if !unchanged {
            let _ = match &self.before {
                Some(text) => self.place.write(text),
                None => self.place.remove(),
            };
        }
        self.place.sweep();
    }
}

/// The content of the file at `place`, if there is one.
fn standing(place: &Place) -> Result<Option<Vec<u8>>, IdentityErrorKind> {
    match file::contents(place) {
        Err(IdentityErrorKind::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn look(path: &Path) -> io::Result<(Place, Option<Vec<u8>>)> {
    let place = Place::open(path, Purpose::Write)?;
    place.sweep();
    let before = standing(&place).map_err(|kind| match kind {
        IdentityErrorKind::Io(error) => error,
        // A folder, a link or a large file is not ours to replace.
        kind => {
            let path = Some(path.to_owned());
            io::Error::new(io::ErrorKind::AlreadyExists, IdentityError { path, kind })
        }
    })?;
    Ok((place, before))
}
