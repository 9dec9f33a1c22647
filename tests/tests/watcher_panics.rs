//! A panic in what is not ours ends there, is reported, and costs nobody else anything.

use std::os::fd::AsRawFd;
use std::panic::panic_any;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};

use pidfd_watcher::{Builder, Cancelled, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, fd_table, time_limit};

fn dead() -> Held {
    let child = Held::new();
    child.kill();
    child.process().wait().expect("own child");
    child
}

type Panicked = (i32, Option<String>, String);

/// A watcher whose reports are heard.
fn reporting() -> (Watcher, Receiver<Panicked>) {
    let (tell, told) = channel();
    let builder = Builder::new().on_panic(move |report| {
        let pid = report.pid.as_raw_nonzero().get();
        let _ = tell.send((pid, report.message.map(str::to_owned), report.to_string()));
    });
    (builder.build().expect("watcher"), told)
}

#[track_caller]
fn heard(reports: &Receiver<Panicked>, pid: i32, message: Option<&str>) {
    let (whose, what, text) = reports.recv_timeout(time_limit()).expect("a report");
    assert_eq!((whose, what.as_deref()), (pid, message));
    assert!(
        text.contains(&pid.to_string()) && text.contains(message.unwrap_or("")),
        "{text}"
    );
}

struct PanicsWhenDropped(&'static str);

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn callback_that_panics_is_reported_and_the_others_run() {
    let (watcher, reports) = reporting();
    let (child, other) = (Held::new(), Held::new());
    let (before, _) = Told::by(&watcher, child.process());
    let handle = watcher
        .watch(child.process(), |_| panic!("as planned"))
        .expect("watch");
    watcher
        .watch(child.process(), |exit| panic!("of {}", exit.pid))
        .expect("watch");
    watcher
        .watch(child.process(), |_| panic_any(7_u8))
        .expect("watch");
    let (after, _) = Told::by(&watcher, child.process());
    let (elsewhere, _) = Told::by(&watcher, other.process());
    child.exit(1);
    other.exit(2);
    heard(&reports, child.pid(), Some("as planned"));
    heard(&reports, child.pid(), Some(&format!("of {}", child.pid())));
    heard(&reports, child.pid(), None);
    assert_eq!(
        [before.code(), after.code(), elsewhere.code()],
        [looked_at(1), looked_at(1), looked_at(2)]
    );
    // A callback that panicked has run.
    assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
    assert_eq!(Told::by(&watcher, other.process()).0.code(), looked_at(2));
}

#[test]
fn captures_that_panic_when_dropped_are_reported_wherever_that_is() {
    let (watcher, reports) = reporting();
    let (child, gone) = (Held::new(), dead());

    // After the callback ran.
    let bomb = PanicsWhenDropped("after the run");
    watcher
        .watch(gone.process(), move |_| drop(bomb))
        .expect("watch");
    heard(&reports, gone.pid(), Some("after the run"));

    // On the thread that cancels, which sees nothing of it.
    let bomb = PanicsWhenDropped("cancelled");
    let handle = watcher
        .watch(child.process(), move |_| drop(bomb))
        .expect("watch");
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    heard(&reports, child.pid(), Some("cancelled"));

    // With the last watcher: all of them.
    let (plain, plain_handle) = Told::by(&watcher, child.process());
    for what in ["one", "two"] {
        let bomb = PanicsWhenDropped(what);
        watcher
            .watch(child.process(), move |_| drop(bomb))
            .expect("watch");
    }
    let (last, _) = Told::by(&watcher, child.process());
    drop(watcher);
    heard(&reports, child.pid(), Some("one"));
    heard(&reports, child.pid(), Some("two"));
    plain.was_dropped();
    last.was_dropped();
    assert_eq!(plain_handle.cancel(), Cancelled::Prevented);
}

#[test]
fn payload_that_panics_when_dropped_goes_no_further() {
    let (watcher, reports) = reporting();
    let child = dead();
    watcher
        .watch(child.process(), |_| panic_any(PanicsWhenDropped("payload")))
        .expect("watch");
    heard(&reports, child.pid(), None);
    Told::by(&watcher, child.process()).0.exit();
}

#[test]
fn hook_that_panics_is_not_asked_again_and_goes_no_further() {
    let (tell, told) = channel();
    let watcher = Builder::new().on_panic(move |report| {
        let _ = tell.send(report.pid);
        panic_any(PanicsWhenDropped("the hook's own"));
    });
    let watcher = watcher.build().expect("watcher");
    let child = Held::new();
    watcher
        .watch(child.process(), |_| panic!("as planned"))
        .expect("watch");
    let (after, _) = Told::by(&watcher, child.process());
    child.exit(3);
    assert_eq!(told.recv_timeout(time_limit()), Ok(child.process().pid()));
    assert_eq!(after.code(), looked_at(3));
    assert!(told.try_recv().is_err(), "asked once");
    // On a cancelling thread too.
    let living = Held::new();
    let bomb = PanicsWhenDropped("cancelled");
    let handle = watcher
        .watch(living.process(), move |_| drop(bomb))
        .expect("watch");
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    assert_eq!(told.recv_timeout(time_limit()), Ok(living.process().pid()));
}

/// Panics when it is woken.
struct Alarm;

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        panic!("woken");
    }
}

