//! From the spawn until COMMAND's main, and until its end.

use std::fs::File;
use std::io::{Read, Seek, Write, pipe};

use rustix::fs::{MemfdFlags, memfd_create};
use workspace_tests::clock;
use workspace_tests::fork::Fork;
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

use crate::Options;
use crate::contender::{BARE, COMMAND, Contender, TINI};

/// The user `nobody`.
const USER: u32 = 65534;

pub fn measure(options: &Options) -> Vec<Samples> {
    let rounds = options.rounds(400, 60);
    let mut all = Vec::from(take_turns("root", options, rounds));
    let file = memfd_create("samples", MemfdFlags::CLOEXEC).expect("memfd_create");
    let mut file = File::from(file);
    Fork::run(|| {
        become_user();
        let samples = take_turns("a user", options, rounds);
        let json = serde_json::to_vec(&samples).expect("JSON");
        (&file).write_all(&json).expect("tell the samples");
    })
    .succeeds_in_time();
    let mut json = Vec::new();
    file.rewind().expect("a file in memory");
    file.read_to_end(&mut json).expect("the samples");
    let user: Vec<Samples> = serde_json::from_slice(&json).expect("samples");
    all.extend(user);
    all
}

fn become_user() {
    // SAFETY: plain numbers, and an empty list; this copy has one thread.
    let done =
        unsafe { libc::setgroups(0, std::ptr::null()) | libc::setgid(USER) | libc::setuid(USER) };
    assert_eq!(done, 0, "setuid: {}", std::io::Error::last_os_error());
}

fn take_turns(user: &str, options: &Options, rounds: usize) -> [Samples; 2] {
    let contenders = Contender::all(options.other.as_deref());
    let titled = |until: &str| Samples::new(format!("start as {user}, until {until}"), "us");
    let [mut main, mut end] = [
        titled("COMMAND's main"),
        titled("the end of COMMAND and tool"),
    ];
    // The first turns fill caches and are not counted.
    let warm_up = 5;
    let mut progress = Progress::new(format!("start as {user}"), rounds + warm_up);
    for round in 0..rounds + warm_up {
        for turn in order(round, contenders.len()) {
            let contender = &contenders[turn];
            let (mut told, tell) = pipe().expect("a pipe");
            let mut command = contender.command(&[COMMAND]);
            command.stdout(tell);
            let start = clock::now();
            let mut child = command.spawn().expect("spawn");
            drop(command);
            let mut instant = [0; 8];
            told.read_exact(&mut instant).expect("COMMAND tells");
            let status = child.wait().expect("wait");
            let ended = clock::now();
            assert!(status.success(), "{}: {status}", contender.name);
            if round >= warm_up {
                let since = |instant: u64| instant.saturating_sub(start) as f64 / 1e3;
                main.push(contender.name, since(u64::from_ne_bytes(instant)));
                end.push(contender.name, since(ended));
            }
        }
        progress.step();
    }
    drop(progress);
    [main, end].map(|samples| {
        let samples = samples.compare(BARE, BARE);
        samples.print();
        print_added(&samples);
        samples
    })
}

/// What each adds to the bare COMMAND, by the medians.
fn print_added(samples: &Samples) {
    let Some(bare) = samples.median(BARE) else {
        return;
    };
    let tini = samples.median(TINI).map_or(f64::NAN, |tini| tini - bare);
    println!("  {:<34} {:>11}  {:>12}", "added", "us", "ratio to tini");
    for row in samples.rows.iter().filter(|row| row.name != BARE) {
        let added = row.median() - bare;
        println!("  {:<34} {added:>11.0}  {:>11.2}x", row.name, added / tini);
    }
}
