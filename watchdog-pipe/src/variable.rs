//! The environment variable that tells the child where its descriptors are.
//!
//! `WATCHDOG_PIPE=fd=3,pipe=14:90210,sentinel=4:1:2049:16:7,stop=15:5000`:
//!
//! - `fd`: the number of the read end.
//! - `pipe`: the pipe's device and inode.
//! - `sentinel`: where the sentinel's word is, if there is one. Five numbers: the page's
//!   descriptor, its device, its inode, the offset of the slot in bytes, the link that has the
//!   slot.
//! - `stop`: the stop policy, if one was set. Signal number and grace period in milliseconds.
//! - `clean=1`: the parent promises that the child has no write end of the pipe.
//!
//! A version skips keys that it does not know. So a newer parent may say more, and the pipe alone
//! stays a valid link. `docs/protocol.md` specifies the variable for other languages.

use std::fmt;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::sentinel::Address;
use crate::{StopPolicy, sys};

/// The name of the environment variable.
pub const ENV_VAR: &str = "WATCHDOG_PIPE";

/// What the variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) pipe_fd: RawFd,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) sentinel: Option<Address>,
    pub(crate) policy: Option<StopPolicy>,
    /// The child has no write end of the pipe, and need not search for one.
    pub(crate) clean: bool,
}

impl Variable {
    /// `None`: the text is not what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Variable> {
        let (mut pipe_fd, mut pipe, mut sentinel, mut policy) = (None, None, None, None);
        let mut clean = None;
        for field in text.split(',') {
            let (key, value) = field.split_once('=')?;
            let again = match key {
                "fd" => pipe_fd.replace(descriptor(value)?).is_some(),
                "pipe" => pipe.replace(pair::<u64, u64>(value)?).is_some(),
                "sentinel" => sentinel.replace(address(value)?).is_some(),
                "stop" => policy.replace(stop_policy(value)?).is_some(),
                "clean" => clean.replace((value == "1").then_some(())?).is_some(),
                _ => false,
            };
            if again {
                return None;
            }
        }
        let (device, inode) = pipe?;
        Some(Variable {
            pipe_fd: pipe_fd?,
            device,
            inode,
            sentinel,
            policy,
            clean: clean.is_some(),
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd={},pipe={}:{}", self.pipe_fd, self.device, self.inode)?;
        if let Some(address) = &self.sentinel {
            write!(f, ",sentinel={address}")?;
        }
        if let Some(policy) = self.policy {
            let signal = policy.stop_signal().as_raw();
            write!(f, ",stop={signal}:{}", policy.grace_millis())?;
        }
        if self.clean {
            f.write_str(",clean=1")?;
        }
        Ok(())
    }
}

fn descriptor(text: &str) -> Option<RawFd> {
    number::<RawFd>(text).filter(|number| *number >= 0)
}

fn address(text: &str) -> Option<Address> {
    let mut fields = text.split(':');
    let address = Address {
        fd: descriptor(fields.next()?)?,
        device: number(fields.next()?)?,
        inode: number(fields.next()?)?,
        offset: number(fields.next()?)?,
        link: number(fields.next()?)?,
    };
    fields.next().is_none().then_some(address)
}

fn stop_policy(text: &str) -> Option<StopPolicy> {
    let (signal, millis) = pair::<i32, u64>(text)?;
    let signal = sys::signal_from_raw(signal)?;
    Some(
        StopPolicy::new()
            .signal(signal)
            .grace(Duration::from_millis(millis)),
    )
}

fn pair<A: std::str::FromStr, B: std::str::FromStr>(text: &str) -> Option<(A, B)> {
    let (first, second) = text.split_once(':')?;
    Some((number(first)?, number(second)?))
}

/// Accepts digits only. The standard parser would also accept a `+`.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;

    fn variable(policy: Option<StopPolicy>) -> Variable {
        Variable {
            pipe_fd: 3,
            device: 14,
            inode: 90210,
            sentinel: None,
            policy,
            clean: false,
        }
    }

