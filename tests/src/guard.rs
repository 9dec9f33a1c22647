//! A child process that cannot outlive the test that started it.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};

use crate::until;

/// Owns a child: kills and reaps it on drop, whatever happened to the test.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Spawns `command` and takes charge of the child.
    pub fn spawn(command: &mut Command) -> Guard {
        Guard(
            command
                .spawn()
                .unwrap_or_else(|e| panic!("spawn {command:?}: {e}")),
        )
    }

    /// Waits for the exit under the deadline.
    pub fn wait_deadline(&mut self) -> ExitStatus {
        until("child exits", || {
            self.0.try_wait().expect("wait for own child")
        })
    }
}

impl Deref for Guard {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
