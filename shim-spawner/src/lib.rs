//! Spawn, supervise, stop and re-adopt a helper process ("shim") that learns of its runtime's
//! death.
//!
//! The *runtime* is the process that starts the shim. An *attached* shim learns when its runtime
//! dies, whatever killed it, or lets go of it. If the shim has a watchdog, it then stops itself. A
//! *detached* shim does not learn of this, and lives on.
//!
//! ```no_run
//! use std::time::Duration;
//! use shim_spawner::{ShimHandler, ShimIdentity, ShimSpawner, StopPolicy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shim = ShimSpawner::new("/usr/libexec/my-shim")
//!     .arg("--box=7")
//!     .config(b"token = secret")
//!     .stop_policy(StopPolicy::new().grace(Duration::from_secs(10)))
//!     .identity_file("/run/my-runtime/box-7")
//!     .spawn()?;
//! let mut shim = ShimHandler::new(shim);
//! let report = shim.stop()?; // SIGTERM, ten seconds, SIGKILL, reaped
//! println!("{:?}", report.exit().status);
//! assert!(report.is_empty()); // nobody of its process group is left
//!
//! // After a restart of the runtime: the same process, or an error; never a stranger.
//! let identity = ShimIdentity::load("/run/my-runtime/box-7")?;
//! let mut again = ShimHandler::adopt(&identity)?;
//! let _ = again.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! The shim itself, if it is written in Rust, starts its `main` with
//! [`Watchdog::from_env`](watchdog_pipe::Watchdog::from_env) and
//! [`enforce_inherited`](watchdog_pipe::Watchdog::enforce_inherited), and reads [`shim_config`].
//!
//! # Guarantees
//! - An attached shim learns of its runtime's end, whatever killed the runtime. [`Guarantees`] says
//!   how soon. A shim with a watchdog then stops itself. A detached shim lives on, in a session of
//!   its own.
//! - A shim with an [identity file](ShimSpawner::identity_file) cannot be lost: the file is on the
//!   disk before the program runs.
//! - The child gets the descriptors it should have and no others. This crate puts its own
//!   descriptors on numbers that no inherited variable names
//!   ([`internal_fds_from`](ShimSpawner::internal_fds_from)).
//! - A failed spawn names its stage and leaves no process, descriptor or zombie. A child that was
//!   killed before its exec is a failed spawn.
//! - Signals go by pidfd, so they never hit a process that got a recycled pid. Only processes that
//!   were spawned here are reaped.
//! - A [stop](ShimHandler::stop) is over when nobody is left, and its [report](StopReport) says so.
//! - Dropping a handle never waits and leaves no zombie.
//!
//! # What a child can be given
//! User, groups, limits, priority, cgroup, session, terminal, signals and sockets are methods of
//! [`ShimSpawner`]. They need no fork, and an error names the step that failed. [A
//! table](ShimSpawner#beside-stds-command) compares std's methods with ours.
//!
//! # Over a restart of the service
//! If the runtime is killed and started again, a shim can live on, and still learn when the runtime
//! ends for good. For that, a service manager must keep a copy of the shim's keepalive meanwhile.
//! systemd has a *descriptor store* for this (`FDSTORE=1` of `sd_notify(3)`).
//! `examples/service_restart.rs` is such a service:
//!
//! 1. After the spawn, write the [`identity`](ShimHandler::identity) into a memory file. Take the
//!    keepalive by [`take_keepalive`](ShimHandler::take_keepalive) and
//!    [`hand_over`](Keepalive::hand_over). Store both descriptors under one name, in one message.
//! 2. Make the service's own copy a keepalive again, by [`from_fd`](Keepalive::from_fd) and
//!    [`attach`](ShimHandler::attach).
//! 3. At the next start the descriptors come back (`LISTEN_FDNAMES`), in any order. The pipe is the
//!    keepalive. Call [`adopt`](ShimHandler::adopt) with the identity, then `attach`. If the
//!    identity is gone, or the adopted shim's exit is known ([`try_wait`](ShimHandler::try_wait)),
//!    the shim has ended meanwhile.
//! 4. When a shim ends, or is not wanted any more, send `FDSTOREREMOVE=1` with its name.
//!
//! The shim learns of the end when both copies are closed: the service has ended, and the manager
//! has emptied its store. The manager does so when the service is stopped and not started again.
//!
//! - From the hand-over on the shim follows the pipe alone. The sentinel no longer reports the
//!   death of the service ([`Guarantees::END_IS_TOLD`] is what is left). If the service dies
//!   between the hand-over and the message, the shim learns of it, so it is never lost.
//! - A handler that is *dropped* tells the shim to end. So a service that ends in good order must
//!   first let go: call `take_keepalive` and `hand_over`, and close the returned descriptor.
//!   SIGTERM's default action drops nothing.
//! - Nobody reports whether the store has accepted a descriptor. systemd accepts none unless
//!   `FileDescriptorStoreMax` is set; set it to two for each shim. And systemd kills the shims with
//!   the service unless `KillMode=process` is set or they are in another unit's cgroup.
//! - The manager removes a keepalive by itself once the shim has ended, unless it was stored with
//!   `FDPOLL=0`. It never removes a memory file.
//! - A shim inherits `NOTIFY_SOCKET` and the `LISTEN_` variables of its runtime, unless they are
//!   [removed](ShimSpawner::env_remove).
//!
//! # Limits
//! - The death of its runtime does not stop a program that has no watchdog. Under a
//!   [supervisor](ShimSpawner::supervised) it does, with everything that the program started.
//! - [`ShimHandler::stop`] stops the shim's process group, unless another [`StopTarget`] is set. It
//!   does not reach what the shim started in another group or session. Under a supervisor it does:
//!   the whole tree is stopped.
//! - With a [`pre_exec`](ShimSpawner::pre_exec) closure the C library's `fork` creates the child,
//!   and the cost grows with the runtime's memory. Without a closure it does not ([`Engine`]).
//! - An attached shim in its own process group gets no Ctrl-C from the terminal.
//!   [`process_group`](ShimSpawner::process_group) changes the group.
//!
//! # Kernel versions
//! Linux 5.10 or newer. A child is born in its [cgroup](ShimSpawner::cgroup) from 5.7 on, and moves
//! there before that; [`Cgroup::kill`] is one call of the kernel from 5.14 on. Exit statuses of
//! adopted shims need 6.15. Proven identities, and a stop of the group of a shim that somebody else
//! has reaped, need 6.9; [`kill_on_close`](ShimSpawner::kill_on_close) needs 7.1.
//!
//! # Features
//! Both are off by default. A feature that is off adds no dependency and no code.
//!
//! ## `tracing`
//! Spans and events for a subscriber of the `tracing` crate. Their target is `shim_spawner`. The
//! feature turns on the feature of the same name of `watchdog-pipe`, whose events about the link of
//! a shim are within the span `spawn`.
//!
//! | where | level | message | fields |
//! |---|---|---|---|
//! | [`ShimSpawner::spawn`] | error | span `spawn` | `program`, `engine` |
//! | all that the child needs is made | debug | `prepared` | `attached`, `supervised`, `config`, `identity_file`, `fds`: how many of yours |
//! | the child executed the program, or the supervisor's | debug | `started` | `pid` |
//! | the supervisor executed the program | debug | `program executed` | `pid`: the supervisor's |
//! | the spawn succeeds | info | `spawned` | `pid`, `attached` |
//! | it fails | warn | `not spawned` | `stage`: a [`Stage`]; `errno` if there is one; `error` |
//! | [`ShimHandler::stop`], [`stop_async`](ShimHandler::stop_async) | error | span `stop` | `pid`, `target` |
//! | the stop signal was sent | debug | `signalled` | `signal`, `grace` |
//! | the grace period is over, SIGKILL was sent | warn | `grace over` | `killed`: how many; `pids`: at most 16 |
//! | the stop succeeds | info | `stopped` | `status`, `killed`, `left` |
//! | it fails | warn | `not stopped` | `error` |
//! | [`ShimHandler::adopt`] | info | `adopted` | `pid` |
//! | it fails | warn | `not adopted` | `pid`, `error` |
//! | [`ShimHandler::release`] | info | `released` | `pid` |
//! | it fails | warn | `not released` | `pid`, `error` |
//! | drop of a handler of an attached shim | info | `handler dropped` | `pid` |
//!
//! - The spans have the level of errors, so that every filter that passes an event passes its span.
//! - A stop whose future was dropped goes on in the thread of the [shared
//!   watcher](Watcher::global), and calls the subscriber there. A subscriber that blocks in that
//!   thread delays every exit that the process waits for.
//! - A panic of the subscriber ends inside this crate and changes nothing. A child reports nothing
//!   before its exec. A copy made by fork reports no drop.
//! - Arguments, environment and configuration are in no event, because they may hold secrets.
//!
//! ## `serde`
//! | type | JSON | |
//! |---|---|---|
//! | [`ShimIdentity`] | a string: [the text of its file](ShimIdentity#text) | written and read |
//! | [`StopTarget`] | `"leader"`, `"group"`, `"cgroup"`, `"tree"` | written and read |
//! | [`StopReport`] | `{"exit":{"pid":4711,"status":{"code":5}},"target":"group","killed":{"count":1,"pids":[4712]},"left":{"count":0,"pids":[]}}` | written |
//! | [`Tally`] | in a report; `count` is `null` where it is not known | written |
//! | [`Level`] | `"told"`, `"good"`, `"certain"` | written |
//!
//! An identity that is read is checked as [`ShimIdentity::load`] checks the text of a file. The
//! feature turns on the feature of the same name of `watchdog-pipe` ([`StopPolicy`]) and of
//! `pidfd-watcher` ([`Exit`]).

