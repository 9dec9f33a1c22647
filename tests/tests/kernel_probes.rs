//! What the kernel does, seen by bare system calls: facts of docs/kernel.md that no test of a crate
//! shows by itself.

use std::fs::{self, File};
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::mpsc::channel;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::namespace::kernel;
use workspace_tests::{Folder, Guard, alone, alone_in_pid_namespace, proc_fs, until};

/// What poll(2) says of a descriptor at once.
fn events(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).expect("poll");
    fds[0].revents()
}

/// Whether an epoll instance has an event ready.
fn has_event(instance: impl AsFd) -> bool {
    events(instance).contains(PollFlags::IN)
}

fn last_error() -> i32 {
    let error = std::io::Error::last_os_error();
    error.raw_os_error().expect("an errno")
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("a number above zero")
}

// docs/kernel.md#pipes

#[test]
fn pipe_that_is_opened_anew_for_writing_is_hung_up_no_more() {
    alone!({
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
        assert_eq!(events(&reader), PollFlags::empty());
        drop(writer);
        assert_eq!(events(&reader), PollFlags::HUP);
        let name = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let anew = File::options().write(true).open(name).expect("open");
        assert_eq!(events(&reader), PollFlags::empty());
        drop(anew);
        assert_eq!(events(&reader), PollFlags::HUP);
    });
}

#[test]
fn poll_is_interrupted_by_a_handler_that_restarts_other_calls() {
    extern "C" fn nothing(_: libc::c_int) {}
    alone!({
        // SAFETY: the handler does nothing, so it may run anywhere; both structures are plain data
        // that lives until the calls return.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            let set = libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
            assert_eq!(set, 0);
            let every = libc::timeval {
                tv_sec: 0,
                tv_usec: 10_000,
            };
            let timer = libc::itimerval {
                it_interval: every,
                it_value: every,
            };
            let null = std::ptr::null_mut();
            assert_eq!(
                libc::setitimer(libc::ITIMER_REAL, &raw const timer, null),
                0
            );
        }
        let long = Timespec {
            tv_sec: 1_000,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut [], Some(&long)), Err(Errno::INTR));
    });
}

// docs/kernel.md#pidfds

#[test]
fn pidfd_is_quiet_then_readable_then_hung_up() {
    alone!({
        let (mut ours, mut theirs) = Cue::pair();
        let mut child = Fork::run(|| theirs.take());
        let pidfd = pidfd_open(pid(child.pid()), PidfdFlags::empty()).expect("own child");
        assert_eq!(events(&pidfd), PollFlags::empty());
        ours.give();
        until("readable", || {
            (events(&pidfd) == PollFlags::IN).then_some(())
        });
        assert!(proc_fs::stat(child.pid()).expect("a zombie").is_zombie());
        assert!(child.wait().success());
        let mut reaped = PollFlags::IN;
        if kernel() >= (6, 9) {
            reaped |= PollFlags::HUP;
        }
        assert_eq!(events(&pidfd), reaped);
    });
}

// docs/kernel.md#fork-and-clone, docs/kernel.md#exec

/// What a waitid(2) that changes nothing says of a child: 0, or the error.
fn waits(child: Pid, option: i32) -> i32 {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | option;
    let id = child.as_raw_nonzero().get().unsigned_abs();
    // SAFETY: `info` has room for what is written.
    match unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) } {
        0 => 0,
        _ => last_error(),
    }
}

#[test]
fn child_without_an_exit_signal_is_found_by_a_plain_wait_once_it_has_executed() {
    alone!({
        let (gate, go) = pipe_with(PipeFlags::empty()).expect("pipe2");
        let gate = gate.as_raw_fd();
        let arguments = [c"sleep".as_ptr(), c"1000".as_ptr(), std::ptr::null()];
        // SAFETY: no flag, no stack, no pointer: a fork without an exit signal. The child makes
        // system calls alone, with memory that its copy has.
        let child = unsafe {
            let child = libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0);
            if child == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::read(gate, [0_u8].as_mut_ptr().cast(), 1);
                libc::execv(c"/bin/sleep".as_ptr(), arguments.as_ptr());
                libc::_exit(1);
            }
            child
        };
        let child = pid(i32::try_from(child).expect("a pid"));
        assert_eq!(waits(child, 0), libc::ECHILD);
        assert_eq!(waits(child, libc::__WALL), 0);
        rustix::io::write(&go, b".").expect("the child reads");
        until("found", || (waits(child, 0) == 0).then_some(()));
        kill_process(child, Signal::KILL).expect("own child");
        let null = std::ptr::null_mut();
        // SAFETY: no status is asked for.
        let reaped = unsafe { libc::waitpid(child.as_raw_nonzero().get(), null, 0) };
        assert_eq!(reaped, child.as_raw_nonzero().get());
    });
}

