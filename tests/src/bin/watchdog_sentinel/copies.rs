//! A copy of a parent, made by fork.

use std::sync::atomic::{AtomicBool, Ordering};

use watchdog_pipe::{Guarantees, Verdict};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::scenario::Scenario;

use super::given::{Given, sockets};

pub const SCENARIOS: &[Scenario] = &[("copy", copy_has_a_sentinel_of_its_own)];

/// In a copy made by fork: what is inherited promises nothing, what is made there does, also while threads of the
/// original are in the middle of making links.
fn copy_has_a_sentinel_of_its_own() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(watchdog_pipe::channel().expect("channel"));
                }
            });
        }
        for _ in 0..200 {
            let (inherited, _setup) = watchdog_pipe::channel().expect("channel");
            assert_eq!(inherited.guarantees(), Guarantees::all());
            let mut inherited = Some(inherited);
            let (ours, theirs) = sockets();
            let (mut go, mut gone) = Cue::pair();
            let copy = Fork::run(|| {
                let inherited = inherited.take().expect("the copy");
                assert_eq!(inherited.guarantees(), Guarantees::empty());
                drop(inherited);
                let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                assert_eq!(keepalive.guarantees(), Guarantees::all());
                Given::send(&theirs, &mut setup);
                gone.take();
                std::mem::forget(keepalive);
            });
            drop((gone, theirs));
            let mut given = Some(Given::receive(&ours));
            let (mut adopted, mut cue) = Cue::pair();
            let child = Fork::run(|| {
                let mut watchdog = given.take().expect("the copy").adopt_whole();
                cue.give();
                assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
            });
            adopted.take();
            go.give();
            copy.succeeds();
            child.succeeds();
        }
        over.store(true, Ordering::Relaxed);
    });
}
