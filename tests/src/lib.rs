//! What the fixture programs, the cross-crate tests and the benches share.
//!
//! Rules of the house: a test that starts a process holds it in a [`Guard`]; a test that waits,
//! waits under [`time_limit`]; what changes process-wide state (limits, signal masks, seccomp,
//! closed standard descriptors) happens in a process of its own ([`alone!`]), never in the test
//! runner.

pub mod allow_list;
pub mod alone;
pub mod ask;
pub mod below;
pub mod cast;
pub mod cgroups;
pub mod clock;
pub mod clone_method;
pub mod collector;
pub mod container;
mod deadline;
pub mod demo;
mod dialogue;
pub mod faults;
pub mod fd_limit;
pub mod fd_table;
mod folder;
pub mod fork;
mod guard;
pub mod halt;
pub mod heap;
mod held;
pub mod identity_text;
pub mod inherited;
pub mod installed;
pub mod interrupt;
pub mod kill_storm;
pub mod killings;
pub mod launch;
pub mod machine;
pub mod memory;
pub mod namespace;
pub mod notify;
pub mod orders;
pub mod orphan;
pub mod pack;
pub mod peers;
pub mod play;
pub mod proc_fs;
pub mod progress;
mod random;
mod reaped;
pub mod report;
pub mod rights;
pub mod samples;
pub mod seccomp;
pub mod service_manager;
pub mod signals;
pub mod sleeper;
pub mod soak;
pub mod sources;
pub mod spawn_case;
pub mod systemd;
pub mod target;
pub mod terminal;
mod told;
pub mod trees;

pub use deadline::{time_limit, until};
pub use dialogue::Dialogue;
pub use folder::{Folder, text};
pub use guard::Guard;
pub use held::Held;
pub use random::random;
pub use reaped::reaped;
pub use told::Told;
