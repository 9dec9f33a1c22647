//! A runtime that ties what it starts to its life by processkit, as its documentation has it.

use workspace_tests::peers::Peer;

pub const PROCESSKIT: Peer = Peer::library("processkit, kill_on_parent_death()", start);

/// On the only thread, which lives as long as the runtime: the kernel's signal hangs on the thread
/// that spawns.
fn start(words: &[String]) {
    let (program, args) = words.split_first().expect("a program");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("tokio");
    tokio.block_on(async {
        let command = processkit::Command::new(program).args(args);
        let _running = command.kill_on_parent_death().start().await.expect("start");
        std::future::pending::<()>().await;
    });
}
