//! What the child finds: descriptors, configuration, signals, environment, streams, session.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use shim_spawner::{ConfigError, ShimSpawner, SpawnedShim, Stdio, shim_config};
use workspace_tests::fd_table::{Table, Witness, file_at, id, litter, stdio};
use workspace_tests::orders::Order;
pub use workspace_tests::spawn_case::{ends_well, output};
use workspace_tests::spawn_case::{said_and_ended, threads_that_allocate};
use workspace_tests::{by_every_method, fd_table, proc_fs, reaped};

use super::snapshot::{Snapshot, own_pid, role, shell, spawner_of};

/// What a child of this spawner has open.
fn table(prepare: impl FnOnce(&mut ShimSpawner)) -> Table {
    let witness = Witness::new();
    let mut spawner = spawner_of(witness.command.get_program());
    spawner.args(witness.command.get_args());
    prepare(&mut spawner);
    let shim = spawner.spawn().expect("spawn");
    let exit = reaped(shim.child.process());
    witness.read(exit.status.expect("own child"))
}

fn numbers(table: &Table) -> Vec<RawFd> {
    table.keys().copied().collect()
}

by_every_method!(
    /// The planned numbers, although much else is open without close-on-exec.
    fn planned_descriptors_arrive_and_nothing_else() {
        let _litter = litter(50, 7, 40);
        assert_eq!(
            table(|spawner| {
                spawner.detached(true);
            }),
            stdio()
        );

        let seen = table(|_| {});
        assert_eq!(
            numbers(&seen),
            [0, 1, 2, 48, 49],
            "the watchdog's two and nothing else"
        );

        let file = fd_table::file();
        let kept = file_at(40);
        let (file_id, kept_id) = (id(&file), id(&kept));
        let seen = table(|spawner| {
            spawner
                .map_fd(file, 9)
                .preserve_fd(kept)
                .config(b"secret".as_slice());
        });
        assert_eq!(numbers(&seen), [0, 1, 2, 9, 40, 47, 48, 49]);
        assert_eq!((seen[&9], seen[&40]), (file_id, kept_id));
    }
);

by_every_method!(
    /// The caller's number comes first; the library's own descriptors go elsewhere and are found
    /// there.
    fn watchdog_and_configuration_give_way_to_numbers_of_the_caller() {
        let (first, third) = (fd_table::file(), fd_table::file());
        let expected = (id(&first), id(&third));
        let seen = table(|spawner| {
            spawner
                .map_fd(first, 49)
                .map_fd(third, 47)
                .config(b"secret".as_slice());
        });
        assert_eq!(numbers(&seen), [0, 1, 2, 45, 46, 47, 48, 49]);
        assert_eq!((seen[&49], seen[&47]), expected);

        let mut shim = role(&Order::TellVerdict)
            .map_fd(fd_table::file(), 49)
            .spawn()
            .expect("spawn");
        let mut lines = BufReader::new(shim.child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("a line").expect("read");
        assert_eq!(line(), "ready");
        drop(shim.keepalive.take());
        assert_eq!(line(), "KeepaliveDropped");
        drop(shim.child.stdin.take());
        ends_well(&shim);
    }
);

by_every_method!(
    fn configuration_of_any_size_is_read_once() {
        for bytes in [
            Vec::new(),
            b"secret".to_vec(),
            (0..=255).cycle().take(3_000_000).collect(),
        ] {
            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
            let expected = format!("{} {sum}\n", bytes.len());
            assert_eq!(
                output(role(&Order::ReadConfig).config(bytes.clone())),
                expected
            );
            let mut moved = role(&Order::ReadConfig);
            moved
                .config(bytes)
                .map_fd(fd_table::file(), 49)
                .detached(true);
            assert_eq!(output(&mut moved), expected);
        }
        assert_eq!(output(&mut role(&Order::ReadConfig)), "none\n");
    }
);

by_every_method!(
    /// What a program sees that was not meant, or was given something else than promised.
    fn configuration_that_was_not_meant_is_refused_and_left_alone() {
        let read = |value: &str| {
            // SAFETY: one thread; and nothing here owns the numbers that are named, but for those
            // that are refused.
            unsafe {
                std::env::set_var("SHIM_CONFIG", value);
                shim_config()
            }
            .expect_err(value)
        };
        for text in ["", "4", "fd=4", "fd=-4,memfd=1:77", "fd=4,memfd=1:77 "] {
            let error = read(text);
            assert!(
                matches!(&error, ConfigError::Malformed { value } if value == text),
                "{error}"
            );
        }
        let file = fd_table::file();
        let (device, inode) = id(&file);
        let fd = file.as_raw_fd();
        let before = Snapshot::take();
        let error = read(&format!("fd={fd},memfd={device}:{inode}"));
        assert!(
            matches!(error, ConfigError::NotSealed { fd: named } if named == fd),
            "{error}"
        );
        assert_eq!(Snapshot::take(), before, "an error closed something");
    }
);

by_every_method!(
    fn blocked_and_ignored_signals_are_not_inherited() {
        // SAFETY: valid sets; one thread, which ends with this case.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            assert_eq!(
                libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()),
                0
            );
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        }
        let blocked = fs::read_to_string("/proc/self/status").expect("own status");
        assert_ne!(field(&blocked, "SigBlk"), 0, "the parent blocks");
        let status = output(spawner_of("/bin/cat").arg("/proc/self/status"));
        assert_eq!(field(&status, "SigBlk"), 0, "{status}");
        assert_eq!(
            field(&status, "SigIgn") >> (libc::SIGPIPE - 1) & 1,
            0,
            "{status}"
        );
    }
);

