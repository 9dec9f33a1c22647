//! Where an identity may be kept: every name, and no file that another user could have written.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use pidfd_watcher::{Process, Signal};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::getpid;
use shim_spawner::{IdentityErrorKind, ShimIdentity, ShimSpawner, Stage, StopPolicy};
use workspace_tests::identity_text::{field, sealed, spares, with_field};
use workspace_tests::{Folder, alone, until};

fn own() -> ShimIdentity {
    ShimIdentity::of(&Process::open(getpid()).expect("own process")).expect("identity")
}

fn kind(path: impl AsRef<Path>) -> IdentityErrorKind {
    ShimIdentity::load(path).expect_err("refused").kind
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root to give files away");
    }
    root
}

#[test]
fn every_legal_name_of_a_file_is_saved_and_loaded() {
    let folder = Folder::new();
    let longest = [b'x'; 255];
    let names: [&[u8]; 10] = [
        &longest,
        b"\n",
        b"two\nlines",
        b"\xff\xfe",
        b".hidden",
        b"...",
        b" ",
        b"-",
        b"%s",
        b"\\",
    ];
    let identity = own();
    for name in names {
        let path = folder.join(OsStr::from_bytes(name));
        identity.save(&path).expect("save");
        assert_eq!(ShimIdentity::load(&path).expect("load"), identity);
        fs::remove_file(&path).expect("it has that name");
        let shim = ShimSpawner::new("/bin/true").identity_file(&path).spawn();
        let shim = shim.expect("spawn");
        let saved = ShimIdentity::load(&path).expect("load");
        assert_eq!(saved.pid(), shim.child.pid());
        fs::remove_file(&path).expect("it has that name");
    }
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn path_that_ends_with_no_name_is_invalid_and_nothing_is_written() {
    let folder = Folder::new();
    let text = folder.path().to_str().expect("text");
    for path in [
        "",
        "/",
        ".",
        "..",
        &format!("{text}/"),
        &format!("{text}/name/"),
        &format!("{text}/."),
        &format!("{text}/.."),
        &format!("{text}/na\0me"),
    ] {
        let error = own().save(path).expect_err(path);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
        match kind(path) {
            IdentityErrorKind::Io(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            other => panic!("{path:?}: {other:?}"),
        }
        let failed = ShimSpawner::new("/bin/true").identity_file(path).spawn();
        let error = failed.expect_err(path);
        assert_eq!(error.stage(), Stage::IdentityFile, "{path:?}: {error}");
        assert_eq!(error.path(), Some(Path::new(path)));
    }
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn name_that_is_too_long_leaves_nothing_behind() {
    let folder = Folder::new();
    let path = folder.join("x".repeat(256));
    let error = own().save(&path).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    let failed = ShimSpawner::new("/bin/true").identity_file(&path).spawn();
    let error = failed.expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn leftover_of_a_dead_writer_is_removed_by_whoever_comes_next() {
    let folder = Folder::new();
    let path = folder.join("shim");
    own().save(&path).expect("save");
    let leave = || {
        for name in spares(b"shim") {
            fs::write(folder.join(name), "half an iden").expect("write");
        }
        // Another shim's, which is nobody's business here.
        fs::write(folder.join(&spares(b"other")[0]), "").expect("write");
    };
    let comes = [
        || own().save("shim").expect("save"),
        || {
            ShimIdentity::load("shim").expect("load");
        },
        || {
            let shim = ShimSpawner::new("/bin/true").identity_file("shim").spawn();
            drop(shim.expect("spawn"));
        },
    ];
    for (number, next) in comes.iter().enumerate() {
        leave();
        assert_eq!(folder.names().len(), 18);
        // Relative paths, in a process of its own folder.
        in_folder(folder.path(), next);
        let left = [spares(b"other")[0].clone(), "shim".to_owned()];
        assert_eq!(folder.names(), left, "way {number}");
    }
}

/// On a thread with a working directory of its own.
fn in_folder(folder: &Path, act: &(impl Fn() + Sync)) {
    thread::scope(|scope| {
        let act = scope.spawn(|| {
            // SAFETY: a plain number; concerns this thread alone, and allocates nothing.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FS) }, 0);
            std::env::set_current_dir(folder).expect("the folder");
            act();
        });
        act.join().expect("the thread");
    });
}

/// Children of other tests may hold the locks of this process for as long as they have not executed
/// anything.
fn is_swept(folder: &Folder) {
    until("nothing is left beside the identity", || {
        let _ = ShimIdentity::load(folder.join("shim"));
        (folder.names() == ["shim"]).then_some(())
    });
}

#[test]
fn file_of_a_writer_that_lives_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("shim");
    let held = folder.join(&spares(b"shim")[3]);
    let writer = File::create(&held).expect("create");
    flock(&writer, FlockOperation::LockExclusive).expect("lock");
    own().save(&path).expect("save");
    ShimIdentity::load(&path).expect("load");
    assert!(held.exists());
    // Once the writer is gone, it is a leftover.
    drop(writer);
    is_swept(&folder);
}

#[test]
fn seventeenth_writer_at_the_same_time_is_told_so() {
    let folder = Folder::new();
    let path = folder.join("shim");
    let writers: Vec<File> = spares(b"shim")
        .iter()
        .map(|name| {
            let file = File::create(folder.join(name)).expect("create");
            flock(&file, FlockOperation::LockExclusive).expect("lock");
            file
        })
        .collect();
    let error = own().save(&path).expect_err("no room");
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    let failed = ShimSpawner::new("/bin/true").identity_file(&path).spawn();
    let error = failed.expect_err("no room");
    let told = (error.stage(), error.raw_os_error());
    assert_eq!(told, (Stage::IdentityFile, Some(libc::EBUSY)));
    drop(writers);
    until("somebody gives way", || own().save(&path).ok());
    is_swept(&folder);
}

#[test]
fn writers_and_readers_of_one_path_never_meet_half_an_identity() {
    let folder = Folder::new();
    let path = folder.join("shim");
    let text = own().to_string();
    let identities: Vec<ShimIdentity> = (1..=6)
        .map(|pid: u32| with_field(&text, "pid", Some(&pid.to_string())))
        .map(|text| text.parse().expect("well-formed"))
        .collect();
    identities[0].save(&path).expect("save");
    thread::scope(|scope| {
        for identity in &identities {
            scope.spawn(|| {
                for _ in 0..100 {
                    identity.save(&path).expect("save");
                    let found = ShimIdentity::load(&path).expect("whole");
                    assert!(identities.contains(&found));
                }
            });
        }
    });
    assert_eq!(folder.names(), ["shim"]);
}

#[test]
fn file_that_another_user_could_have_written_is_refused_unless_asked_for() {
    let folder = Folder::new();
    let path = folder.join("shim");
    own().save(&path).expect("save");
    let modes = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    let refused = |in_folder, why: &str| {
        match kind(&path) {
            IdentityErrorKind::Untrusted { folder, .. } => assert_eq!(folder, in_folder, "{why}"),
            other => panic!("{why}: {other:?}"),
        }
        let asked = ShimIdentity::load_untrusted(&path);
        assert_eq!(asked.expect("asked for"), own(), "{why}");
    };
    let accepted = |why: &str| assert_eq!(ShimIdentity::load(&path).expect(why), own());

    for mode in [0o620, 0o602, 0o666] {
        modes(&path, mode).expect("chmod");
        refused(false, "others write to the file");
    }
    modes(&path, 0o644).expect("chmod");
    accepted("others read the file");
    for mode in [0o770, 0o707, 0o777] {
        modes(folder.path(), mode).expect("chmod");
        refused(true, "others write to the folder");
    }
    modes(folder.path(), 0o1777).expect("chmod");
    accepted("a folder as /tmp is");
    modes(folder.path(), 0o700).expect("chmod");
    accepted("a folder of our own");

    if !is_root() {
        return;
    }
    chown(&path, Some(1234), None).expect("chown");
    refused(false, "another user's file");
    chown(&path, Some(0), None).expect("chown");
    chown(folder.path(), Some(1234), None).expect("chown");
    refused(true, "another user's folder");
    // As another user sees the files of root, and its own.
    let text = path.clone();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
    chown(folder.path(), Some(0), None).expect("chown");
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: plain numbers; by number it concerns this thread alone.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, 1234, 1234, 1234) };
            assert_eq!(done, 0, "setresuid");
            accepted("of root");
        });
    });
    chown(&text, Some(1234), None).expect("chown");
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: as above.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, 1234, 1234, 1234) };
            assert_eq!(done, 0, "setresuid");
            accepted("our own");
        });
    });
}

