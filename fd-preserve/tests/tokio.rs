//! `CommandFdExt` on tokio's `Command`.

use std::fs::File;
use std::io::{Read, pipe};
use std::os::fd::AsRawFd;

use fd_preserve::{CommandFdExt, Error, FdMapping, PreserveFds};
use tokio::process::Command;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

#[test]
fn a_child_of_tokio_writes_to_the_number_that_was_planned() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut reader, writer) = pipe()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo seven >&7"]);
    command.fd_mappings([FdMapping::new(writer, 7)])?;
    let status = runtime.block_on(async { command.status().await })?;
    assert!(status.success());
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said)?;
    assert_eq!(said, "seven\n");
    Ok(())
}

#[test]
fn a_command_of_tokio_takes_one_plan() -> Result {
    let file = File::open("/dev/null")?;
    let number = file.as_raw_fd();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("test -e /proc/self/fd/{number}")]);
    command.preserved_fds([file.into()])?;
    let second = PreserveFds::new().apply(command.as_std_mut());
    assert!(matches!(second, Err(Error::AlreadyApplied)), "{second:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    assert!(
        runtime
            .block_on(async { command.status().await })?
            .success()
    );
    Ok(())
}
