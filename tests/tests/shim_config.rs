//! `shim_config` in programs that merely inherited the variable.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use shim_spawner::{ConfigError, shim_config};
use workspace_tests::{alone, proc_fs};

const VARIABLE: &str = "SHIM_CONFIG";

fn read(value: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    // SAFETY: the case has one thread, and nothing in it owns a number that is taken.
    unsafe {
        std::env::set_var(VARIABLE, value);
        shim_config()
    }
}

#[test]
fn variable_that_is_not_for_this_process_is_no_configuration_and_goes() {
    alone!({
        let file = File::open("/dev/null").expect("open");
        let fd = file.as_raw_fd();
        let (device, inode) = file
            .metadata()
            .map(|file| (file.dev(), file.ino()))
            .expect("stat");
        let before = proc_fs::own_fds();
        for value in [
            format!("fd={fd},memfd={device}:{}", inode + 1),
            format!("fd={fd},memfd={}:{inode}", device + 1),
            format!("fd=999,memfd={device}:{inode}"),
        ] {
            assert!(matches!(read(&value), Ok(None)), "{value}");
            assert_eq!(std::env::var_os(VARIABLE), None, "{value}");
        }
        assert_eq!(
            proc_fs::own_fds(),
            before,
            "a stranger's descriptor was closed"
        );
    });
}

#[test]
fn damaged_variable_stays_an_error_and_stays_there() {
    alone!({
        for value in ["", "4", "fd=4", "fd=-4,memfd=1:77"] {
            let error = read(value).expect_err(value);
            assert!(matches!(error, ConfigError::Malformed { .. }), "{error}");
            assert!(std::env::var_os(VARIABLE).is_some());
        }
    });
}
