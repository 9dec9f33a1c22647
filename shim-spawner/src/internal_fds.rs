//! The numbers of our own descriptors in the child: the watchdog's pipe and page, the
//! configuration.
//!
//! A program uses numbers that its environment or its script names, whether or not its parent
//! passed them on: 3 and 4 in `MAKEFLAGS` under `make -j`, 3 and up in `LISTEN_FDS`, 3 in
//! `NODE_CHANNEL_FD`, 3 to 9 in a shell's `exec 3>file`. If we put a descriptor on such a number,
//! the program would take it for a jobserver or overwrite it. So our numbers are:
//!
//! - above those that a shell keeps for itself, from 10 up;
//! - below those that bash gives to process substitution, from 63 down, and to a script, 255;
//! - below 64, because a larger table costs memory and time: about 3 us a spawn for number 255, 8
//!   us for 4,095.

use std::os::fd::RawFd;

/// The first number. The next ones are below it.
const HIGHEST: RawFd = 49;

/// The lowest number that is not a standard stream.
pub(crate) const LOWEST: RawFd = 3;

/// The numbers to take, the best first. `from` is the lowest number, if the caller has set one.
/// `limit` is the soft `RLIMIT_NOFILE`; a number must be below it.
pub(crate) fn candidates(from: Option<RawFd>, limit: u64) -> impl Iterator<Item = RawFd> {
    let highest = match from {
        Some(_) => None,
        None => Some(HIGHEST.min(below(limit))),
    };
    let down = highest.map(|highest| (LOWEST..=highest).rev());
    // If every number down to 3 is taken, only higher ones are left. The plan refuses a number at
    // the limit or above it.
    let up = from.unwrap_or(HIGHEST + 1)..=RawFd::MAX;
    down.into_iter().flatten().chain(up)
}

/// The highest number below `limit`.
fn below(limit: u64) -> RawFd {
    RawFd::try_from(limit)
        .unwrap_or(RawFd::MAX)
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(from: Option<RawFd>, limit: u64) -> Vec<RawFd> {
        candidates(from, limit).take(3).collect()
    }

    #[test]
    fn numbers_lie_below_64_and_apart_from_what_shells_and_make_use() {
        for limit in [50, 1024, 1 << 30, u64::MAX] {
            assert_eq!(first(None, limit), [49, 48, 47]);
        }
    }

    #[test]
    fn low_limit_gives_the_highest_numbers_below_it() {
        assert_eq!(first(None, 16), [15, 14, 13]);
        assert_eq!(first(None, 49), [48, 47, 46]);
    }

    #[test]
    fn every_number_down_to_3_is_tried_before_those_above() {
        let all: Vec<RawFd> = candidates(None, 7).take(6).collect();
        assert_eq!(all, [6, 5, 4, 3, 50, 51]);
        assert_eq!(first(None, 0), [50, 51, 52]);
    }

    #[test]
    fn callers_choice_counts_up_and_ends() {
        assert_eq!(first(Some(3), 16), [3, 4, 5]);
        assert_eq!(first(Some(200), 1024), [200, 201, 202]);
        assert_eq!(first(Some(RawFd::MAX), 1024), [RawFd::MAX]);
    }
}
