//! Socket activation: names of descriptors, and the variables of `sd_listen_fds(3)`.

use std::ffi::c_char;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use pidfd_watcher::Pid;

use crate::SpawnError;

/// The number of the first descriptor: `SD_LISTEN_FDS_START`.
pub(crate) const FIRST: RawFd = 3;

/// `FDNAME_MAX` of systemd.
const LONGEST_NAME: usize = 255;

/// All variables of the protocol that a consumer reads. The last one is the inode of the pidfd of
/// the process that they are for.
pub(crate) const VARIABLES: [&str; 4] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
];

/// Names and descriptors.
pub(crate) type ListenFds = Vec<(String, Arc<OwnedFd>)>;

/// Refuses a name that the protocol would not carry unchanged.
pub(crate) fn check(fds: &ListenFds) -> Result<(), SpawnError> {
    let is_name = |name: &str| {
        let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(printable)
    };
    if fds.iter().all(|(name, _)| is_name(name)) {
        Ok(())
    } else {
        Err(SpawnError::invalid(
            "a descriptor's name is 1 to 255 printable ASCII characters without a colon",
        ))
    }
}

/// The variables, except the pid.
pub(crate) fn variables(fds: &ListenFds) -> [(&'static str, String); 2] {
    let names: Vec<&str> = fds.iter().map(|(name, _)| name.as_str()).collect();
    [
        ("LISTEN_FDS", fds.len().to_string()),
        ("LISTEN_FDNAMES", names.join(":")),
    ]
}

const NAME: &[u8] = b"LISTEN_PID=";

/// `i32::MAX` has ten digits.
const DIGITS: usize = 10;

/// `LISTEN_PID=`, with room for a pid and the NUL. The bytes are atomic because a child may share
/// this memory, and writes them while the parent has them borrowed.
pub(crate) struct PidVariable(Box<[AtomicU8; NAME.len() + DIGITS + 1]>);

impl PidVariable {
    pub(crate) fn new() -> PidVariable {
        let room: PidVariable = PidVariable(Box::new([const { AtomicU8::new(0) }; _]));
        room.put(NAME.iter().copied(), 0);
        room
    }

    /// Runs in the child. Async-signal-safe.
    pub(crate) fn set(&self, pid: Pid) {
        let mut rest = pid.as_raw_nonzero().get().unsigned_abs();
        let mut digits = [0; DIGITS];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            count += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let leading = DIGITS - count;
        // A second try of the same spawn may have a shorter pid.
        let end = [0; DIGITS];
        self.put(
            digits.into_iter().skip(leading).chain(end).take(DIGITS),
            NAME.len(),
        );
    }

    fn put(&self, bytes: impl Iterator<Item = u8>, from: usize) {
        // Relaxed: the kernel reads the bytes in the thread that wrote them.
        for (place, byte) in self.0.iter().skip(from).zip(bytes) {
            place.store(byte, Ordering::Relaxed);
        }
    }

    /// Valid while `self` exists, moved or not.
    pub(crate) fn pointer(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

impl fmt::Debug for PidVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PidVariable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(variable: &PidVariable) -> String {
        let bytes = variable.0.iter().map(|byte| byte.load(Ordering::Relaxed));
        let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_pid_fits_and_a_shorter_one_leaves_nothing_of_a_longer_one() {
        let variable = PidVariable::new();
        for pid in [i32::MAX, 4_194_304, 1234, 10, 9, 1, i32::MAX] {
            variable.set(Pid::from_raw(pid).unwrap());
            assert_eq!(text(&variable), format!("LISTEN_PID={pid}"));
        }
    }
}
