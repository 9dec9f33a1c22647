//! As a bench in the middle of a round: three sleepers in a group of their own, and a wait.

use std::process::Child;

use rustix::process::Pid;
use workspace_tests::sleeper::sleeper;

fn main() {
    workspace_tests::signals::default_actions();
    let mut group = None;
    let sleepers: Vec<Child> = (0..3)
        .map(|_| {
            let child = sleeper(group).spawn().expect("spawn");
            group.get_or_insert(Pid::from_child(&child));
            child
        })
        .collect();
    let pids: Vec<String> = sleepers
        .iter()
        .map(|child| child.id().to_string())
        .collect();
    println!("{}", pids.join(" "));
    loop {
        std::thread::park();
    }
}