#[cfg(not(target_os = "linux"))]
compile_error!("shim-spawner is for Linux: it stands on pidfds, memfds and close_range");

mod attachment;
mod builder;
mod cgroup;
#[allow(unsafe_code)]
mod child;
mod command;
mod config;
mod credentials;
mod engine;
mod environment;
mod error;
mod events;
mod handler;
mod identity;
mod image;
mod internal_fds;
mod limits;
mod listen;
mod report;
#[cfg(feature = "serde")]
mod serialize;
mod shim;
mod signals;
mod spawn;
mod spawner;
mod started;
mod stdio;
mod stop_error;
mod stop_future;
mod stop_report;
mod stop_target;
mod stopping;
mod strings;
mod supervisor;
#[allow(unsafe_code)]
mod sys;
mod terminal;

pub use cgroup::{Cgroup, CgroupError};
pub use command::{CommandExt, CommandLink};
pub use config::{CONFIG_MAX, ConfigError, shim_config};
pub use engine::Engine;
pub use error::{SpawnError, Stage};
pub use fd_preserve::{Applied, PreserveFds};
pub use handler::ShimHandler;
pub use identity::{AdoptError, IdentityError, IdentityErrorKind, ShimIdentity};
pub use pidfd_watcher::{
    Cancelled, ChildError, Error as ProcessError, Exit, ExitFuture, Pid, Process, Signal,
    WatchHandle, Watcher,
};
pub use rustix::process::Resource;
pub use rustix::thread::CpuSet;
pub use shim::{ShimChild, SpawnedShim};
pub use spawner::ShimSpawner;
pub use stdio::Stdio;
pub use stop_error::StopError;
pub use stop_report::{StopReport, Tally};
pub use stop_target::StopTarget;
pub use supervisor::{Contain, Level, OnExit, SignalTo, Supervisor};
pub use watchdog_pipe::{Guarantees, Keepalive, StopPolicy};
