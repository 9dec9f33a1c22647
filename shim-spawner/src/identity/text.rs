//! An identity as text, in the format that [`ShimIdentity`] documents.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pidfd_watcher::{Pid, Signal};
use watchdog_pipe::StopPolicy;

use super::boot::BootId;
use super::buffer::Buffer;
use super::checksum::fnv1a;
use super::draft::Draft;
use super::{IdentityError, IdentityErrorKind, ShimIdentity};
use crate::{StopTarget, sys};

const MAGIC: &str = "shim-identity ";
const VERSION: &str = "1";

const PID: &str = "pid";
const START_TIME: &str = "start-time";
const BOOT_ID: &str = "boot-id";
const PID_NAMESPACE: &str = "pid-namespace";
const PIDFS_INODE: &str = "pidfs-inode";
const STOP_SIGNAL: &str = "stop-signal";
const STOP_GRACE: &str = "stop-grace";
const STOP_TARGET: &str = "stop-target";
const ATTACHMENT: &str = "attachment";
const CHECKSUM: &str = "checksum";

const ATTACHED: &str = "attached";
const DETACHED: &str = "detached";

/// How many digits of the fraction of a second are written: all.
const NANOSECONDS: usize = 9;

impl fmt::Display for ShimIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.compose().as_bytes()).unwrap_or_default())
    }
}

impl ShimIdentity {
    /// The complete text. Async-signal-safe: a child composes its own identity before its exec.
    pub(crate) fn compose(&self) -> Buffer {
        let mut text = Buffer::new();
        for part in [MAGIC, VERSION, "\n"] {
            text.push(part.as_bytes());
        }
        let decimal = |number| move |text: &mut Buffer| text.push_decimal(number);
        line(&mut text, PID, decimal(raw(self.pid)));
        line(&mut text, START_TIME, decimal(self.start_time));
        line(&mut text, BOOT_ID, |text| self.draft.boot_id.push_to(text));
        line(&mut text, PID_NAMESPACE, decimal(self.draft.pid_namespace));
        if let Some(inode) = self.pidfs_inode {
            line(&mut text, PIDFS_INODE, decimal(inode));
        }
        if let Some(policy) = self.draft.stop_policy {
            let signal = u64::from(policy.stop_signal().as_raw().unsigned_abs());
            line(&mut text, STOP_SIGNAL, decimal(signal));
            let grace = policy.grace_period();
            line(&mut text, STOP_GRACE, |text| {
                text.push_decimal(grace.as_secs());
                text.push(b".");
                text.push_padded(grace.subsec_nanos().into(), NANOSECONDS);
            });
        }
        if let Some(target) = self.draft.stop_target {
            line(&mut text, STOP_TARGET, |text| {
                text.push(target.word().as_bytes());
            });
        }
        if let Some(attached) = self.draft.attached {
            let word = if attached { ATTACHED } else { DETACHED };
            line(&mut text, ATTACHMENT, |text| text.push(word.as_bytes()));
        }
        let sum = fnv1a(text.as_bytes());
        line(&mut text, CHECKSUM, |text| text.push_hex(sum, 16));
        text
    }
}

/// Async-signal-safe.
fn line(text: &mut Buffer, field: &str, value: impl FnOnce(&mut Buffer)) {
    text.push(field.as_bytes());
    text.push(b" ");
    value(text);
    text.push(b"\n");
}

/// A pid as a number. It is positive. Async-signal-safe.
fn raw(pid: Pid) -> u64 {
    pid.as_raw_nonzero().get().unsigned_abs().into()
}

impl FromStr for ShimIdentity {
    type Err = IdentityError;

    /// Reads the text that `Display` wrote. No text may come before or after it.
    fn from_str(text: &str) -> Result<ShimIdentity, IdentityError> {
        Ok(parse(text.as_bytes())?)
    }
}

/// Reads the text of an identity. Fails if any single byte of it was changed.
pub(super) fn parse(text: &[u8]) -> Result<ShimIdentity, IdentityErrorKind> {
    let rest = text
        .strip_prefix(MAGIC.as_bytes())
        .ok_or(IdentityErrorKind::NotAnIdentity)?;
    // The version comes first, because it decides what the rest means, including the checksum.
    let (version, _) = split_line(rest).ok_or(IdentityErrorKind::Truncated)?;
    if version != VERSION.as_bytes() {
        let version = String::from_utf8_lossy(version).into_owned();
        return Err(IdentityErrorKind::Version(version));
    }
    let body = verified_body(text)?;
    let body = std::str::from_utf8(body).map_err(|_| IdentityErrorKind::NotAnIdentity)?;
    Fields::read(body.split_terminator('\n').skip(1))?.into_identity()
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b'\n')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// The text before the checksum line. That line must match the text and be the last one.
fn verified_body(text: &[u8]) -> Result<&[u8], IdentityErrorKind> {
    let mut rest = text;
    while let Some((line, after)) = split_line(rest) {
        let body = text.len() - rest.len();
        rest = after;
        let Some(digits) = line.strip_prefix(CHECKSUM.as_bytes()) else {
            continue;
        };
        let body = text.get(..body).unwrap_or_default();
        if digits != format!(" {:016x}", fnv1a(body)).as_bytes() {
            return Err(IdentityErrorKind::Checksum);
        }
        if !after.is_empty() {
            return Err(IdentityErrorKind::TrailingData);
        }
        return Ok(body);
    }
    Err(IdentityErrorKind::Truncated)
}