/// `PF_FORKNOEXEC` of include/linux/sched.h.
const FORKED_NO_EXEC: u64 = 0x40;

/// The flags of a zombie: field 9 of its line.
fn flags_of_zombie(number: i32) -> u64 {
    until("a zombie", || {
        proc_fs::stat(number)?.is_zombie().then_some(())
    });
    let line = fs::read_to_string(format!("/proc/{number}/stat")).expect("a zombie");
    let fields = &line[line.rfind(')').expect("a name") + 2..];
    let flags = fields.split(' ').nth(6).expect("field 9");
    flags.parse().expect("a number")
}

#[test]
fn zombie_says_whether_it_had_executed() {
    alone!({
        let copy = Fork::run(|| {
            let _ = poll(&mut [], None);
        });
        copy.signal(libc::SIGKILL);
        assert_ne!(flags_of_zombie(copy.pid()) & FORKED_NO_EXEC, 0);
        let mut program = Guard::spawn(Command::new("sleep").arg("1000"));
        program.kill().expect("own child");
        let number = program.id().cast_signed();
        assert_eq!(flags_of_zombie(number) & FORKED_NO_EXEC, 0);
    });
}

// docs/kernel.md#descriptors

#[test]
fn descriptor_that_is_duplicated_onto_itself_keeps_close_on_exec() {
    alone!({
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
        let (number, other) = (reader.as_raw_fd(), writer.as_raw_fd());
        // SAFETY: both numbers are owned here, and stay open under what names them.
        unsafe { assert_eq!(libc::dup2(number, number), number) };
        assert_eq!(fcntl_getfd(&reader), Ok(FdFlags::CLOEXEC));
        // SAFETY: as above; the write end becomes a second read end.
        unsafe { assert_eq!(libc::dup2(number, other), other) };
        assert_eq!(fcntl_getfd(&writer), Ok(FdFlags::empty()));
    });
}

// docs/kernel.md#epoll

#[test]
fn closed_descriptor_that_a_copy_holds_goes_on_making_events() {
    alone!({
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll_create1");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
        let data = epoll::EventData::new_u64(7);
        epoll::add(&instance, &reader, data, epoll::EventFlags::IN).expect("EPOLL_CTL_ADD");
        let copy = Fork::run(|| {
            let _ = poll(&mut [], None);
        });
        let number = reader.as_raw_fd();
        drop(reader);
        rustix::io::write(&writer, b".").expect("the copy holds the read end");
        assert!(has_event(&instance));
        let delete = libc::EPOLL_CTL_DEL;
        let null = std::ptr::null_mut();
        // SAFETY: EPOLL_CTL_DEL reads no event.
        let deleted = unsafe { libc::epoll_ctl(instance.as_raw_fd(), delete, number, null) };
        assert_eq!((deleted, last_error()), (-1, libc::EBADF));
        assert!(has_event(&instance));
        drop(copy);
        assert!(!has_event(&instance));
    });
}

#[test]
fn edge_that_was_told_comes_again_when_the_interest_is_set_anew() {
    let instance = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll_create1");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
    rustix::io::write(&writer, b".").expect("write");
    let (data, edge) = (epoll::EventData::new_u64(7), epoll::EventFlags::ET);
    let interest = epoll::EventFlags::IN | edge;
    let told = || {
        let mut events = Vec::with_capacity(1);
        let now = Some(&Timespec::default());
        epoll::wait(&instance, rustix::buffer::spare_capacity(&mut events), now)
    };
    epoll::add(&instance, &reader, data, interest).expect("EPOLL_CTL_ADD");
    assert_eq!((told(), told()), (Ok(1), Ok(0)));
    epoll::modify(&instance, &reader, data, interest).expect("EPOLL_CTL_MOD");
    assert_eq!((told(), told()), (Ok(1), Ok(0)));
}

