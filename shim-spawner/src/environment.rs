//! The child's environment: that of this process, with the caller's changes and our own
//! variables.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::strings::CStrings;
use crate::{SpawnError, config};

/// One change to the inherited environment, applied in order.
#[derive(Debug)]
pub(crate) enum EnvChange {
    Set(OsString, OsString),
    Remove(OsString),
    Clear,
}

/// The environment of one child.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) strings: CStrings,
    /// `PATH` of the child. The program is looked up in it.
    pub(crate) path: Option<OsString>,
}

/// Refuses variables that no environment can hold, before anything is made. Like std's `Command`,
/// it refuses no name: a name that is empty or has an equals sign is written as it is.
pub(crate) fn check(changes: &[EnvChange]) -> Result<(), SpawnError> {
    let nul = |text: &OsStr| text.as_bytes().contains(&0);
    let bad = changes.iter().any(|change| match change {
        EnvChange::Set(name, value) => nul(name) || nul(value),
        EnvChange::Remove(_) | EnvChange::Clear => false,
    });
    if bad {
        Err(SpawnError::invalid(
            "an environment variable has a NUL byte",
        ))
    } else {
        Ok(())
    }
}

impl Environment {
    /// `ours`, then this process's own environment with the checked `changes`, without the names in
    /// `hidden`. The changes have the same effect as those of std's `Command`.
    ///
    /// Ours come first because getenv(3) finds the first of two equal names.
    pub(crate) fn new(
        changes: &[EnvChange],
        ours: &[(&str, String)],
        hidden: &[&str],
    ) -> Environment {
        let mut made = Environment::default();
        for (name, value) in ours {
            made.push(OsStr::new(name), OsStr::new(value));
        }
        let inherited = env::vars_os();
        made.strings.reserve(inherited.size_hint().0);
        if changes.is_empty() {
            // Unchanged: the order stays, and so does a name that is there twice.
            for (name, value) in inherited {
                made.pass_on(&name, &value, hidden);
            }
            return made;
        }
        // The last one of two equal names stays.
        let mut variables: BTreeMap<OsString, OsString> = inherited.collect();
        for change in changes {
            match change {
                EnvChange::Set(name, value) => {
                    variables.insert(name.clone(), value.clone());
                }
                EnvChange::Remove(name) => {
                    variables.remove(name);
                }
                EnvChange::Clear => variables.clear(),
            }
        }
        for (name, value) in &variables {
            made.pass_on(name, value, hidden);
        }
        made
    }

    /// Adds a variable. A link that this process inherited is left out: it is not for the child.
    fn pass_on(&mut self, name: &OsStr, value: &OsStr, hidden: &[&str]) {
        let links = [watchdog_pipe::ENV_VAR, config::ENV_VAR];
        if !links.iter().chain(hidden).any(|link| name == *link) {
            self.push(name, value);
        }
    }

    fn push(&mut self, name: &OsStr, value: &OsStr) {
        let variable = self
            .strings
            .push(&[name.as_bytes(), b"=", value.as_bytes()]);
        if self.path.is_none()
            && let Some(path) = variable.strip_prefix(b"PATH=")
        {
            self.path = Some(OsStr::from_bytes(path).to_owned());
        }
    }
}
