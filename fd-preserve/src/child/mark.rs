//! Marks everything from 3 up close-on-exec, by the best way that the kernel, a filter and the
//! mounts allow.

use std::ffi::{c_long, c_ulong};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use super::calls::{Errno, checked, fcntl};
use crate::ChildFdsError;

/// The first number after the standard streams.
const FIRST: RawFd = 3;

/// Runs in the child: makes everything from 3 up close at the exec. This includes the descriptors
/// that the child keeps: `Target::install` runs later.
pub(super) fn mark_all_cloexec() -> Result<(), ChildFdsError> {
    // A container's filter may return any errno, so any error is a reason to try the next way
    // (moby#43595).
    if by_close_range().is_ok() || by_proc().is_ok() {
        Ok(())
    } else {
        by_loop()
    }
}

/// Runs in the child: one system call, however many descriptors are open.
fn by_close_range() -> Result<(), Errno> {
    // SAFETY: takes no pointer. CLOSE_RANGE_CLOEXEC sets a flag and closes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    checked(done).map(drop)
}

/// Runs in the child: marks every descriptor that the kernel lists in /proc.
fn by_proc() -> Result<(), Errno> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; openat(2) reads it and nothing else.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/proc/self/fd".as_ptr(),
            flags,
        )
    };
    // A descriptor always fits into a `RawFd`.
    let folder = RawFd::try_from(checked(opened)?).map_err(|_| Errno(libc::EBADF))?;
    let marked = if is_procfs(folder) {
        mark_listed(folder)
    } else {
        Err(Errno(libc::ENOENT))
    };
    // SAFETY: opened above, and nobody else knows it.
    unsafe { libc::syscall(libc::SYS_close, folder) };
    marked
}

/// Runs in the child: whether `folder` is in procfs, and not in another file system that has a
/// folder of that name.
fn is_procfs(folder: RawFd) -> bool {
    let mut statfs = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the kernel fills a statfs, and `statfs` has room for one. This uses the C library,
    // because the raw call has another layout on 32-bit machines. fstatfs is no cancellation point.
    let done = unsafe { libc::fstatfs(folder, statfs.as_mut_ptr()) };
    // SAFETY: zeroed is a valid statfs, whether or not the kernel filled it in.
    let statfs = unsafe { statfs.assume_init() };
    // The C libraries disagree on the type; i128 fits all of them.
    done == 0 && i128::from(statfs.f_type) == i128::from(libc::PROC_SUPER_MAGIC)
}

