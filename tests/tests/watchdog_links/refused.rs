//! What a sentinel needs, refused by a real filter: the pipe is left, and nothing else.

use std::os::fd::AsFd;
use std::sync::mpsc::sync_channel;

use rustix::process::{Resource, setrlimit};
use watchdog_pipe::{Builder, Guarantees, Verdict};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::halt::Halt;
use workspace_tests::{alone, fd_limit, proc_fs, seccomp};

use super::given::{Given, sentinel_mappings, sockets};
use super::take_in_orphans;

/// Each call that a sentinel cannot do without, refused by a real filter.
#[test]
fn pipe_does_alone_where_the_kernel_refuses_what_a_sentinel_needs() {
    alone!({
        take_in_orphans();
        type Refusal = fn(i32);
        let refusals: [(&str, Refusal); 6] = [
            ("memfd_create", |errno| {
                seccomp::refuse(&[(libc::SYS_memfd_create, errno)])
            }),
            ("ftruncate", |errno| {
                seccomp::refuse(&[(libc::SYS_ftruncate, errno)])
            }),
            ("F_ADD_SEALS", |errno| {
                seccomp::refuse_fcntl(libc::F_ADD_SEALS, errno)
            }),
            ("mprotect", |errno| {
                seccomp::refuse(&[(libc::SYS_mprotect, errno)])
            }),
            ("set_robust_list", |errno| {
                seccomp::refuse(&[(libc::SYS_set_robust_list, errno)])
            }),
            ("clone", |errno| {
                seccomp::refuse(&[(libc::SYS_clone3, errno), (libc::SYS_clone, errno)]);
            }),
        ];
        for (what, refuse) in refusals {
            for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::EAGAIN] {
                eprintln!("{what}: {errno}");
                Fork::run(|| {
                    // What the filter leaves of the rest is made before it: the page that a fork
                    // wipes.
                    drop(Builder::new().sentinel(false).channel().expect("channel"));
                    let before = (proc_fs::own_fds(), sentinel_mappings());
                    refuse(errno);
                    for _ in 0..3 {
                        let (keepalive, setup) = watchdog_pipe::channel().expect("the pipe alone");
                        assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
                        assert_eq!(setup.fds().count(), 1);
                        drop((keepalive, setup));
                        // A thread that could not register ends, and is not waited for.
                        workspace_tests::until("no thread is left", || {
                            let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
                            (tasks.count() == 1).then_some(())
                        });
                        assert_eq!((proc_fs::own_fds(), sentinel_mappings()), before);
                    }
                })
                .succeeds();
            }
        }
    });
}

/// A child that may not look at seals, or not map, or start no thread, has the pipe.
#[test]
fn pipe_does_alone_in_a_child_whose_kernel_refuses() {
    alone!({
        take_in_orphans();
        type Refusal = fn();
        let refusals: [(&str, Refusal, bool); 3] = [
            (
                "F_GET_SEALS",
                || seccomp::refuse_fcntl(libc::F_GET_SEALS, libc::EPERM),
                false,
            ),
            (
                "madvise",
                || seccomp::refuse(&[(libc::SYS_madvise, libc::EINVAL)]),
                false,
            ),
            (
                "clone",
                || {
                    seccomp::refuse(&[
                        (libc::SYS_clone3, libc::EAGAIN),
                        (libc::SYS_clone, libc::EAGAIN),
                    ])
                },
                true,
            ),
        ];
        for (what, refuse, whole_before) in refusals {
            eprintln!("{what}");
            let (ours, theirs) = sockets();
            let (mut go, mut gone) = Cue::pair();
            let parent = Fork::run(|| {
                let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                Given::send(&theirs, &mut setup);
                gone.take();
                std::mem::forget(_keepalive);
            });
            drop((gone, theirs));
            let mut given = Some(Given::receive(&ours));
            let (mut adopted, mut cue) = Cue::pair();
            let child = Fork::run(|| {
                refuse();
                let mut watchdog = given.take().expect("the copy").adopt().expect("adopt");
                let whole = watchdog.guarantees() == Guarantees::all();
                assert_eq!(whole, whole_before);
                // Here the thread is missing: from now on it is known.
                let _descriptor = watchdog.as_fd();
                assert_eq!(watchdog.guarantees(), Guarantees::END_IS_TOLD);
                cue.give();
                assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
            });
            drop(given);
            adopted.take();
            go.give();
            parent.succeeds();
            child.succeeds();
        }
    });
}

/// No descriptor is left for the page: this link has the pipe alone, and a later one has all.
#[test]
fn link_made_when_descriptors_are_back_has_a_sentinel() {
    alone!({
        take_in_orphans();
        Fork::run(|| {
            let limit = fd_limit::set(64);
            let mut taken = fd_limit::fill();
            // The pipe's two.
            taken.truncate(taken.len() - 2);
            let (first, _setup) = watchdog_pipe::channel().expect("the pipe alone");
            assert_eq!(first.guarantees(), Guarantees::END_IS_TOLD);
            setrlimit(Resource::Nofile, limit).expect("setrlimit");
            let (second, _setup) = watchdog_pipe::channel().expect("channel");
            assert_eq!(second.guarantees(), Guarantees::all());
            assert_eq!(first.guarantees(), Guarantees::END_IS_TOLD);
        })
        .succeeds();
    });
}

/// What a kernel does not know, and a filter forbids, costs the first link a try and no other.
#[test]
fn what_is_refused_is_not_asked_for_again() {
    alone!({
        take_in_orphans();
        Fork::run(|| {
            std::thread::scope(|scope| {
                let (give, take) = sync_channel(1);
                let asked = scope.spawn(|| {
                    let halt: Halt = take.into_iter().next().expect("a halt");
                    let mut asked = 0;
                    while let Some(call) = halt.next() {
                        asked += 1;
                        call.fail(libc::EPERM);
                    }
                    asked
                });
                scope.spawn(move || {
                    give.send(Halt::at(&[libc::SYS_memfd_create]))
                        .expect("give");
                    for _ in 0..3 {
                        let (keepalive, _setup) = watchdog_pipe::channel().expect("the pipe alone");
                        assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
                    }
                });
                assert_eq!(asked.join().expect("the thread that answers"), 1);
            });
        })
        .succeeds();
    });
}