#[test]
fn copy_that_deletes_a_descriptor_takes_it_out_of_its_parents_instance() {
    alone!({
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll_create1");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
        let data = epoll::EventData::new_u64(7);
        epoll::add(&instance, &reader, data, epoll::EventFlags::IN).expect("EPOLL_CTL_ADD");
        rustix::io::write(&writer, b".").expect("write");
        assert!(has_event(&instance));
        Fork::run(|| epoll::delete(&instance, &reader).expect("EPOLL_CTL_DEL")).succeeds();
        assert!(!has_event(&instance));
    });
}

// docs/kernel.md#futexes

/// An entry of a robust list, with the word that it stands for. `struct robust_list` of
/// include/uapi/linux/futex.h is its first field.
#[repr(C)]
struct Node {
    next: AtomicPtr<Node>,
    word: AtomicU32,
}

/// `struct robust_list_head` of include/uapi/linux/futex.h.
#[repr(C)]
struct Head {
    list: AtomicPtr<Node>,
    futex_offset: usize,
    pending: *const Node,
}

/// A thread that ends with so many words in its list, one of which has no owner. What became of
/// each.
fn words_of_a_dead_thread(count: usize, unowned: usize) -> Vec<u32> {
    let empty = || Node {
        next: AtomicPtr::new(std::ptr::null_mut()),
        word: AtomicU32::new(0),
    };
    let nodes: &'static [Node] = Vec::from_iter((0..count).map(|_| empty())).leak();
    let thread = std::thread::spawn(move || {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let head: &'static Head = Box::leak(Box::new(Head {
            list: AtomicPtr::new(std::ptr::from_ref(&nodes[0]).cast_mut()),
            futex_offset: offset_of!(Node, word) - offset_of!(Node, next),
            pending: std::ptr::null(),
        }));
        // A ring: the last one leads back to the head.
        let back = std::ptr::from_ref(&head.list).cast::<Node>();
        let behind = nodes[1..].iter().map(std::ptr::from_ref).chain([back]);
        for (index, (node, next)) in nodes.iter().zip(behind).enumerate() {
            // Relaxed: the kernel reads them at the end of this very thread.
            node.next.store(next.cast_mut(), Ordering::Relaxed);
            let owner = if index == unowned { 0 } else { own };
            node.word.store(owner.unsigned_abs(), Ordering::Relaxed);
        }
        // SAFETY: the list is complete, and stays for as long as this process does. It takes the
        // place of the C library's own, in which this thread has nothing.
        let set = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
        assert_eq!(set, 0, "set_robust_list: {}", last_error());
    });
    // The kernel walks the list before it tells who joins.
    thread.join().expect("ends");
    let words = nodes.iter();
    words
        .map(|node| node.word.load(Ordering::Relaxed))
        .collect()
}

#[test]
fn dying_thread_marks_the_words_that_it_owns_and_walks_no_more_than_2048() {
    let words = words_of_a_dead_thread(2_100, 7);
    for (index, word) in words.into_iter().enumerate() {
        let marked = word & libc::FUTEX_OWNER_DIED != 0;
        assert_eq!(
            marked,
            index < 2_048 && index != 7,
            "word {index}: {word:x}"
        );
    }
}

// docs/kernel.md#memory

#[test]
fn sealed_page_has_no_new_writable_mapping_and_keeps_the_old_one() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let page = memfd_create("page", flags).expect("memfd_create");
    ftruncate(&page, 4096).expect("ftruncate");
    let map = |access| {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        unsafe {
            mmap(
                std::ptr::null_mut(),
                4096,
                access,
                MapFlags::SHARED,
                &page,
                0,
            )
        }
    };
    let old = map(ProtFlags::READ | ProtFlags::WRITE).expect("mmap");
    fcntl_add_seals(&page, SealFlags::FUTURE_WRITE).expect("F_ADD_SEALS");
    assert_eq!(map(ProtFlags::READ | ProtFlags::WRITE), Err(Errno::PERM));
    assert_eq!(rustix::io::write(&page, b"x"), Err(Errno::PERM));
    let new = map(ProtFlags::READ).expect("mmap");
    // SAFETY: both mappings are a page long, and nobody else has them.
    unsafe {
        old.cast::<u8>().write_volatile(7);
        assert_eq!(new.cast::<u8>().read_volatile(), 7);
    }
}

// docs/kernel.md#pid-namespaces

#[test]
fn pid_1_lives_through_its_own_sigkill() {
    alone_in_pid_namespace!({
        assert_eq!(getpid().as_raw_nonzero().get(), 1);
        kill_process(getpid(), Signal::KILL).expect("the kernel drops it, and says nothing");
        kill_process(getpid(), Signal::TERM).expect("and this one: there is no handler");
    });
}

