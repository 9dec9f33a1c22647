//! A saved identity: whole or refused, the old one or the new one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pidfd_watcher::Process;
use proptest::prelude::*;
use rustix::process::getpid;
use shim_spawner::{IdentityError, IdentityErrorKind, ShimIdentity};
use workspace_tests::identity_text::{sealed, with_field};
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Folder, Guard, time_limit};

const BOOT: &str = "boot-id 268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe0";

const LINES: [&str; 6] = [
    "shim-identity 1",
    "pid 4711",
    "start-time 567890",
    BOOT,
    "pid-namespace 4026531836",
    "pidfs-inode 3589",
];

fn sample() -> ShimIdentity {
    sealed(&LINES).parse().expect("a sealed identity")
}

fn own() -> ShimIdentity {
    ShimIdentity::of(&Process::open(getpid()).expect("own process")).expect("identity")
}

/// The error that `bytes` in a file give, which names that file.
fn refused(folder: &Folder, bytes: &[u8]) -> IdentityErrorKind {
    fs::write(folder.join("shim"), bytes).expect("write");
    let error = ShimIdentity::load(folder.join("shim")).expect_err("damaged");
    assert_eq!(error.path.as_deref(), Some(&*folder.join("shim")));
    assert!(
        error
            .to_string()
            .contains(folder.join("shim").to_str().expect("text")),
        "{error}"
    );
    error.kind
}

fn parse(text: &str) -> Result<ShimIdentity, IdentityError> {
    text.parse()
}

