//! An identity as text: the format that [`ShimIdentity`] documents.

use std::fmt::{self, Write};
use std::str::FromStr;

use pidfd_watcher::Pid;

use super::witness::BootId;
use super::{IdentityError, IdentityErrorKind, ShimIdentity};

const MAGIC: &str = "shim-identity ";
const VERSION: &str = "1";

const PID: &str = "pid";
const START_TIME: &str = "start-time";
const BOOT_ID: &str = "boot-id";
const PID_NAMESPACE: &str = "pid-namespace";
const PIDFS_INODE: &str = "pidfs-inode";
const CHECKSUM: &str = "checksum";

impl fmt::Display for ShimIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        writeln!(f, "{body}{CHECKSUM} {:016x}", fnv1a(body.as_bytes()))
    }
}

impl ShimIdentity {
    /// All lines but the checksum's.
    fn body(&self) -> String {
        let mut body = format!("{MAGIC}{VERSION}\n");
        let mut line = |name: &str, value: &dyn fmt::Display| {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{name} {value}");
        };
        line(PID, &self.pid);
        line(START_TIME, &self.start_time);
        line(BOOT_ID, &self.boot_id);
        line(PID_NAMESPACE, &self.pid_namespace);
        if let Some(inode) = self.pidfs_inode {
            line(PIDFS_INODE, &inode);
        }
        body
    }
}

impl FromStr for ShimIdentity {
    type Err = IdentityError;

    /// Reads what `Display` wrote: that, and nothing before or after it.
    fn from_str(text: &str) -> Result<ShimIdentity, IdentityError> {
        Ok(parse(text.as_bytes())?)
    }
}

/// Reads the text of an identity. Every byte of it counts: whatever single one is changed, this
/// fails.
pub(super) fn parse(text: &[u8]) -> Result<ShimIdentity, IdentityErrorKind> {
    let rest = text
        .strip_prefix(MAGIC.as_bytes())
        .ok_or(IdentityErrorKind::NotAnIdentity)?;
    // The version decides what the rest means, the checksum included: it comes first.
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

/// What stands before the line of the checksum, which fits it and is the last one.
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

/// The fields as they are found.
#[derive(Default)]
struct Fields {
    pid: Option<Pid>,
    start_time: Option<u64>,
    boot_id: Option<BootId>,
    pid_namespace: Option<u64>,
    pidfs_inode: Option<u64>,
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
                // Of a later writer.
                _ => {}
            }
        }
        Ok(fields)
    }

    fn into_identity(self) -> Result<ShimIdentity, IdentityErrorKind> {
        Ok(ShimIdentity {
            pid: self.pid.ok_or(IdentityErrorKind::Missing(PID))?,
            start_time: self
                .start_time
                .ok_or(IdentityErrorKind::Missing(START_TIME))?,
            boot_id: self.boot_id.ok_or(IdentityErrorKind::Missing(BOOT_ID))?,
            pid_namespace: self
                .pid_namespace
                .ok_or(IdentityErrorKind::Missing(PID_NAMESPACE))?,
            pidfs_inode: self.pidfs_inode,
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

/// A number in the one way in which it is written: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number(text)?).ok()?)
}

/// FNV-1a, 64 bits. Each step maps states one to one, so that two texts of one length that differ in
/// a single byte never have the same sum. It guards against accidents, not against a forger.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
