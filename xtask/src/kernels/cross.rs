//! The compiler for another architecture.

use xshell::Cmd;

/// How cargo is asked to build for it.
#[derive(Debug)]
pub(super) struct Cross;

impl Cross {
    pub(super) fn configure<'a>(&self, build: Cmd<'a>) -> Cmd<'a> {
        build
    }
}