#[test]
fn what_was_saved_is_loaded() {
    let folder = Folder::new();
    for identity in [own(), sample()] {
        identity.save(folder.join("shim")).expect("save");
        assert_eq!(
            ShimIdentity::load(folder.join("shim")).expect("load"),
            identity
        );
        assert_eq!(
            fs::read_to_string(folder.join("shim")).expect("text"),
            identity.to_string()
        );
        assert_eq!(parse(&identity.to_string()).expect("parse"), identity);
    }
    assert_eq!(folder.names(), ["shim"], "nothing is left beside it");
    let mode = fs::metadata(folder.join("shim"))
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn text_is_the_documented_one() {
    assert_eq!(sample().to_string(), sealed(&LINES));
    assert_eq!(sample().pid().as_raw_nonzero().get(), 4711);
    assert!(sample().proven());
    let unproven = parse(&sealed(&LINES[..5])).expect("without an inode");
    assert!(!unproven.proven());
    assert_eq!(unproven.to_string(), sealed(&LINES[..5]));
}

#[test]
fn every_other_value_of_every_byte_is_noticed() {
    let folder = Folder::new();
    let text = sample().to_string().into_bytes();
    for at in 0..text.len() {
        let mut damaged = text.clone();
        for value in (0..=255).filter(|&value| value != text[at]) {
            damaged[at] = value;
            // What is no UTF-8 can only come from a file.
            if let Ok(damaged) = std::str::from_utf8(&damaged) {
                assert!(parse(damaged).is_err(), "byte {at} = {value}: {damaged:?}");
            } else if value % 16 == 15 {
                refused(&folder, &damaged);
            }
        }
    }
}

#[test]
fn file_that_was_cut_off_is_refused_at_every_length() {
    let folder = Folder::new();
    let text = sample().to_string();
    for length in 0..text.len() {
        let kind = refused(&folder, &text.as_bytes()[..length]);
        match kind {
            IdentityErrorKind::NotAnIdentity => assert!(length < "shim-identity ".len()),
            IdentityErrorKind::Truncated => {}
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn anything_after_the_checksum_is_refused() {
    let folder = Folder::new();
    for tail in ["\n", " ", "x", "pid 1\n", "checksum 0\n", "\0"] {
        let text = sample().to_string() + tail;
        let kind = refused(&folder, text.as_bytes());
        assert!(
            matches!(kind, IdentityErrorKind::TrailingData),
            "{tail:?}: {kind:?}"
        );
    }
}

#[test]
fn other_version_is_named() {
    for version in ["0", "2", "10", "01", "", "one", " 1"] {
        let mut lines = LINES;
        let first = format!("shim-identity {version}");
        lines[0] = &first;
        match parse(&sealed(&lines)).map_err(|error| error.kind) {
            Err(IdentityErrorKind::Version(found)) => assert_eq!(found, version),
            other => panic!("{version:?}: {other:?}"),
        }
    }
}

#[test]
fn field_that_a_later_writer_adds_is_passed_over() {
    let mut lines = LINES.to_vec();
    lines.insert(2, "cgroup /a b/c");
    lines.push("colour");
    assert_eq!(parse(&sealed(&lines)).expect("version 1"), sample());
    lines.swap(1, 4);
    assert_eq!(parse(&sealed(&lines)).expect("any order"), sample());
}

#[test]
fn missing_or_repeated_field_is_named() {
    let text = sample().to_string();
    for field in ["pid", "start-time", "boot-id", "pid-namespace"] {
        let error = parse(&with_field(&text, field, None)).expect_err("missing");
        assert!(
            matches!(error.kind, IdentityErrorKind::Missing(_)),
            "{error}"
        );
        assert_eq!(error.field(), Some(field));
    }
    for again in &LINES[1..] {
        let mut lines = LINES.to_vec();
        lines.push(again);
        let error = parse(&sealed(&lines)).expect_err("repeated");
        assert!(
            matches!(error.kind, IdentityErrorKind::Duplicate(_)),
            "{error}"
        );
        assert_eq!(error.field(), again.split(' ').next());
    }
}

#[test]
fn field_without_a_valid_value_is_named() {
    let text = sample().to_string();
    let no_number = [
        "",
        "-1",
        "+1",
        "01",
        "1 ",
        " 1",
        "0x1",
        "18446744073709551616",
        "1\r",
    ];
    for field in ["start-time", "pid-namespace", "pidfs-inode", "pid"] {
        for value in no_number {
            let error = parse(&with_field(&text, field, Some(value))).expect_err(value);
            assert!(
                matches!(error.kind, IdentityErrorKind::Invalid(_)),
                "{field} {value}: {error}"
            );
            assert_eq!(error.field(), Some(field));
        }
    }
    for (field, value) in [
        ("pid", "0"),
        ("pid", "2147483648"),
        ("boot-id", "268429EF-c8c2-4b1e-b0e1-ed5cf45ddbe0"),
        ("boot-id", "268429efc8c24b1eb0e1ed5cf45ddbe0"),
    ] {
        let error = parse(&with_field(&text, field, Some(value))).expect_err(value);
        assert!(
            matches!(error.kind, IdentityErrorKind::Invalid(_)),
            "{error}"
        );
        assert_eq!(error.field(), Some(field));
    }
}

#[test]
fn what_is_no_identity_file_is_told_apart() {
    let folder = Folder::new();
    let load = |path: &Path| ShimIdentity::load(path).expect_err("no identity").kind;
    match load(&folder.join("shim")) {
        IdentityErrorKind::Io(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    assert!(matches!(load(folder.path()), IdentityErrorKind::NotAFile));
    assert!(matches!(
        load(Path::new("/dev/zero")),
        IdentityErrorKind::NotAFile
    ));
    // A pipe that nobody writes to: opening it must not block.
    let pipe = folder.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("mkfifo");
    assert!(matches!(load(&pipe), IdentityErrorKind::NotAFile));
    assert!(matches!(
        refused(&folder, b"4711\n"),
        IdentityErrorKind::NotAnIdentity
    ));
    assert!(matches!(
        refused(&folder, b""),
        IdentityErrorKind::NotAnIdentity
    ));
}

#[test]
fn file_larger_than_any_identity_is_not_read_to_its_end() {
    let folder = Folder::new();
    let mut text = sample().to_string();
    text.push_str(&"\n".repeat(4097 - text.len()));
    assert!(matches!(
        refused(&folder, text.as_bytes()),
        IdentityErrorKind::TooLarge
    ));
    text.pop();
    assert!(matches!(
        refused(&folder, text.as_bytes()),
        IdentityErrorKind::TrailingData
    ));
    // A sparse file that would not fit into memory.
    let huge = fs::File::create(folder.join("shim")).expect("create");
    huge.set_len(1 << 40).expect("sparse");
    let kind = ShimIdentity::load(folder.join("shim"))
        .expect_err("huge")
        .kind;
    assert!(matches!(kind, IdentityErrorKind::TooLarge), "{kind:?}");
}

#[test]
fn failed_save_leaves_the_old_file_and_nothing_beside_it() {
    let folder = Folder::new();
    sample().save(folder.join("shim")).expect("save");
    let mut writer = Guard::spawn(
        Command::new(env!("CARGO_BIN_EXE_proc_identity")).arg(
            Order::SaveAtLimit {
                path: folder.join("shim"),
                identity: own().to_string(),
            }
            .argument(),
        ),
    );
    assert!(writer.wait_deadline().success());
    assert_eq!(
        ShimIdentity::load(folder.join("shim")).expect("the old one"),
        sample()
    );
    assert_eq!(folder.names(), ["shim"]);

    // A folder cannot be replaced by a file.
    fs::remove_file(folder.join("shim")).expect("remove");
    fs::create_dir(folder.join("shim")).expect("folder");
    sample()
        .save(folder.join("shim"))
        .expect_err("a folder is there");
    assert_eq!(folder.names(), ["shim"]);
    sample()
        .save(folder.join("none/shim"))
        .expect_err("no such folder");
    sample().save(Path::new("/")).expect_err("no file name");
    sample().save(Path::new("")).expect_err("no file name");
}

#[test]
fn writer_killed_at_any_instant_leaves_the_old_file_or_the_new_one() {
    let folder = Folder::new();
    let (one, two) = (sample(), own());
    one.save(folder.join("shim")).expect("save");
    // A reader finds one of the two, whole, each time.
    let found = || {
        let found = ShimIdentity::load(folder.join("shim")).expect("whole");
        assert!(found == one || found == two);
        found
    };
    for round in 0..60 {
        let mut writer = Dialogue::spawn(
            Command::new(env!("CARGO_BIN_EXE_proc_identity")).arg(
                Order::SaveForEver {
                    path: folder.join("shim"),
                    identities: [one.to_string(), two.to_string()],
                }
                .argument(),
            ),
        );
        assert_eq!(writer.hear(), "saving");
        // It is in the midst of it once both were seen.
        for identity in [&two, &one] {
            let deadline = Instant::now() + time_limit();
            while found() != *identity {
                assert!(Instant::now() < deadline, "deadline passed: writer saves");
            }
        }
        // Spreads the instant of the kill over a save or two; nothing is proved by the length.
        let kill = Instant::now() + Duration::from_micros(round * 137 % 5000);
        while Instant::now() < kill {
            found();
        }
        writer.child().kill().expect("kill");
        writer.child().wait_deadline();
        found();
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_identity_or_a_typed_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..600)
    ) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_edit_of_an_identity_is_refused_or_changes_nothing(
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<char>(), 0..3u8),
            1..6
        )
    ) {
        let text = sample().to_string();
        let mut chars: Vec<char> = text.chars().collect();
        for (index, char, kind) in edits {
            let at = index.index(chars.len());
            match kind {
                0 => chars[at] = char,
                1 => chars.insert(at, char),
                _ => { chars.remove(at); }
            }
        }
        let edited: String = chars.into_iter().collect();
        match parse(&edited) {
            Ok(identity) => prop_assert_eq!(identity.to_string(), edited),
            Err(error) => prop_assert!(error.path.is_none()),
        }
    }

    #[test]
    fn any_sealed_lines_give_an_identity_or_a_typed_error(
        lines in proptest::collection::vec(
            "(pid|start-time|boot-id|pid-namespace|pidfs-inode|other|)( [0-9a-f-]{0,40})?", 0..8)
    ) {
        let mut all = vec!["shim-identity 1"];
        all.extend(lines.iter().map(String::as_str));
        let _ = parse(&sealed(&all));
    }

    #[test]
    fn every_identity_is_read_as_it_was_written(
        pid in 1..=i32::MAX, start in any::<u64>(), boot in any::<[u8; 16]>(),
        namespace in any::<u64>(), inode in any::<Option<u64>>()
    ) {
        let hex: String = boot.iter().map(|byte| format!("{byte:02x}")).collect();
        let boot = format!(
            "boot-id {}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]
        );
        let mut lines = vec![
            "shim-identity 1".to_owned(), format!("pid {pid}"), format!("start-time {start}"), boot,
            format!("pid-namespace {namespace}"),
        ];
        lines.extend(inode.map(|inode| format!("pidfs-inode {inode}")));
        let text = sealed(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let identity = parse(&text).expect("well-formed");
        prop_assert_eq!(identity.proven(), inode.is_some());
        prop_assert_eq!(identity.to_string(), text);
    }
}
