//! An environment that std accepts is accepted, and means the same. Whatever this process inherited
//! and the caller changes, a shim and a child of std's `Command` see the same.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio as StdStdio};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use shim_spawner::{Engine, ShimSpawner, Stage, Stdio};
use workspace_tests::{Folder, alone};

/// A change, as the caller makes it.
#[derive(Clone, Debug)]
enum Change {
    Set(&'static [u8], Vec<u8>),
    Remove(&'static [u8]),
    Clear,
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Makes `variables` the environment of this process, as an exec would: nothing checks them.
fn inherit(variables: &[Vec<u8>]) {
    unsafe extern "C" {
        static mut environ: *const *const c_char;
    }
    let strings = variables.iter().map(|text| {
        let text = CString::new(text.as_slice()).expect("no NUL");
        text.into_raw().cast_const()
    });
    let array: Vec<*const c_char> = strings.chain([std::ptr::null()]).collect();
    // SAFETY: this process has one thread; strings and array are never freed.
    unsafe { environ = array.leak().as_ptr() };
}

/// The same for both: `changes` in their order.
fn change(command: &mut Command, spawner: &mut ShimSpawner, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Set(name, value) => {
                command.env(os(name), os(value));
                spawner.env(os(name), os(value));
            }
            Change::Remove(name) => {
                command.env_remove(os(name));
                spawner.env_remove(os(name));
            }
            Change::Clear => {
                command.env_clear();
                spawner.env_clear();
            }
        }
    }
}

/// What a shim without a link writes to its standard output; the errno if there is none.
fn said(spawner: &mut ShimSpawner, engine: Engine) -> Result<Vec<u8>, i32> {
    let spawner = spawner.engine(engine).detached(true).stdout(Stdio::piped());
    let mut shim = match spawner.spawn() {
        Ok(shim) => shim,
        Err(error) => {
            assert_eq!(error.stage(), Stage::Exec, "{error}");
            return Err(error.raw_os_error().expect("an errno"));
        }
    };
    let mut said = Vec::new();
    let mut pipe = shim.child.stdout.take().expect("a pipe");
    pipe.read_to_end(&mut said).expect("read");
    shim.child.process().wait().expect("poll");
    Ok(said)
}

fn names() -> impl Strategy<Value = &'static [u8]> {
    select(vec![
        b"A".as_slice(),
        b"B",
        b"",
        b"=",
        b"=C:",
        b"A=B",
        b"\xff",
        b"WATCHDOG",
    ])
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    select(vec![b"".as_slice(), b"1", b"2", b"x=y", b"\xfe", b"a b\n"]).prop_map(<[u8]>::to_vec)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        6 => (names(), values()).prop_map(|(name, value)| Change::Set(name, value)),
        3 => names().prop_map(Change::Remove),
        1 => Just(Change::Clear),
    ];
    prop::collection::vec(one, 0..6)
}

/// Entries as an exec may have passed them: a name twice, none, or no equals sign at all.
fn inherited() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let named = (names(), values()).prop_map(|(name, value)| [name, b"=", &value].concat());
    let odd = select(vec![b"".to_vec(), b"NOTHING".to_vec(), b"=".to_vec()]);
    prop::collection::vec(prop_oneof![8 => named, 1 => odd], 0..8)
}

/// An entry without an equals sign after its first byte is no variable: getenv(3) does not find it.
/// std passes it on when nothing is changed, and drops it else; a shim is never given it.
fn is_variable(entry: &[u8]) -> bool {
    entry.iter().skip(1).any(|&byte| byte == b'=')
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
}

#[test]
fn shim_sees_the_environment_that_a_child_of_std_sees() {
    alone!({
        let compared = runner(200).run(&(inherited(), changes()), |(inherited, changes)| {
            inherit(&inherited);
            let mut command = Command::new("/usr/bin/env");
            let mut spawner = ShimSpawner::new("/usr/bin/env");
            spawner.arg("-0");
            change(&mut command, &mut spawner, &changes);
            let expected = command.arg("-0").output().expect("spawn").stdout;
            let expected: Vec<&[u8]> = expected
                .split_inclusive(|&byte| byte == 0)
                .filter(|entry| !changes.is_empty() || is_variable(entry))
                .collect();
            for engine in [Engine::Vfork, Engine::Fork] {
                let seen = said(&mut spawner, engine).expect("spawn");
                let seen: Vec<&[u8]> = seen.split_inclusive(|&byte| byte == 0).collect();
                prop_assert_eq!(&seen, &expected);
            }
            Ok(())
        });
        compared.expect("the same");
    });
}