#[test]
fn user_that_the_kernel_does_not_tell_is_trusted_with_nothing() {
    let folder = Folder::new();
    let path = folder.join("shim");
    own().save(&path).expect("save");
    alone!({
        // The call's own number on some 32-bit architectures is another.
        workspace_tests::seccomp::refuse(&[(libc::SYS_geteuid, libc::EPERM)]);
        match kind(&path) {
            IdentityErrorKind::Io(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let folder = Folder::new();
    let target = folder.join("target");
    own().save(&target).expect("save");
    let link = folder.join("link");
    symlink(&target, &link).expect("symlink");
    let pipe = folder.join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).expect("mkfifo");
    let socket = folder.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    for path in [&link, &pipe, &socket, &folder.path().to_owned()] {
        assert!(
            matches!(kind(path), IdentityErrorKind::NotAFile),
            "{path:?}"
        );
        let asked = ShimIdentity::load_untrusted(path).expect_err("no file");
        assert!(matches!(asked.kind, IdentityErrorKind::NotAFile));
        // Nor is it replaced.
        let failed = ShimSpawner::new("/bin/true").identity_file(path).spawn();
        let error = failed.expect_err("not ours to replace");
        assert_eq!(error.stage(), Stage::IdentityFile, "{error}");
        let cause = std::error::Error::source(&error).expect("a cause");
        let cause = cause.downcast_ref::<std::io::Error>().expect("an io error");
        assert_eq!(cause.kind(), ErrorKind::AlreadyExists);
    }
    // A link is replaced by save, and its target is not.
    fs::write(&target, "as it was").expect("write");
    own().save(&link).expect("save");
    assert_eq!(fs::read(&target).expect("read"), b"as it was");
    assert_eq!(ShimIdentity::load(&link).expect("load"), own());
}

#[test]
fn stop_policy_and_attachment_are_in_the_text_and_may_be_missing() {
    let policy = StopPolicy::new()
        .signal(Signal::USR1)
        .grace(Duration::new(7, 5));
    let folder = Folder::new();
    let path = folder.join("shim");
    for detached in [false, true] {
        let shim = ShimSpawner::new("/bin/true")
            .stop_policy(policy)
            .detached(detached)
            .identity_file(&path)
            .spawn()
            .expect("spawn");
        let saved = ShimIdentity::load(&path).expect("load");
        assert_eq!(saved.pid(), shim.child.pid());
        assert_eq!(saved.stop_policy(), Some(policy));
        assert_eq!(saved.is_attached(), Some(!detached));
        let text = saved.to_string();
        assert_eq!(field(&text, "stop-signal"), Some("10"));
        assert_eq!(field(&text, "stop-grace"), Some("7.000000005"));
        let attachment = if detached { "detached" } else { "attached" };
        assert_eq!(field(&text, "attachment"), Some(attachment));

        // As a file of before has it.
        let mut old = text;
        for name in ["stop-signal", "stop-grace", "attachment"] {
            old = with_field(&old, name, None);
        }
        let old: ShimIdentity = old.parse().expect("an old file");
        assert_eq!((old.stop_policy(), old.is_attached()), (None, None));
        assert_eq!(old.pid(), saved.pid());
        assert_eq!(own().stop_policy(), None);
    }
}

#[test]
fn damaged_stop_policy_is_named() {
    let lines = [
        "shim-identity 1",
        "pid 4711",
        "start-time 567890",
        "boot-id 268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe0",
        "pid-namespace 4026531836",
        "stop-signal 64",
        "stop-grace 18446744073709551615.999999999",
        "attachment attached",
    ];
    let whole = sealed(&lines);
    let identity: ShimIdentity = whole.parse().expect("well-formed");
    assert_eq!(identity.to_string(), whole);
    assert_eq!(
        identity.stop_policy().map(|policy| policy.grace_period()),
        Some(Duration::MAX)
    );
    for (name, value) in [
        ("stop-signal", "0"),
        ("stop-signal", "-9"),
        ("stop-signal", "65"),
        ("stop-signal", "33"), // the C library's
        ("stop-signal", "TERM"),
        ("stop-grace", "5"),
        ("stop-grace", "5.0"),
        ("stop-grace", "05.000000000"),
        ("stop-grace", "5.0000000000"),
        ("stop-grace", "5.+00000000"),
        ("stop-grace", "-5.000000000"),
        ("stop-grace", "18446744073709551616.000000000"),
        ("attachment", ""),
        ("attachment", "yes"),
    ] {
        let damaged: Result<ShimIdentity, _> = with_field(&whole, name, Some(value)).parse();
        let error = damaged.expect_err(value);
        assert!(
            matches!(error.kind, IdentityErrorKind::Invalid(_)),
            "{name} {value}: {error}"
        );
        assert_eq!(error.field(), Some(name));
    }
    for (gone, named) in [("stop-signal", "stop-signal"), ("stop-grace", "stop-grace")] {
        let half: Result<ShimIdentity, _> = with_field(&whole, gone, None).parse();
        assert_eq!(half.expect_err("half a policy").field(), Some(named));
    }
}

#[test]
fn file_larger_than_any_identity_is_not_replaced() {
    let folder = Folder::new();
    let path = folder.join("shim");
    let mut file = File::create(&path).expect("create");
    file.write_all(&[b'x'; 5000]).expect("write");
    assert!(matches!(kind(&path), IdentityErrorKind::TooLarge));
    let failed = ShimSpawner::new("/bin/true").identity_file(&path).spawn();
    failed.expect_err("not ours to replace");
    assert_eq!(fs::metadata(&path).expect("still there").len(), 5000);
}