/// A mask of /proc/PID/status.
fn field(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(line.expect("the field"), 16).expect("a mask")
}

/// Name and value of every variable of a child.
fn variables(spawner: &mut ShimSpawner) -> BTreeMap<String, String> {
    let text = output(spawner);
    let pairs: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let count = pairs.len();
    let map: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a variable twice: {text}");
    map
}

fn env_program() -> ShimSpawner {
    spawner_of("/usr/bin/env")
}

by_every_method!(
    fn changes_to_the_environment_apply_in_their_order() {
        let mut spawner = env_program();
        spawner
            .env("CLEARED", "1")
            .env_clear()
            .envs([("B", "2"), ("C", "x"), ("D", "y")])
            .env("B", "3")
            .env_remove("C")
            .detached(true);
        let expected = [("B", "3"), ("D", "y")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(variables(&mut spawner), expected.into());

        let inherited: BTreeSet<_> = std::env::vars().map(|(name, _)| name).collect();
        let seen: BTreeSet<_> = variables(env_program().detached(true))
            .into_keys()
            .collect();
        assert_eq!(seen, inherited);
    }
);

by_every_method!(
    /// Links that this process inherited itself are not its children's.
    fn links_of_an_ancestor_are_not_passed_on() {
        const LINKS: [&str; 2] = ["WATCHDOG_PIPE", "SHIM_CONFIG"];
        for name in LINKS {
            // SAFETY: one thread.
            unsafe { std::env::set_var(name, "fd=3,an ancestor's") };
        }
        let seen = variables(env_program().detached(true));
        assert!(
            LINKS.iter().all(|name| !seen.contains_key(*name)),
            "{seen:?}"
        );
        // Not even when the caller passes it on.
        let seen = variables(
            env_program()
                .detached(true)
                .env("WATCHDOG_PIPE", "fd=3,mine"),
        );
        assert!(
            LINKS.iter().all(|name| !seen.contains_key(*name)),
            "{seen:?}"
        );
        let seen = variables(env_program().config(b"secret".as_slice()));
        for name in LINKS {
            assert!(!seen[name].contains("ancestor"), "{seen:?}");
        }
    }
);

by_every_method!(
    fn standard_streams_are_what_was_asked_for() {
        let before = Snapshot::take();
        let mut shim = shell("read line; echo out $line; echo err >&2; exec cat")
            .stderr(Stdio::piped())
            .current_dir("/")
            .spawn()
            .expect("spawn");
        let mut stdin = shim.child.stdin.take().expect("piped");
        stdin.write_all(b"one\ntwo\n").expect("write");
        drop(stdin);
        let (mut out, mut err) = (String::new(), String::new());
        shim.child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut out)
            .expect("read");
        shim.child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut err)
            .expect("read");
        assert_eq!((out.as_str(), err.as_str()), ("out one\ntwo\n", "err\n"));
        ends_well(&shim);
        drop(shim);

        let mut spawner = shell("pwd; exec cat");
        spawner.stdin(Stdio::null()).current_dir("/dev");
        assert_eq!(output(&mut spawner), "/dev\n");

        let (read, write) = io::pipe().expect("pipe");
        write
            .as_fd()
            .try_clone_to_owned()
            .map(fs::File::from)
            .expect("dup")
            .write_all(b"given")
            .expect("write");
        drop(write);
        assert_eq!(output(spawner_of("/bin/cat").stdin(read)), "given");
        assert_eq!(Snapshot::take(), before);
    }
);