#[test]
fn waker_that_panics_is_reported_and_the_future_is_ready_all_the_same() {
    let (watcher, reports) = reporting();
    let child = Held::new();
    let mut future = pin!(watcher.exited(child.process()));
    let waker = Waker::from(Arc::new(Alarm));
    assert!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (after, _) = Told::by(&watcher, child.process());
    child.exit(4);
    heard(&reports, child.pid(), Some("woken"));
    assert_eq!(after.code(), looked_at(4));
    let Poll::Ready(Ok(exit)) = future.poll(&mut Context::from_waker(&waker)) else {
        panic!("not ready");
    };
    assert_eq!(exit.status.and_then(|status| status.code()), looked_at(4));
}

#[test]
fn waker_that_panics_when_the_last_watcher_goes_is_reported() {
    let (watcher, reports) = reporting();
    let child = Held::new();
    let mut future = pin!(watcher.exited(child.process()));
    let waker = Waker::from(Arc::new(Alarm));
    assert!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(watcher);
    heard(&reports, child.pid(), Some("woken"));
    let Poll::Ready(Err(pidfd_watcher::Error::ShutDown)) =
        future.poll(&mut Context::from_waker(&waker))
    else {
        panic!("not shut down");
    };
}

/// One callback panics, under the default report; the next one runs.
fn panics() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    watcher
        .watch(child.process(), |_| panic!("as planned"))
        .expect("watch");
    let (after, _) = Told::by(&watcher, child.process());
    child.exit(6);
    assert_eq!(after.code(), looked_at(6));
}

#[test]
fn without_a_hook_a_panic_is_a_line_on_standard_error() {
    alone!({
        let said = fd_table::file();
        let stderr = rustix::io::dup(std::io::stderr()).expect("dup");
        rustix::stdio::dup2_stderr(&said).expect("dup2");
        panics();
        rustix::stdio::dup2_stderr(&stderr).expect("dup2");
        let said = std::fs::read_to_string(format!("/proc/self/fd/{}", said.as_raw_fd()));
        let said = said.expect("text");
        let lines = said
            .lines()
            .filter(|line| line.starts_with("pidfd-watcher: "))
            .count();
        assert_eq!(lines, 1, "{said}");
        assert!(said.contains("panicked: as planned"), "{said}");
    });
}

/// Standard error that takes nothing, and none: a report that cannot be written is not a panic of
/// its own.
#[test]
fn without_standard_error_a_panic_is_contained_all_the_same() {
    alone!({
        static PANICS: AtomicUsize = AtomicUsize::new(0);
        std::panic::set_hook(Box::new(|_| {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }));
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("open");
        // SAFETY: nothing in this process owns the number, here and below.
        assert_eq!(unsafe { libc::dup2(full.as_raw_fd(), 2) }, 2);
        panics();
        // SAFETY: as above.
        unsafe { libc::close(2) };
        panics();
        assert_eq!(PANICS.load(Ordering::Relaxed), 2);
    });
}
