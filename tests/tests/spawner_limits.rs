//! Limits, priority, processors and umask of a child: it has what was asked for, this process keeps what it had, and
//! what this process may not do is an error of the step.

use std::fs;

use rustix::process::{Rlimit, getpriority_process, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, sched_getaffinity, set_capabilities};
use shim_spawner::{CpuSet, Resource, ShimSpawner, SpawnError, Stage};
use workspace_tests::spawn_case::{
    become_nobody, ends_well, fails, line_of, needs_root, output, spawner_of,
};
use workspace_tests::{by_every_method, fd_table};

#[track_caller]
fn is(error: &SpawnError, stage: Stage, errno: i32) {
    let seen = (error.stage(), error.raw_os_error());
    assert_eq!(seen, (stage, Some(errno)), "{error}");
}

/// Whether this process has the capability. Says so where it has not.
fn has(capability: CapabilitySet) -> bool {
    let held = capabilities(None)
        .expect("capget")
        .effective
        .contains(capability);
    if !held {
        eprintln!("skipped: needs {capability:?}");
    }
    held
}

/// What a shell of the spawner says.
fn said(script: &str, prepare: impl FnOnce(&mut ShimSpawner)) -> String {
    let mut shell = spawner_of("/bin/sh");
    shell.args(["-c", script]);
    prepare(&mut shell);
    output(&mut shell)
}

/// The line of a resource in /proc/PID/limits: soft and hard.
fn line(limits: &str, name: &str) -> String {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let words = line.expect("the resource").split_whitespace().take(2);
    words.collect::<Vec<_>>().join(" ")
}

by_every_method!(
    fn child_has_the_limits_that_were_asked_for_and_the_spawner_keeps_its_own() {
        let before: Vec<Rlimit> = [Resource::Core, Resource::Nofile, Resource::Stack]
            .map(getrlimit)
            .into();
        let mut spawner = spawner_of("/bin/cat");
        spawner
            .arg("/proc/self/limits")
            .rlimit(Resource::Core, 1, 1)
            .core_limit(0)
            .rlimit(Resource::Nofile, 10, 20)
            .rlimit(Resource::Stack, 1 << 20, 1 << 21)
            .rlimit(Resource::Fsize, 1000, 2000);
        let limits = output(&mut spawner);
        assert_eq!(line(&limits, "Max core file size"), "0 0");
        assert_eq!(line(&limits, "Max open files"), "10 20");
        assert_eq!(line(&limits, "Max stack size"), "1048576 2097152");
        assert_eq!(line(&limits, "Max file size"), "1000 2000");
        let after: Vec<Rlimit> = [Resource::Core, Resource::Nofile, Resource::Stack]
            .map(getrlimit)
            .into();
        assert_eq!(after, before);
    }
);

by_every_method!(
    /// Descriptors of the caller's lie where they should; ours go below the limit.
    fn limit_of_open_files_is_lowered_when_the_descriptors_are_in_place() {
        let mut spawner = spawner_of("/bin/sh");
        spawner
            .args([
                "-c",
                "ulimit -n; for i in /proc/self/fd/*; do echo ${i##*/}; done",
            ])
            .map_fd(fd_table::file(), 40)
            .rlimit(Resource::Nofile, 20, 20);
        let text = output(&mut spawner);
        // The folder that the shell reads is among them.
        assert!(text.starts_with("20\n"), "{text}");
        for number in ["18", "19", "40"] {
            assert!(text.lines().any(|line| line == number), "{number}: {text}");
        }
    }
);

by_every_method!(
    fn hard_limit_above_the_own_one_is_refused_and_names_the_resource() {
        let half = 1 << 20;
        let limit = Rlimit {
            current: Some(half),
            maximum: Some(half),
        };
        setrlimit(Resource::Fsize, limit).expect("setrlimit");
        become_nobody();
        let mut spawner = spawner_of("/bin/true");
        spawner
            .core_limit(0)
            .rlimit(Resource::Fsize, half, half + 1);
        let error = fails("no capability", &mut spawner);
        is(&error, Stage::Limits, libc::EPERM);
        assert_eq!(error.resource(), Some(Resource::Fsize));
        assert_eq!(error.fd(), None);
        assert!(error.to_string().contains("Fsize"), "{error}");
    }
);

by_every_method!(
    /// With the privileges of the spawner, for a child that has none.
    fn limit_is_raised_for_a_child_of_another_user() {
        if !has(CapabilitySet::SYS_RESOURCE) {
            return;
        }
        for resource in [Resource::Nofile, Resource::Memlock] {
            let limit = Rlimit {
                current: Some(100),
                maximum: Some(100),
            };
            setrlimit(resource, limit).expect("setrlimit");
        }
        let script = "ulimit -n; ulimit -Hn; grep locked /proc/self/limits";
        let said = said(script, |shell| {
            shell.uid(12_345).rlimit(Resource::Nofile, 50, 200).rlimit(
                Resource::Memlock,
                4096,
                8192,
            );
        });
        assert!(said.starts_with("50\n200\n"), "{said}");
        assert_eq!(line(&said, "Max locked memory"), "4096 8192");
    }
);