/// `tool` in a folder of that name, which says so.
fn tool(folder: &Path) {
    fs::create_dir_all(folder).expect("mkdir");
    let tool = folder.join("tool");
    fs::write(&tool, format!("#!/bin/sh\necho {}\n", folder.display())).expect("write");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Lists of folders: one, both, none, empty elements, which are the working directory.
fn paths(root: &Path) -> impl Strategy<Value = Vec<u8>> + use<> {
    let folder = |name: &str| root.join(name).into_os_string().as_bytes().to_vec();
    let element = select(vec![
        folder("one"),
        folder("two"),
        folder("missing"),
        b"".to_vec(),
        b"one".to_vec(),
        b".".to_vec(),
    ]);
    prop::collection::vec(element, 0..4).prop_map(|elements| elements.join(&b':'))
}

#[test]
fn program_is_looked_up_where_a_child_of_std_looks() {
    alone!({
        let root = Folder::new();
        for folder in ["one", "two"] {
            tool(&root.join(folder));
        }
        let inherited = prop::collection::vec(paths(root.path()), 0..3);
        let set = paths(root.path()).prop_map(|path| Change::Set(b"PATH", path));
        let odd = paths(root.path()).prop_map(|path| Change::Set(b"PATH=", path));
        let other = Just(Change::Set(b"A", b"1".to_vec()));
        let change_of_path = prop_oneof![
            4 => set,
            1 => odd,
            1 => other,
            1 => Just(Change::Remove(b"PATH")),
            1 => Just(Change::Clear),
        ];
        let changes = prop::collection::vec(change_of_path, 0..4);
        let compared = runner(150).run(&(inherited, changes), |(inherited, changes)| {
            let with_name = |path: &Vec<u8>| [b"PATH=".as_slice(), path].concat();
            inherit(&inherited.iter().map(with_name).collect::<Vec<_>>());
            let mut command = Command::new("tool");
            let mut spawner = ShimSpawner::new("tool");
            change(&mut command, &mut spawner, &changes);
            // SAFETY: does nothing. Without a closure std may look in the PATH of the parent.
            unsafe { command.pre_exec(|| Ok(())) };
            let folder = root.join("two");
            let output = command
                .current_dir(&folder)
                .stderr(StdStdio::null())
                .output();
            let expected = output
                .map(|output| output.stdout)
                .map_err(|error| error.raw_os_error().expect("an errno"));
            for engine in [Engine::Vfork, Engine::Fork] {
                let found = said(spawner.current_dir(&folder), engine);
                prop_assert_eq!(&found, &expected);
            }
            Ok(())
        });
        compared.expect("the same");
    });
}

#[test]
fn name_that_is_there_twice_stays_there_twice_when_nothing_is_changed() {
    alone!({
        inherit(&[b"A=1".to_vec(), b"B=2".to_vec(), b"A=3".to_vec()]);
        let mut spawner = ShimSpawner::new("/usr/bin/env");
        let seen = said(spawner.arg("-0"), Engine::Vfork).expect("spawn");
        assert_eq!(seen, b"A=1\0B=2\0A=3\0");
    });
}

/// What a child of std's asks for first is found first, whatever an odd name spells.
#[test]
fn link_of_the_library_comes_before_everything_else() {
    alone!({
        let mut spawner = ShimSpawner::new("/usr/bin/env");
        spawner.arg("-0").env("SHIM_CONFIG=fd", "3");
        spawner.config(b"secret".as_slice());
        let seen = said(&mut spawner, Engine::Vfork).expect("spawn");
        let first = seen.split(|&byte| byte == 0).next().unwrap_or_default();
        assert!(
            first.starts_with(b"SHIM_CONFIG=fd="),
            "{:?}",
            OsString::from(os(first))
        );
        assert!(seen.windows(18).any(|text| text == b"\0SHIM_CONFIG=fd=3\0"));
    });
}

#[test]
fn variable_with_a_nul_byte_is_refused_as_std_refuses_it() {
    for (name, value) in [("A\0", "1"), ("A", "1\0")] {
        let error = Command::new("/bin/true").env(name, value).spawn();
        let error = error.map(drop).expect_err("a NUL byte");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let error = ShimSpawner::new("/bin/true").env(name, value).spawn();
        assert_eq!(error.expect_err("a NUL byte").stage(), Stage::Arguments);
    }
}
