//! A child whose page is not as its parent made it.

use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use watchdog_pipe::{AdoptError, Guarantees, Keepalive, Verdict, Watchdog};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::halt::Halt;
use workspace_tests::{alone, proc_fs};

use super::given::{Given, sockets};
use super::take_in_orphans;

/// A link, and in its child the page replaced by `page`, under the page's own name in the variable.
fn adopt_with(
    page: OwnedFd,
    change: impl Fn(&str, u64, u64) -> String,
) -> Result<Guarantees, AdoptError> {
    let adopted = adopt_after(drop, page, change);
    adopted.map(|watchdog| watchdog.guarantees())
}

/// The same, the keepalive having been let go of in some way.
fn adopt_after(
    end: impl FnOnce(Keepalive),
    page: OwnedFd,
    change: impl Fn(&str, u64, u64) -> String,
) -> Result<Watchdog, AdoptError> {
    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
    let mut given = Given::of(&mut setup);
    end(keepalive);
    drop(setup);
    let stat = rustix::fs::fstat(&page).expect("fstat");
    let (before, rest) = given
        .variable
        .split_once(",sentinel=901:")
        .expect("a sentinel");
    let fields: Vec<&str> = rest.split(':').collect();
    given.variable = format!(
        "{before},sentinel={}",
        change(fields[3], stat.st_dev, stat.st_ino)
    );
    given.fds[1] = page;
    given.adopt()
}

/// The parent said why, and died before it gave the word back: both are there, whichever came
/// first.
// A drop or a release that the death overtook: the word on the pipe is the reason.
#[test]
fn what_was_said_before_the_death_counts_more_than_the_death() {
    alone!({
        take_in_orphans();
        let dead = || {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let page = memfd_create("page", flags).expect("memfd_create");
            ftruncate(&page, 4096).expect("ftruncate");
            let word = (libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED).to_ne_bytes();
            rustix::io::write(&page, &[word, 1_u32.to_ne_bytes()].concat()).expect("write");
            let all =
                SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            fcntl_add_seals(&page, all).expect("F_ADD_SEALS");
            page
        };
        let first = |_: &str, device, inode| format!("901:{device}:{inode}:0:1");
        let release = |keepalive: Keepalive| assert!(keepalive.release().is_ok());
        let without_a_word = |keepalive: Keepalive| drop(keepalive.hand_over().expect("hand over"));
        let told = |mut watchdog: Watchdog| watchdog.try_wait().expect("look");
        Fork::run(|| {
            let watchdog = adopt_after(drop, dead(), first).expect("adopt");
            assert_eq!(told(watchdog), Some(Verdict::KeepaliveDropped));
        })
        .succeeds();
        Fork::run(|| {
            let watchdog = adopt_after(release, dead(), first).expect("adopt");
            assert_eq!(told(watchdog), Some(Verdict::Released));
        })
        .succeeds();
        Fork::run(|| {
            let watchdog = adopt_after(without_a_word, dead(), first).expect("adopt");
            assert_eq!(told(watchdog), Some(Verdict::ParentExited));
        })
        .succeeds();
    });
}

/// The parent drops the keepalive and dies after a child has read the pipe, and before that child
/// is done with looking: it has to look at the word first, or it would find the death and not what
/// was said before.
#[test]
fn what_is_said_while_the_child_looks_counts_more_than_the_death_behind_it() {
    alone!({
        take_in_orphans();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let page = memfd_create("page", flags).expect("memfd_create");
        ftruncate(&page, 4096).expect("ftruncate");
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, never undone, of a file that
        // nobody cuts; zeroed, and written to by atomics alone.
        let (word, link) = unsafe {
            let start = mmap(ptr::null_mut(), 4096, access, MapFlags::SHARED, &page, 0);
            let start = start.expect("mmap").cast::<AtomicU32>();
            (&*start, &*start.add(1))
        };
        word.store(1 | libc::FUTEX_WAITERS, Ordering::Release);
        link.store(1, Ordering::Release);
        let all = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&page, all).expect("F_ADD_SEALS");

        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let parent = Fork::run(|| {
            let keepalive = Given::send_link(&theirs);
            gone.take();
            drop(keepalive);
            gone.give();
        });
        let mut given = Given::receive(&ours);
        let stat = rustix::fs::fstat(&page).expect("fstat");
        let (before, _) = given.variable.split_once(",sentinel=").expect("a sentinel");
        given.variable = format!("{before},sentinel=901:{}:{}:0:1", stat.st_dev, stat.st_ino);
        given.fds[1] = page;
        let mut given = Some(given);
        Fork::run(|| {
            let mut watchdog = given.take().expect("the copy").adopt_whole();
            std::thread::scope(|scope| {
                let (give, take) = sync_channel(1);
                scope.spawn(move || {
                    let halt: Halt = take.into_iter().next().expect("a halt");
                    let read = halt.next().expect("the pipe is read");
                    go.give();
                    go.take();
                    word.store(
                        libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED,
                        Ordering::Release,
                    );
                    // As the kernel would have answered before.
                    read.fail(libc::EAGAIN);
                    while let Some(call) = halt.next() {
                        call.go_on();
                    }
                });
                scope.spawn(move || {
                    give.send(Halt::at(&[libc::SYS_read])).expect("give");
                    assert_eq!(watchdog.try_wait().expect("look"), None);
                    let told = watchdog.try_wait().expect("look");
                    assert_eq!(told, Some(Verdict::KeepaliveDropped));
                });
            });
        })
        .succeeds();
        parent.succeeds();
    });
}

