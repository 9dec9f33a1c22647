//! The child's environment: what this process has, with the caller's changes and our own variables.

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
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) strings: CStrings,
    /// `PATH`, by which the program is looked up.
    pub(crate) path: Option<OsString>,
}

/// Refuses what no environment can hold, before anything is made.
pub(crate) fn check(changes: &[EnvChange]) -> Result<(), SpawnError> {
    let nul = |text: &OsStr| text.as_bytes().contains(&0);
    let bad = changes.iter().any(|change| match change {
        EnvChange::Set(name, value) => {
            nul(name) || nul(value) || name.is_empty() || name.as_bytes().contains(&b'=')
        }
        EnvChange::Remove(_) | EnvChange::Clear => false,
    });
    if bad {
        Err(SpawnError::invalid(
            "an environment variable's name or value is not one",
        ))
    } else {
        Ok(())
    }
}

impl Environment {
    /// Applies checked `changes` in their order, then `ours`.
    pub(crate) fn new(changes: &[EnvChange], ours: &[(&str, String)]) -> Environment {
        let mut cleared = false;
        let mut overrides: BTreeMap<&OsStr, Option<&OsStr>> = BTreeMap::new();
        for change in changes {
            match change {
                EnvChange::Set(name, value) => {
                    overrides.insert(name, Some(value));
                }
                EnvChange::Remove(name) => {
                    overrides.insert(name, None);
                }
                EnvChange::Clear => {
                    cleared = true;
                    overrides.clear();
                }
            }
        }
        // What this process inherited itself is not this child's.
        for link in [watchdog_pipe::ENV_VAR, config::ENV_VAR] {
            overrides.insert(OsStr::new(link), None);
        }
        for (name, value) in ours {
            overrides.insert(OsStr::new(name), Some(OsStr::new(value)));
        }
        let mut made = Environment {
            strings: CStrings::default(),
            path: None,
        };
        if !cleared {
            let inherited = env::vars_os();
            made.strings.reserve(inherited.size_hint().0);
            for (name, value) in inherited {
                if !overrides.contains_key(name.as_os_str()) {
                    made.push(&name, &value);
                }
            }
        }
        for (name, value) in overrides {
            if let Some(value) = value {
                made.push(name, value);
            }
        }
        made
    }

    fn push(&mut self, name: &OsStr, value: &OsStr) {
        self.strings
            .push(&[name.as_bytes(), b"=", value.as_bytes()]);
        if name == "PATH" {
            self.path = Some(value.to_owned());
        }
    }
}
