//! From letting go of the write end to the child knowing it: `Keepalive`'s drop and
//! `Watchdog::wait`, beside close(2) and a poll(2) loop as one would write it in C. Same harness,
//! same run, turn by turn.
//!
//! Two child processes serve every round: each gets a fresh read end by SCM_RIGHTS, waits, and
//! reports the monotonic clock at the very moment it knows. The bar is a median of 1.15 times the
//! bare one.
//!
//! What would drown the difference is kept the same for both: the parent has one CPU and the
//! children another, so that it is not the scheduler's choice of place that is measured, and before
//! each round everybody has slept for longer than an idle CPU polls (haltpoll: 200 us), as a child
//! that is told after hours has.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::Criterion;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use watchdog_pipe::Watchdog;
use workspace_tests::fork::Fork;
use workspace_tests::samples::Samples;

const BAR: f64 = 1.15;
const OURS: &str = "keepalive and watchdog";
const BARE: &str = "close and poll";
/// How long everybody has been idle before something happens.
const IDLE: Duration = Duration::from_millis(1);

fn main() {
    let cpus = two_cpus();
    pin(cpus.map(|(_, children)| children));
    // Forked before anything else exists: neither child holds a write end or knows of the other.
    let mut ours = Peer::fork(|read| {
        let mut watchdog = Watchdog::from_fd(read).expect("adopt");
        move || {
            watchdog.wait().expect("wait");
            // Dropped with the closure, after the report.
        }
    });
    let mut bare = Peer::fork(|read| move || poll_until_hang_up(&read));
    pin(cpus.map(|(parent, _)| parent));
    let samples = RefCell::new(
        Samples::new("keepalive let go, until the child knows", "us").compare(OURS, BARE),
    );

    let mut criterion = Criterion::default().sample_size(50).configure_from_args();
    let mut group = criterion.benchmark_group("let go, child knows");
    // Each iteration is a turn of both, whichever of them is counted: whatever the machine does
    // meanwhile, it does to both.
    let mut turns = |count: u64, counted: fn(&Turn) -> u64| {
        let mut sum = 0;
        for _ in 0..count {
            let turn = Turn {
                ours: keepalive_round(&mut ours),
                bare: bare_round(&mut bare),
            };
            sum += counted(&turn);
            let mut samples = samples.borrow_mut();
            samples.push(OURS, turn.ours as f64 / 1e3);
            samples.push(BARE, turn.bare as f64 / 1e3);
        }
        Duration::from_nanos(sum)
    };
    group.bench_function(OURS, |bencher| {
        bencher.iter_custom(|count| turns(count, |turn| turn.ours));
    });
    group.bench_function(BARE, |bencher| {
        bencher.iter_custom(|count| turns(count, |turn| turn.bare));
    });
    group.finish();
    criterion.final_summary();
    conclude(&samples.into_inner());
}

/// Two that this process may run on; `None` where there is one.
fn two_cpus() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(None).expect("sched_getaffinity");
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    Some((cpus.next()?, cpus.next()?))
}

fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else {
        println!("one CPU only: nothing is pinned");
        return;
    };
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("sched_setaffinity");
}

/// One round of each, in nanoseconds.
struct Turn {
    ours: u64,
    bare: u64,
}

fn keepalive_round(peer: &mut Peer) -> u64 {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    peer.give(setup.fds().next().expect("one descriptor").0);
    drop(setup);
    peer.measure(|| drop(keepalive))
}

fn bare_round(peer: &mut Peer) -> u64 {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    peer.give(read.as_fd());
    drop(read);
    peer.measure(|| drop(write))
}

/// A child process and the socket to it.
struct Peer {
    socket: UnixStream,
    syscall: String,
    _fork: Fork,
}

impl Peer {
    /// `prepare` makes of a read end what waits for its end.
    fn fork<W: FnMut()>(prepare: impl Fn(OwnedFd) -> W) -> Peer {
        let mut pair = Some(UnixStream::pair().expect("socketpair"));
        let fork = Fork::run(|| {
            let (ours, mut socket) = pair.take().expect("the copies");
            drop(ours);
            while let Some(read) = receive(&socket) {
                let mut wait = prepare(read);
                socket.write_all(&[0]).expect("ready");
                wait();
                let report = now().to_ne_bytes();
                socket.write_all(&report).expect("report");
            }
        });
        let (socket, _) = pair.expect("the originals");
        Peer {
            socket,
            syscall: format!("/proc/{}/syscall", fork.pid()),
            _fork: fork,
        }
    }

    /// Hands it a read end and waits until it sleeps in poll.
    fn give(&mut self, read: BorrowedFd<'_>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [read];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(
            &self.socket,
            &[IoSlice::new(b".")],
            &mut control,
            SendFlags::empty(),
        )
        .expect("send");
        self.socket.read_exact(&mut [0]).expect("ready");
        workspace_tests::until("child sleeps in poll", || {
            let syscall = std::fs::read_to_string(&self.syscall).ok()?;
            let number = syscall.split(' ').next()?.parse().ok()?;
            [libc::SYS_poll, libc::SYS_ppoll]
                .contains(&number)
                .then_some(())
        });
    }

    /// Nanoseconds from before `let_go` to the child's report.
    fn measure(&mut self, let_go: impl FnOnce()) -> u64 {
        std::thread::sleep(IDLE);
        let start = now();
        let_go();
        let mut report = [0; 8];
        self.socket.read_exact(&mut report).expect("report");
        u64::from_ne_bytes(report).saturating_sub(start)
    }
}

fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )
    .expect("receive");
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

fn poll_until_hang_up(read: &OwnedFd) {
    let mut polled = libc::pollfd {
        fd: read.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    while polled.revents & libc::POLLHUP == 0 {
        // SAFETY: one valid pollfd, as the count says.
        unsafe { libc::poll(&raw mut polled, 1, -1) };
    }
}

/// CLOCK_MONOTONIC, which is the same in both processes.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Both medians beside the bar; the raw samples are kept.
fn conclude(samples: &Samples) {
    let (Some(ours), Some(bare)) = (samples.median(OURS), samples.median(BARE)) else {
        return;
    };
    let ratio = ours / bare;
    let verdict = if ratio <= BAR { "within" } else { "ABOVE" };
    samples.print();
    println!("ratio {ratio:.3}: {verdict} the bar of {BAR}");
    Samples::save(std::slice::from_ref(samples), "pollhup_latency").expect("keep the samples");
}