/// Runs in the child: marks every descriptor that the open folder lists.
fn mark_listed(folder: RawFd) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`.
        let filled = checked(unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder,
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        })?;
        let filled = usize::try_from(filled).unwrap_or(0);
        let mut rest = match buffer.get(..filled) {
            Some([]) | None => return Ok(()),
            Some(entries) => entries,
        };
        while let Some((fd, next)) = entry(rest) {
            if let Some(fd) = fd {
                fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)?;
            }
            rest = next;
        }
    }
}

/// Runs in the child: parses the first of some `linux_dirent64` records, and returns its number, if
/// that is 3 or more, and the rest. A record consists of inode (8 bytes), offset (8), length (2),
/// type (1), and a name that ends with a 0.
fn entry(records: &[u8]) -> Option<(Option<RawFd>, &[u8])> {
    let length = usize::from(u16::from_ne_bytes([*records.get(16)?, *records.get(17)?]));
    let name = records.get(19..length)?;
    let mut number: RawFd = 0;
    for &byte in name.iter().take_while(|&&byte| byte != 0) {
        // "." and ".." are not numbers.
        if !byte.is_ascii_digit() {
            return Some((None, records.get(length..)?));
        }
        number = number
            .saturating_mul(10)
            .saturating_add(RawFd::from(byte - b'0'));
    }
    Some(((number >= FIRST).then_some(number), records.get(length..)?))
}

/// Runs in the child: marks every number in the kernel's descriptor table.
///
/// Neither the soft nor the hard `RLIMIT_NOFILE` is a bound: both may have been lowered while
/// higher numbers were open.
fn by_loop() -> Result<(), ChildFdsError> {
    for fd in FIRST..table_end(TABLE_MAX).ok_or(ChildFdsError::NoCloseMethod)? {
        match fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) {
            Ok(_) | Err(Errno(libc::EBADF)) => {}
            Err(_) => return Err(ChildFdsError::NoCloseMethod),
        }
    }
    Ok(())
}

/// Runs in the child: returns a number beyond this process's descriptor table, so that nothing is
/// open from there up. `None` if the table is larger than `max`, or if a filter hides its size.
///
/// A fork gives the child a table that is just large enough for its highest number, rounded up.
fn table_end(max: RawFd) -> Option<RawFd> {
    let mut set: FdSet = [0; FD_SET_WORDS];
    let mut number = TABLE_MIN;
    while number <= max {
        if is_beyond_table(number, &mut set).ok()? {
            return Some(number);
        }
        number *= 2;
    }
    None
}

/// Runs in the child: uses select(2), which returns `EBADF` for a closed number within the table,
/// but does not check numbers beyond it ("BUGS" in
/// [select(2)](https://man7.org/linux/man-pages/man2/select.2.html)). `set` is empty before and
/// after.
fn is_beyond_table(number: RawFd, set: &mut FdSet) -> Result<bool, Errno> {
    match fcntl(number, libc::F_GETFD, 0) {
        Err(Errno(libc::EBADF)) => {}
        Ok(_) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let bit = usize::try_from(number).map_err(|_| Errno(libc::EBADF))?;
    let word = bit / WORD_BITS;
    loop {
        *set.get_mut(word).ok_or(Errno(libc::EBADF))? = 1 << (bit % WORD_BITS);
        let selected = select_now(number + 1, set);
        set.fill(0);
        match selected {
            Ok(()) => return Ok(true),
            Err(Errno(libc::EBADF)) => return Ok(false),
            // A handler of the parent has run.
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Runs in the child: pselect6(2) for reading, without waiting. Not select(2), which not every
/// architecture has.
fn select_now(end: RawFd, set: &mut FdSet) -> Result<(), Errno> {
    // The kernel writes the remaining time here: a `timespec` of two longs.
    let mut at_once: [c_long; 2] = [0; 2];
    // SAFETY: `end` is at most TABLE_MAX + 1. The kernel reads and writes the bits below it,
    // rounded up to whole words; `set` has all of these. There is no other set, and no mask.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pselect6,
            end,
            set.as_mut_ptr(),
            ptr::null_mut::<c_ulong>(),
            ptr::null_mut::<c_ulong>(),
            at_once.as_mut_ptr(),
            ptr::null::<c_ulong>(),
        )
    })
    .map(drop)
}

/// The kernel's `fd_set`, with a bit for each number up to [`TABLE_MAX`]. It is longer than the C
/// library's.
type FdSet = [c_ulong; FD_SET_WORDS];

const WORD_BITS: usize = c_ulong::BITS as usize;

const FD_SET_WORDS: usize = TABLE_MAX as usize / WORD_BITS + 1;

/// The smallest table that exists (`NR_OPEN_DEFAULT`; half of that on a 32-bit machine).
const TABLE_MIN: RawFd = 64;

/// The largest table that the loop handles: 8 KiB of bits fit on the stack of any child.
const TABLE_MAX: RawFd = 1 << 16;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;

    fn open_from(number: RawFd) -> std::io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(
            File::open("/dev/null")?,
            number,
        )?)
    }

    #[test]
    fn table_ends_beyond_every_number_that_is_open() -> std::io::Result<()> {
        // Below 1024, the usual limit on descriptors.
        for number in [63, 64, 65, 127, 128, 1_000, 1_023] {
            let open = open_from(number)?.as_raw_fd();
            let end = table_end(TABLE_MAX);
            assert!(end.is_some_and(|end| end > open), "{end:?} for {open}");
        }
        Ok(())
    }

    #[test]
    fn table_that_is_larger_than_the_loop_works_on_has_no_proven_end() -> std::io::Result<()> {
        let _open = open_from(1_000)?;
        assert_eq!(table_end(512), None);
        // The number that is checked is itself open.
        let _at = open_from(512)?;
        assert_eq!(table_end(512), None);
        Ok(())
    }
}