    #[test]
    fn promise_of_no_writer_is_read_back() {
        let with = Variable {
            clean: true,
            ..variable(None)
        };
        let text = "fd=3,pipe=14:90210,clean=1";
        assert_eq!(with.to_string(), text);
        assert_eq!(Variable::parse(text), Some(with));
    }

    #[test]
    fn where_the_word_is_is_read_back() {
        let address = Address {
            fd: 4,
            device: 1,
            inode: 2049,
            offset: 16,
            link: 7,
        };
        let with = Variable {
            sentinel: Some(address),
            ..variable(Some(StopPolicy::new()))
        };
        let text = "fd=3,pipe=14:90210,sentinel=4:1:2049:16:7,stop=15:5000";
        assert_eq!(with.to_string(), text);
        assert_eq!(Variable::parse(text), Some(with));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let policy = StopPolicy::new()
            .signal(Signal::INT)
            .grace(Duration::from_millis(1500));
        for variable in [variable(None), variable(Some(policy))] {
            assert_eq!(Variable::parse(&variable.to_string()), Some(variable));
        }
        assert_eq!(
            variable(Some(policy)).to_string(),
            "fd=3,pipe=14:90210,stop=2:1500"
        );
    }

    #[test]
    fn a_grace_is_rounded_up_and_an_endless_one_stays_long() {
        let text = |grace| variable(Some(StopPolicy::new().grace(grace))).to_string();
        assert!(text(Duration::from_nanos(1)).ends_with("stop=15:1"));
        assert!(text(Duration::ZERO).ends_with("stop=15:0"));
        let endless = Variable::parse(&text(Duration::MAX))
            .unwrap()
            .policy
            .unwrap();
        assert_eq!(endless.grace_period(), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn a_key_of_a_newer_version_is_skipped() {
        assert_eq!(
            Variable::parse("fd=3,page=4:7,pipe=14:90210"),
            Some(variable(None))
        );
    }

    #[test]
    fn order_of_the_keys_and_zeros_before_a_number_change_nothing() {
        assert_eq!(
            Variable::parse("pipe=014:90210,fd=03"),
            Some(variable(None))
        );
    }

    #[test]
    fn unknown_key_may_say_anything_and_may_come_again() {
        for text in [
            "x=,fd=3,pipe=14:90210,x=",
            "fd=3,=,pipe=14:90210,later==a:-1",
        ] {
            assert_eq!(Variable::parse(text), Some(variable(None)), "{text:?}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for text in [
            "",
            "3",
            "fd=3",
            "pipe=14:90210",
            "fd=-1,pipe=14:90210",
            "fd=+3,pipe=14:90210",
            "fd=3,pipe=14",
            "fd=3,pipe=14:",
            "fd=3,pipe=14:90210,",
            "fd=3,pipe=14:90210,later",
            "fd=3,pipe=14:90210:7",
            "fd=3,fd=3,pipe=14:90210",
            "fd=99999999999,pipe=14:90210",
            "fd=3,pipe=14:90210,stop=15",
            "fd=3,pipe=14:90210,stop=0:5",
            "fd=3,pipe=14:90210,stop=32:5",
            "fd=3,pipe=14:90210,stop=65:5",
            "fd= 3,pipe=14:90210",
            "fd=3,pipe=14:90210,clean=",
            "fd=3,pipe=14:90210,clean=0",
            "fd=3,pipe=14:90210,clean=1,clean=1",
            "fd=3,pipe=14:90210,sentinel=",
            "fd=3,pipe=14:90210,sentinel=4:1:2049:16",
            "fd=3,pipe=14:90210,sentinel=4:1:2049:16:7:8",
            "fd=3,pipe=14:90210,sentinel=-4:1:2049:16:7",
            "fd=3,pipe=14:90210,sentinel=4:1:2049:16:99999999999",
            "fd=3,pipe=14:90210,sentinel=4:1:2049:16:7,sentinel=4:1:2049:16:7",
        ] {
            assert_eq!(Variable::parse(text), None, "{text:?}");
        }
    }
}