fn page(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let page = memfd_create("page", flags).expect("memfd_create");
    ftruncate(&page, size).expect("ftruncate");
    fcntl_add_seals(&page, seals).expect("F_ADD_SEALS");
    page
}

#[test]
fn page_that_is_not_as_a_parent_makes_it_is_refused() {
    alone!({
        take_in_orphans();
        let all = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let at = |offset: &'static str| {
            move |_: &str, device, inode| format!("901:{device}:{inode}:{offset}:1")
        };
        let cases: [(u64, SealFlags, &'static str); 7] = [
            (4096, SealFlags::empty(), "0"),
            (4096, all - SealFlags::FUTURE_WRITE, "0"),
            (4096, all - SealFlags::SHRINK, "0"),
            (4096, all, "4"),
            (4096, all, "4096"),
            (0, all, "0"),
            (4096, all, "18446744073709551608"),
        ];
        for (size, seals, offset) in cases {
            eprintln!("{size} {seals:?} {offset}");
            Fork::run(|| {
                let error = adopt_with(page(size, seals), at(offset)).expect_err("adopted it");
                assert!(
                    matches!(error, AdoptError::DamagedPage { fd: 901 }),
                    "{error:?}"
                );
                // Neither claimed nor closed: the same error once more, not another one.
                // SAFETY: nothing owns the numbers.
                let again = unsafe { Watchdog::from_env() }
                    .map(drop)
                    .expect_err("adopted it");
                assert!(
                    matches!(again, AdoptError::DamagedPage { fd: 901 }),
                    "{again:?}"
                );
            })
            .succeeds();
        }
        // The control: a page as a parent makes it, whose word is nobody's.
        Fork::run(|| {
            let guarantees = adopt_with(page(4096, all), at("8")).expect("adopt");
            assert_eq!(guarantees, Guarantees::END_IS_TOLD);
        })
        .succeeds();
    });
}

/// What merely lies on the number is nobody's business, and stays open.
#[test]
fn number_that_is_not_the_page_is_left_alone() {
    alone!({
        take_in_orphans();
        let null = || -> OwnedFd { std::fs::File::open("/dev/null").expect("open").into() };
        Fork::run(|| {
            let elsewhere = |_: &str, device, inode: u64| format!("901:{device}:{}:0:1", inode + 1);
            let guarantees = adopt_with(null(), elsewhere).expect("adopt");
            assert_eq!(guarantees, Guarantees::END_IS_TOLD);
            assert_eq!(
                proc_fs::own_fds().get(&901).map(String::as_str),
                Some("/dev/null")
            );
        })
        .succeeds();
        Fork::run(|| {
            // Closed.
            let nowhere = |_: &str, device, inode| format!("902:{device}:{inode}:0:1");
            let guarantees = adopt_with(null(), nowhere).expect("adopt");
            assert_eq!(guarantees, Guarantees::END_IS_TOLD);
        })
        .succeeds();
    });
}

/// How large the mappings of the sentinel's page are here, and how much of them the kernel has put
/// memory behind, in KiB.
fn mapped() -> [u64; 2] {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut of_the_page = false;
    let mut sums = [0; 2];
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().expect("a word");
        // Of a mapping's lines the first alone begins with no name of a field.
        if !first.ends_with(':') {
            of_the_page = line.contains("watchdog-sentinel");
        }
        let field = ["Size:", "Rss:"].iter().position(|field| *field == first);
        if let Some(field) = field.filter(|_| of_the_page) {
            let size = words.next().expect("a size");
            sums[field] += size.parse::<u64>().expect("a number");
        }
    }
    sums
}

/// Nothing has to be found while the process dies, and no later link waits for memory.
#[test]
fn memory_of_every_word_is_there_before_the_first_is_used() {
    alone!({
        take_in_orphans();
        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            // Eight bytes a word, as many words as the kernel walks.
            assert_eq!(mapped(), [16, 16]);
            Given::send(&theirs, &mut setup);
            gone.take();
        });
        let mut given = Some(Given::receive(&ours));
        Fork::run(|| {
            let _watchdog = given.take().expect("the copy").adopt_whole();
            let [size, there] = mapped();
            assert!(size > 0 && size == there, "{there} of {size} KiB");
        })
        .succeeds();
        go.give();
        parent.succeeds();
    });
}
