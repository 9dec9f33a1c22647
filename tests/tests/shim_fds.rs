//! Owned, borrowed and shared descriptors of a spawner: what the shim gets, and how long this
//! process holds it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use shim_spawner::{ShimHandler, ShimSpawner, Stage, Stdio};
use workspace_tests::fd_table::file;
use workspace_tests::{alone, fd_limit, time_limit, until};

fn shell(script: &str) -> ShimSpawner {
    let mut spawner = ShimSpawner::new("/bin/sh");
    spawner.args(["-c", script]).stdin(Stdio::null());
    spawner
}

/// Runs one shim to its end.
fn runs(spawner: &mut ShimSpawner) {
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let exit = shim.process().wait_timeout(time_limit()).expect("wait");
    assert!(exit.is_some(), "{shim:?}");
    let status = shim.wait().expect("wait").status.expect("own child");
    assert!(status.success(), "{status}");
}

/// What a reader that does not block finds: `None`, where it would wait.
fn read(reader: &OwnedFd) -> Option<usize> {
    match rustix::io::read(reader, &mut [0_u8; 64]) {
        Ok(bytes) => Some(bytes),
        Err(Errno::AGAIN) => None,
        Err(errno) => panic!("{errno}"),
    }
}

#[test]
fn borrowed_descriptor_may_be_closed_before_the_spawn() {
    let mut spawner = shell("read -r line </dev/fd/40 && test -n \"$line\"");
    let status = File::open("/proc/self/status").expect("a file");
    spawner.map_borrowed_fd(&status, 40).expect("a copy");
    drop(status);
    runs(&mut spawner);
}

#[test]
fn preserved_borrowed_descriptor_has_the_number_that_it_has_here() {
    let status = File::open("/proc/self/status").expect("a file");
    let number = status.as_raw_fd();
    let mut spawner = shell(&format!("read -r line </dev/fd/{number}"));
    spawner.preserve_borrowed_fd(&status).expect("a copy");
    runs(&mut spawner);
}

#[test]
fn shared_descriptor_is_given_to_many_shims_without_a_copy_in_this_process() {
    alone!({
        let open = || {
            std::fs::read_dir("/proc/self/fd")
                .expect("descriptors")
                .count()
        };
        let shared: Arc<OwnedFd> =
            Arc::new(File::open("/proc/self/status").expect("a file").into());
        let before = open();
        let mut spawners: Vec<_> = (0..5).map(|_| shell("true </dev/fd/40")).collect();
        for spawner in &mut spawners {
            spawner.map_shared_fd(Arc::clone(&shared), 40);
        }
        assert_eq!(open(), before);
        for spawner in &mut spawners {
            runs(spawner);
        }
        drop(spawners);
        assert_eq!(Arc::strong_count(&shared), 1);
    });
}

#[test]
fn reader_sees_the_end_when_shim_and_spawner_are_gone_and_not_before() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
    let mut spawner = shell("true");
    spawner.map_fd(writer, 40);
    runs(&mut spawner);
    assert_eq!(read(&reader), None, "the spawner can spawn again");
    runs(&mut spawner);
    drop(spawner);
    assert_eq!(read(&reader), Some(0));
}

#[test]
fn spawner_that_ends_with_its_statement_leaves_no_copy_behind() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
    let shim = shell("echo ready >&3").map_fd(writer, 3).spawn();
    let next = || until("the shim's word, or its end", || read(&reader));
    assert_eq!(next(), "ready\n".len());
    assert_eq!(next(), 0);
    drop(shim);
}

#[test]
fn copy_that_cannot_be_made_is_an_error_that_names_stage_and_number() {
    alone!({
        let file = file();
        let mut spawner = shell("true");
        let full = fd_limit::fill();
        let error = spawner
            .map_borrowed_fd(file.as_fd(), 40)
            .expect_err("no descriptor is left");
        drop(full);
        assert_eq!(error.stage(), Stage::Descriptors);
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(error.fd(), Some(40));
        // It is as good as before.
        runs(&mut spawner);
    });
}