#[test]
fn no_thread_can_be_made_once_children_go_to_another_pid_namespace() {
    alone!({
        // SAFETY: plain number; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            eprintln!(
                "skipped: no PID namespace to be had here ({})",
                last_error()
            );
            return;
        }
        let refused = std::thread::Builder::new().spawn(|| ());
        let error = refused.expect_err("no thread");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    });
}

// docs/kernel.md#parent-death-signal

/// A child that has asked for SIGKILL at its parent's death, and then executes `sleep`.
fn sleeper_that_asks_for_the_signal(sleep: &Path, user: Option<u32>) -> Guard {
    let mut command = Command::new(sleep);
    command.arg("1000").stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user);
    }
    // SAFETY: one system call, without memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    Guard::spawn(&mut command)
}

/// What `make` makes on a thread that has ended since. This process lives.
fn made_by_a_dead_thread(make: impl FnOnce() -> [Guard; 2] + Send + 'static) -> [Guard; 2] {
    let (end, ends) = channel::<()>();
    let (say, said) = channel();
    let thread = std::thread::spawn(move || {
        say.send(make()).expect("listens");
        let _ = ends.recv();
    });
    let mut made = said.recv().expect("children");
    for child in &mut made {
        assert_eq!(child.try_wait().expect("own child"), None);
    }
    drop(end);
    thread.join().expect("ends");
    made
}

#[test]
fn parent_death_signal_comes_when_the_thread_that_spawned_ends() {
    let sleep = Path::new("/bin/sleep");
    let children =
        made_by_a_dead_thread(|| [(); 2].map(|()| sleeper_that_asks_for_the_signal(sleep, None)));
    for mut child in children {
        assert_eq!(child.wait_deadline().signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn parent_death_signal_is_lost_at_the_exec_of_a_setuid_program() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a program setuid root");
        return;
    }
    let folder = Folder::new();
    let [plain, setuid] = ["plain", "setuid"].map(|name| folder.join(name));
    for (path, mode) in [(&plain, 0o755), (&setuid, 0o4755)] {
        fs::copy("/bin/sleep", path).expect("copy");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let nobody = Some(65_534);
    let [mut one, mut other] = made_by_a_dead_thread(move || {
        [plain, setuid].map(|sleep| sleeper_that_asks_for_the_signal(&sleep, nobody))
    });
    // The kernel looks at all children of a thread that ends before it lets one of them go.
    assert_eq!(one.wait_deadline().signal(), Some(libc::SIGKILL));
    let status = fs::read_to_string(format!("/proc/{}/status", other.id())).expect("/proc");
    if status.contains("Uid:\t65534\t65534") {
        eprintln!("skipped: the folder for temporary files is mounted nosuid");
        return;
    }
    assert_eq!(other.try_wait().expect("own child"), None);
}

/// So a sleep that goes on with what is left never ends where a signal comes more often than that.
#[test]
fn what_is_left_of_a_sleep_that_a_signal_ended_has_the_timer_slack_in_it() {
    extern "C" fn nothing(_: libc::c_int) {}
    const SLACK: libc::c_ulong = 1_000_000_000;
    const SLEEP: i64 = 10_000_000;
    alone!({
        let nanoseconds = |value: i64| libc::timespec {
            tv_sec: value / 1_000_000_000,
            tv_nsec: value % 1_000_000_000,
        };
        let soon = libc::itimerval {
            it_interval: libc::timeval {
                tv_sec: 0,
                tv_usec: 0,
            },
            it_value: libc::timeval {
                tv_sec: 0,
                tv_usec: 1_000,
            },
        };
        let mut left = nanoseconds(0);
        // SAFETY: the handler does nothing, and the timers and times outlive the calls.
        let ended = unsafe {
            libc::signal(libc::SIGALRM, nothing as *const () as libc::sighandler_t);
            assert_eq!(libc::prctl(libc::PR_SET_TIMERSLACK, SLACK), 0);
            let none = std::ptr::null_mut();
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const soon, none), 0);
            let length = nanoseconds(SLEEP);
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &raw const length, &raw mut left)
        };
        assert_eq!(ended, libc::EINTR);
        let left = left.tv_sec * 1_000_000_000 + left.tv_nsec;
        assert!(left > SLEEP, "{left}");
    });
}
