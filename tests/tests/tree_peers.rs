//! What the table of peers says: the hostile tree under other people's tools and under ours, its
//! runtime killed.

use workspace_tests::alone_in_pid_namespace;
use workspace_tests::peers::{Cast, Peer};

#[path = "../benches/tree_peers/processkit.rs"]
mod processkit;
use crate::processkit::PROCESSKIT;

const CAST: Cast = Cast {
    shim: env!("CARGO_BIN_EXE_shim_under_test"),
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
    hostile: env!("CARGO_BIN_EXE_hostile_tree"),
};

/// How many of the seven are left, and whether the leader's handler ran.
fn check(peer: &Peer, left: usize, handler: bool) {
    if let Some(reason) = peer.is_missing(CAST) {
        eprintln!("skipped: {}: {reason}", peer.name);
        return;
    }
    let outcome = peer.trial(CAST);
    let found = (outcome.left, outcome.handler.is_some());
    assert_eq!(found, (left, handler), "{}: {outcome:?}", peer.name);
}

macro_rules! facts {
    ($($name:ident: $peer:expr, $left:literal, $handler:literal;)*) => {
        $(
            #[test]
            fn $name() {
                alone_in_pid_namespace!({ check(&$peer, $left, $handler) });
            }
        )*
    };
}

facts! {
    tini_leaves_all: Peer::named("tini -s --"), 7, false;
    tini_with_sigkill_leaves_all: Peer::named("tini -s -p SIGKILL --"), 7, false;
    tini_with_sigterm_tells_the_group: Peer::named("tini -s -g -p SIGTERM --"), 5, true;
    dumb_init_leaves_all: Peer::named("dumb-init --"), 7, false;
    catatonit_leaves_all: Peer::named("catatonit --"), 7, false;
    timeout_leaves_all: Peer::named("timeout 1h"), 7, false;
    firejail_leaves_all: Peer::named("firejail --noprofile --quiet --"), 7, false;
    unshare_leaves_all: Peer::named("unshare --fork --pid --kill-child"), 7, false;
    setpriv_with_sigkill_ends_the_leader: Peer::named("setpriv --pdeathsig KILL"), 6, false;
    setpriv_with_sigterm_tells_the_leader: Peer::named("setpriv --pdeathsig TERM"), 6, true;
    bubblewrap_ends_the_leader:
        Peer::named("bwrap --dev-bind / / --die-with-parent --"), 6, false;
    bubblewrap_with_a_namespace_ends_all_without_a_word:
        Peer::named("bwrap --dev-bind / / --die-with-parent --unshare-pid --"), 0, false;
    processkit_ends_the_leader: PROCESSKIT, 6, false;
    our_crates_without_a_shim_leave_all:
        Peer::named("our crates, COMMAND without a watchdog"), 7, false;
    subreaper_tells_the_leader_and_ends_all:
        Peer::named("watchdog-shim --contain=subreaper --"), 0, true;
    cgroup_tells_the_leader_and_ends_all:
        Peer::named("watchdog-shim --contain=cgroup --"), 0, true;
    namespace_tells_the_leader_and_ends_all:
        Peer::named("watchdog-shim --contain=pidns --"), 0, true;
}
