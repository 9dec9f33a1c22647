//! A program under the shim, over and over: each time others of those above it are killed, and
//! nobody is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::play::{Cast, Play, Who};
use crate::{Folder, until};

/// Long enough for a handler that writes a file.
pub const GRACE: Duration = Duration::from_millis(300);

/// A program, how it is told that it is ready, and what it does when it is stopped in good order.
pub struct Program<'a> {
    /// Programs between the runtime and the shim, which execute what follows them on the command
    /// line.
    pub through: &'a [&'a str],
    /// Of the shim.
    pub options: &'a [&'a str],
    /// COMMAND, for a folder of its own, which is empty.
    pub command: &'a dyn Fn(&Path) -> Vec<String>,
    /// Whether all of it runs.
    pub is_ready: &'a dyn Fn(&Play, &Path) -> bool,
    /// Whether it was stopped in good order. Asked where somebody was left to do so, when nobody of
    /// it is left.
    pub ended_well: &'a dyn Fn(&Path) -> bool,
}

impl Program<'_> {
    /// Nobody is left of it, whichever of these sets is killed. The test is pid 1 of a PID
    /// namespace of its own.
    ///
    /// # Panics
    /// Where somebody is left, or it was not stopped in good order although somebody could.
    pub fn leaves_nobody(
        &self,
        cast: Cast,
        contain: &'static str,
        killed: impl IntoIterator<Item = &'static [Who]>,
    ) {
        for who in killed {
            let folder = Folder::new();
            // A program may run as another user.
            let for_all = fs::Permissions::from_mode(0o777);
            fs::set_permissions(folder.path(), for_all).expect("own folder");
            let command = (self.command)(folder.path());
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let play =
                Play::begin_through(self.through, cast, contain, self.options, &command, GRACE);
            until("the program is ready", || {
                (self.is_ready)(&play, folder.path()).then_some(())
            });
            play.kill(who);
            play.gone();
            if Who::leaves_good_order(who, contain) {
                assert!(
                    (self.ended_well)(folder.path()),
                    "{contain} {who:?}: it was not stopped in good order; {:?}",
                    folder.names()
                );
            }
        }
    }
}

/// A program that says by a file `ready` in its folder that it runs.
pub fn ready_file(_: &Play, folder: &Path) -> bool {
    folder.join("ready").exists()
}

/// A program for which no order is better than another.
pub fn no_matter(_: &Path) -> bool {
    true
}

/// The words of a command.
pub fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// A test for each containment, each with its name and its body's argument: `contain`.
#[macro_export]
macro_rules! in_each_containment {
    ($shim:expr, $programs:expr, $body:path: $($name:ident in $contain:literal;)+) => {
        $(
            #[test]
            fn $name() {
                if $crate::installed::installed($programs) && $crate::play::can($shim, $contain) {
                    $crate::alone_in_pid_namespace!({ $body($contain) });
                }
            }
        )+
    };
}