/// The fields that were found.
#[derive(Default)]
struct Fields {
    pid: Option<Pid>,
    start_time: Option<u64>,
    boot_id: Option<BootId>,
    pid_namespace: Option<u64>,
    pidfs_inode: Option<u64>,
    stop_signal: Option<Signal>,
    stop_grace: Option<Duration>,
    stop_target: Option<StopTarget>,
    attached: Option<bool>,
}

impl Fields {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields, IdentityErrorKind> {
        let mut fields = Fields::default();
        for line in lines {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            match name {
                PID => set(&mut fields.pid, PID, pid(value))?,
                START_TIME => set(&mut fields.start_time, START_TIME, number(value))?,
                BOOT_ID => set(&mut fields.boot_id, BOOT_ID, BootId::parse(value))?,
                PID_NAMESPACE => set(&mut fields.pid_namespace, PID_NAMESPACE, number(value))?,
                PIDFS_INODE => set(&mut fields.pidfs_inode, PIDFS_INODE, number(value))?,
                STOP_SIGNAL => set(&mut fields.stop_signal, STOP_SIGNAL, signal(value))?,
                STOP_GRACE => set(&mut fields.stop_grace, STOP_GRACE, grace(value))?,
                STOP_TARGET => {
                    let target = StopTarget::from_word(value);
                    set(&mut fields.stop_target, STOP_TARGET, target)?;
                }
                ATTACHMENT => set(&mut fields.attached, ATTACHMENT, attached(value))?,
                // A field of a later writer.
                _ => {}
            }
        }
        Ok(fields)
    }

    fn into_identity(self) -> Result<ShimIdentity, IdentityErrorKind> {
        let stop_policy = match (self.stop_signal, self.stop_grace) {
            (Some(signal), Some(grace)) => Some(StopPolicy::new().signal(signal).grace(grace)),
            (None, None) => None,
            (Some(_), None) => return Err(IdentityErrorKind::Missing(STOP_GRACE)),
            (None, Some(_)) => return Err(IdentityErrorKind::Missing(STOP_SIGNAL)),
        };
        Ok(ShimIdentity {
            pid: self.pid.ok_or(IdentityErrorKind::Missing(PID))?,
            start_time: self
                .start_time
                .ok_or(IdentityErrorKind::Missing(START_TIME))?,
            pidfs_inode: self.pidfs_inode,
            draft: Draft {
                boot_id: self.boot_id.ok_or(IdentityErrorKind::Missing(BOOT_ID))?,
                pid_namespace: self
                    .pid_namespace
                    .ok_or(IdentityErrorKind::Missing(PID_NAMESPACE))?,
                stop_policy,
                stop_target: self.stop_target,
                attached: self.attached,
            },
        })
    }
}

fn set<T>(
    slot: &mut Option<T>,
    field: &'static str,
    value: Option<T>,
) -> Result<(), IdentityErrorKind> {
    if slot.is_some() {
        return Err(IdentityErrorKind::Duplicate(field));
    }
    *slot = Some(value.ok_or(IdentityErrorKind::Invalid(field))?);
    Ok(())
}

/// A number in the only notation that is written: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number(text)?).ok()?)
}

fn signal(text: &str) -> Option<Signal> {
    sys::signal_from_raw(i32::try_from(number(text)?).ok()?)
}

/// Seconds, a point and nine digits.
fn grace(text: &str) -> Option<Duration> {
    let (seconds, fraction) = text.split_once('.')?;
    let digits = fraction.len() == NANOSECONDS && fraction.bytes().all(|b| b.is_ascii_digit());
    let nanoseconds = fraction.parse().ok().filter(|_| digits)?;
    Some(Duration::new(number(seconds)?, nanoseconds))
}

fn attached(text: &str) -> Option<bool> {
    match text {
        ATTACHED => Some(true),
        DETACHED => Some(false),
        _ => None,
    }
}