by_every_method!(
    fn child_is_in_the_group_and_session_that_the_docs_promise() {
        let own = proc_fs::stat(own_pid()).expect("own stat");
        let spawn = |prepare: &dyn Fn(&mut ShimSpawner)| {
            let mut spawner = spawner_of("/bin/cat");
            spawner.stdin(Stdio::piped()).stdout(Stdio::null());
            prepare(&mut spawner);
            let shim = spawner.spawn().expect("spawn");
            let stat = proc_fs::stat(shim.child.pid().as_raw_nonzero().get()).expect("it lives");
            (shim, stat)
        };
        let (first, stat) = spawn(&|_| {});
        assert_eq!(
            (stat.pgrp, stat.session),
            (stat.pid, own.session),
            "a group of its own"
        );
        let group = stat.pid;
        let (second, stat) = spawn(&|spawner| {
            spawner.process_group(group);
        });
        assert_eq!(
            (stat.pgrp, stat.session),
            (group, own.session),
            "the group that was named"
        );
        let (third, stat) = spawn(&|spawner| {
            spawner.detached(true);
        });
        assert_eq!(
            (stat.pgrp, stat.session),
            (stat.pid, stat.pid),
            "a session of its own"
        );
        for mut shim in [first, second, third] {
            drop(shim.child.stdin.take());
            ends_well(&shim);
        }
    }
);

by_every_method!(
    /// One spawner, several children: each with links of its own.
    fn one_spawner_starts_several_shims() {
        let before = Snapshot::take();
        let mut spawner = role(&Order::ReadConfig);
        spawner.config(b"secret".as_slice());
        let sum: u64 = b"secret".iter().map(|byte| u64::from(*byte)).sum();
        let shims: Vec<SpawnedShim> = (0..3).map(|_| spawner.spawn().expect("spawn")).collect();
        for shim in shims {
            assert_eq!(said_and_ended(shim), format!("6 {sum}\n"));
        }
        assert_eq!(Snapshot::take(), before);
    }
);

by_every_method!(
    /// A lock of the allocator that another thread holds at the fork must not hang the child.
    fn closure_that_allocates_beside_allocating_threads_does_not_hang() {
        let before = Snapshot::take();
        let done = Arc::new(AtomicBool::new(false));
        let threads = threads_that_allocate(&done);
        let mut spawner = spawner_of("/bin/true");
        // SAFETY: the C library makes its allocator usable in a child made by fork.
        unsafe {
            spawner.pre_exec(|| {
                std::hint::black_box(vec![1_u8; 100_000]);
                Ok(())
            })
        };
        for _ in 0..300 {
            ends_well(&spawner.spawn().expect("spawn"));
        }
        done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("an allocating thread");
        }
        assert_eq!(Snapshot::take(), before);
    }
);

by_every_method!(
    /// Same user, same privilege: nothing that a shim is given is a handle on its runtime.
    fn nothing_a_shim_is_given_reaches_its_runtime() {
        let mut spawner = role(&Order::Intrude);
        spawner
            .config(b"secret".as_slice())
            .stderr(Stdio::null())
            .map_fd(fd_table::file(), 9);
        assert_eq!(output(&mut spawner), "7 given, reached: \n");
        // The intruder does find a handle where there is one.
        let handle = pidfd_open(getpid(), PidfdFlags::empty()).expect("own process");
        let said = output(role(&Order::Intrude).map_fd(handle, 9));
        assert!(said.contains("pidfd_getfd(9)"), "{said}");
        assert!(said.contains("setns(9)"), "{said}");
        let namespace = fs::File::open("/proc/self/ns/uts").expect("own namespace");
        let said = output(role(&Order::Intrude).map_fd(namespace, 9));
        assert!(said.contains("setns(9)"), "{said}");
    }
);
