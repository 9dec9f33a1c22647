//! The fixture `proc_target`.

use std::process::{Command, Stdio};

use pidfd_watcher::{Pid, Process};

use crate::orders::Order;
use crate::{Dialogue, Guard};

pub fn target(order: &Order) -> Command {
    let mut command = Command::new(crate::fd_table::fixture("proc_target"));
    command.arg(order.argument()).stdin(Stdio::piped());
    command
}

/// A child that ends with 7 when its standard input closes.
pub fn sleeper() -> Guard {
    Guard::spawn(&mut target(&Order::ExitAtEof { code: 7 }))
}

/// A process that is no child of ours, and its parent, which does not reap it.
pub fn grandchild(code: i32) -> (Dialogue, Process) {
    let mut parent = Dialogue::spawn(&mut target(&Order::ParentOf { code }));
    let pid = Pid::from_raw(parent.hear().parse().expect("a pid")).expect("a pid");
    let process = Process::open(pid).expect("open by pid");
    (parent, process)
}
