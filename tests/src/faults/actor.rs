//! The program of the injector where a scenario has started it.

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use watchdog_pipe::Watchdog;

use super::marker::Marker;
use super::role::{ARM, Role, Ward};
use super::scene::facts;
use super::told::{Outcome, Refusal};
use crate::proc_fs;

/// Does what the program was told.
pub fn play(role: Role) -> ExitCode {
    match role {
        Role::Tell => tell(),
        Role::Ward { ward, armed, said } => be_ward(ward, armed, &said),
    }
}

/// First in main, before the program is the shim: says what [`ARM`] asks for.
pub fn arm_the_shim() {
    match std::env::var(ARM).as_deref() {
        Ok("arm") => Marker::Arm.say(),
        Ok("include") => Marker::Include.say(),
        _ => {}
    }
}

/// Everything about this process that its spawner decides, in a line.
fn tell() -> ExitCode {
    // SAFETY: nothing in this program owns the number that the variable names.
    let config = unsafe { shim_spawner::shim_config() };
    let config = config.map(|config| config.map(|bytes| bytes.len()));
    let fds: Vec<String> = proc_fs::own_fds()
        .into_iter()
        .map(|(number, file)| {
            let kind = file.split('[').next().unwrap_or_default();
            format!(
                "{number}={}",
                kind.split("/case-").next().unwrap_or_default()
            )
        })
        .collect();
    let own = i32::try_from(std::process::id()).expect("a pid");
    let stat = proc_fs::stat(own).expect("/proc/self/stat");
    let lines = |path: &str, wanted: &[&str]| {
        let text = fs::read_to_string(path).expect("a file in /proc");
        let is_told = |line: &&str| wanted.iter().any(|field| line.starts_with(field));
        let words = |line: &str| {
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let ignored = words.strip_prefix("SigIgn: ");
            match ignored.and_then(|set| u64::from_str_radix(set, 16).ok()) {
                // 32 and 33 are the C library's: it handles one once there is a thread, so that
                // an ignored one that was inherited arrives or not.
                Some(set) => format!("SigIgn: {:x}", set & !(0b11 << 31)),
                None => words,
            }
        };
        text.lines().filter(is_told).map(words).collect::<Vec<_>>()
    };
    const STATUS: [&str; 9] = [
        "Umask:",
        "Uid:",
        "Gid:",
        "Groups:",
        "SigBlk:",
        "SigIgn:",
        "CapEff:",
        "NoNewPrivs:",
        "Cpus_allowed_list:",
    ];
    let folder = std::env::current_dir()
        .unwrap_or_default()
        .display()
        .to_string();
    let is_own = folder.contains("/case-");
    // SAFETY: nothing in this program owns the number that the variable names.
    let watchdog = unsafe { Watchdog::from_env() };
    let watchdog = watchdog.map(|watchdog| watchdog.map(|w| w.guarantees()));
    // SAFETY: takes no pointer.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let oom = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    let told = facts([
        ("fds", fds.join(" ")),
        ("leads its group", (stat.pgrp == own).to_string()),
        ("leads its session", (stat.session == own).to_string()),
        ("status", lines("/proc/self/status", &STATUS).join(", ")),
        (
            "limits",
            lines("/proc/self/limits", &["Max open", "Max core"]).join(", "),
        ),
        ("folder", if is_own { "its own".to_owned() } else { folder }),
        ("nice", nice.to_string()),
        ("oom_score_adj", oom.trim().to_owned()),
        ("config", format!("{config:?}")),
        ("watchdog", format!("{watchdog:?}")),
    ]);
    let told = serde_json::to_string(&told).expect("JSON") + "\n";
    // Whoever listened may be gone.
    let _ = std::io::stdout().write_all(told.as_bytes());
    loop {
        std::thread::park();
    }
}

fn be_ward(ward: Ward, armed: bool, said: &std::path::Path) -> ExitCode {
    let under_faults = |marker: Marker| {
        if armed {
            marker.say();
        }
    };
    let say = |outcome: &Outcome| {
        let text = serde_json::to_string(outcome).expect("JSON") + "\n";
        fs::write(said, text).expect("write");
    };
    let refuse = |refusal: Refusal| {
        say(&Err(refusal));
        ExitCode::SUCCESS
    };
    if matches!(ward, Ward::Die | Ward::DieDeaf) {
        under_faults(Marker::Include);
    }
    if matches!(ward, Ward::Adopt | Ward::Enforce) {
        under_faults(Marker::Arm);
    }
    // SAFETY: nothing in this program owns the number that the variable names.
    let adopted = unsafe { Watchdog::from_env() };
    if ward == Ward::Adopt {
        under_faults(Marker::Disarm);
    }
    let mut watchdog = match adopted {
        Ok(watchdog) => watchdog.expect("a watchdog"),
        Err(error) => {
            under_faults(Marker::Disarm);
            return refuse(error.into());
        }
    };
    let guarantees = || facts([("guarantees", format!("{:?}", watchdog.guarantees()))]);
    match ward {
        Ward::Adopt => {
            say(&Ok(guarantees()));
            let verdict = watchdog.wait();
            return ExitCode::from(if verdict.is_ok() { 3 } else { 4 });
        }
        Ward::Wait => {
            under_faults(Marker::Arm);
            let verdict = watchdog.wait();
            under_faults(Marker::Disarm);
            say(&verdict
                .map(|verdict| facts([("verdict", format!("{verdict:?}"))]))
                .map_err(Refusal::from));
            return ExitCode::SUCCESS;
        }
        Ward::DieDeaf => {
            // SAFETY: SIG_IGN is no function that could be wrong, and no other thread runs yet.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
        Ward::Enforce | Ward::Cancel | Ward::Die => {}
    }
    let enforced = watchdog.enforce_inherited();
    if ward == Ward::Enforce {
        under_faults(Marker::Disarm);
    }
    let monitor = match enforced {
        Ok(monitor) => monitor,
        Err(error) => return refuse(error.into()),
    };
    if ward == Ward::Cancel {
        under_faults(Marker::Arm);
        let verdict = monitor.cancel();
        under_faults(Marker::Disarm);
        say(&Ok(facts([("verdict", format!("{verdict:?}"))])));
        return ExitCode::SUCCESS;
    }
    let told = facts([("guarantees", format!("{:?}", monitor.guarantees()))]);
    say(&Ok(told));
    loop {
        std::thread::park();
    }
}