by_every_method!(
    /// Up to the hard one, whatever comes first.
    fn soft_limit_is_raised_for_a_child_of_another_user() {
        if !needs_root() {
            return;
        }
        let limit = Rlimit {
            current: Some(60),
            maximum: Some(100),
        };
        setrlimit(Resource::Nofile, limit).expect("setrlimit");
        let said = said("ulimit -n; ulimit -Hn", |shell| {
            shell.uid(12_345).rlimit(Resource::Nofile, 90, 95);
        });
        assert_eq!(said, "90\n95\n");
    }
);

by_every_method!(
    fn limit_of_open_files_above_what_the_kernel_has_is_refused() {
        let mut spawner = spawner_of("/bin/true");
        let error = fails(
            "nr_open",
            spawner.rlimit(Resource::Nofile, 1 << 40, 1 << 40),
        );
        is(&error, Stage::Limits, libc::EPERM);
        assert_eq!(error.resource(), Some(Resource::Nofile));
    }
);

by_every_method!(
    /// The two share their memory, which is what the value mostly belongs to.
    fn oom_score_adj_is_of_the_child_alone() {
        let own = || fs::read_to_string("/proc/self/oom_score_adj").expect("own value");
        let before = own();
        let said = said("cat /proc/self/oom_score_adj", |shell| {
            shell.oom_score_adj(765);
        });
        assert_eq!(said, "765\n");
        assert_eq!(own(), before);
    }
);

by_every_method!(
    fn unprivileged_process_cannot_make_its_child_less_likely_to_be_killed() {
        become_nobody();
        let error = fails("lower", spawner_of("/bin/true").oom_score_adj(-1000));
        is(&error, Stage::OomScoreAdj, libc::EACCES);
        ends_well(
            &spawner_of("/bin/true")
                .oom_score_adj(1000)
                .spawn()
                .expect("raise"),
        );
    }
);

by_every_method!(
    fn nice_value_is_of_the_child_alone() {
        let before = getpriority_process(None).expect("own value");
        let said = said("cut -d' ' -f19 /proc/self/stat", |shell| {
            shell.nice(7);
        });
        assert_eq!(said, "7\n");
        assert_eq!(getpriority_process(None).expect("own value"), before);
    }
);

by_every_method!(
    fn unprivileged_process_cannot_give_its_child_priority_but_within_the_limit() {
        if needs_root() {
            let limit = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            setrlimit(Resource::Nice, limit).expect("setrlimit");
        }
        become_nobody();
        is(
            &fails("lower", spawner_of("/bin/true").nice(-5)),
            Stage::Nice,
            libc::EACCES,
        );
    }
);

by_every_method!(
    /// The limit says how far: it comes first.
    fn priority_goes_as_far_as_the_limit_that_the_child_gets() {
        if !has(CapabilitySet::SYS_RESOURCE) {
            return;
        }
        let mut held = capabilities(None).expect("capget");
        held.effective.remove(CapabilitySet::SYS_NICE);
        held.permitted.remove(CapabilitySet::SYS_NICE);
        set_capabilities(None, held).expect("capset");
        let limit = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Nice, limit).expect("setrlimit");
        is(
            &fails("lower", spawner_of("/bin/true").nice(-5)),
            Stage::Nice,
            libc::EACCES,
        );
        let said = said("cut -d' ' -f19 /proc/self/stat", |shell| {
            // 20 - nice.
            shell.rlimit(Resource::Nice, 25, 25).nice(-5);
        });
        assert_eq!(said, "-5\n");
    }
);

by_every_method!(
    fn child_runs_on_the_cpus_that_were_asked_for() {
        let own = sched_getaffinity(None).expect("own CPUs");
        let last = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|cpu| own.is_set(*cpu))
            .expect("one");
        let mut one = CpuSet::new();
        one.set(last);
        let mut spawner = spawner_of("/bin/cat");
        let status = output(spawner.arg("/proc/self/status").cpu_affinity(one));
        assert_eq!(line_of(&status, "Cpus_allowed_list"), last.to_string());
        assert_eq!(sched_getaffinity(None).expect("own CPUs"), own);
    }
);

by_every_method!(
    fn cpu_that_is_not_there_is_refused() {
        let mut none = CpuSet::new();
        none.set(CpuSet::MAX_CPU - 1);
        is(
            &fails("no CPU", spawner_of("/bin/true").cpu_affinity(none)),
            Stage::CpuAffinity,
            libc::EINVAL,
        );
    }
);

by_every_method!(
    fn umask_is_of_the_child_alone() {
        let own = || {
            line_of(
                &fs::read_to_string("/proc/self/status").expect("status"),
                "Umask",
            )
        };
        let before = own();
        for mask in [0o77, 0, 0o777] {
            let said = said("umask", |shell| {
                shell.umask(mask);
            });
            assert_eq!(said, format!("{mask:04o}\n"));
        }
        assert_eq!(own(), before);
    }
);

by_every_method!(
    fn child_has_the_name_that_was_asked_for() {
        let said = said("echo $0; exec cat /proc/$$/cmdline", |shell| {
            shell.arg0("-login");
        });
        // The shell takes the next argument for $0 only where there is one.
        assert_eq!(said.lines().next(), Some("-login"));
    }
);

by_every_method!(
    /// The program is looked up by its own name.
    fn name_changes_nothing_about_which_program_is_executed() {
        let mut spawner = spawner_of("cat");
        let line = output(spawner.arg("/proc/self/cmdline").arg0(""));
        assert_eq!(line, "\0/proc/self/cmdline\0");
    }
);
