//! Error numbers by their names.

macro_rules! errnos {
    ($($name:ident)*) => {
        const NAMES: &[(&str, i32)] = &[$((stringify!($name), libc::$name)),*];
    };
}

errnos! {
    E2BIG EACCES EAGAIN EBADF EBUSY ECHILD ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDQUOT
    EEXIST EFAULT EFBIG EINTR EINVAL EIO EISCONN EISDIR ELIBBAD ELOOP EMFILE EMLINK EMSGSIZE
    ENAMETOOLONG ENFILE ENODEV ENOENT ENOEXEC ENOLCK ENOMEM ENOSPC ENOSYS ENOTBLK ENOTCONN
    ENOTDIR ENOTEMPTY ENOTSOCK ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EOWNERDEAD EPERM EPIPE
    EPROTONOSUPPORT ERANGE EROFS ESPIPE ESRCH ETIMEDOUT ETXTBSY EUSERS EXDEV EAFNOSUPPORT
    ENOBUFS EPROTOTYPE ENOTUNIQ EREMOTE ENODATA ECANCELED
}

/// The name of a number, as the man pages have it.
#[must_use]
pub fn name(errno: i32) -> String {
    let known = NAMES.iter().find(|(_, number)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(name, _)| (*name).to_owned())
}

/// The number of a name.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number)
}
