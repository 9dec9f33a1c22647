//! Values of options: fixed sets of words, numbers, signals and times.

use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::process::Signal;

use crate::failure::Failure;
use crate::sys;

/// Reads one of the words that an option accepts.
pub(crate) fn word<T: Copy>(
    option: &str,
    value: &OsStr,
    known: &[(T, &str)],
) -> Result<T, Failure> {
    let found = known.iter().find(|(_, word)| value == *word);
    found.map(|(meaning, _)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(_, word)| *word).collect();
        let (value, words) = (value.display(), words.join(", "));
        Failure::refused(format!("{option}={value}: not one of {words}"))
    })
}

/// Returns the word for a value.
pub(crate) fn written<T: Copy + PartialEq>(value: T, known: &[(T, &'static str)]) -> &'static str {
    let found = known.iter().find(|(meaning, _)| *meaning == value);
    found.map_or("", |(_, word)| word)
}

/// Reads the number of a descriptor. `separator` comes before the number on the command line.
pub(crate) fn number(option: &str, separator: char, value: &OsStr) -> Result<RawFd, Failure> {
    value.to_str().and_then(digits).ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}{separator}{value}: not the number of a descriptor; 3 is one"
        ))
    })
}

/// Reads a pid, which must be above zero.
pub(crate) fn pid(option: &str, separator: char, value: &OsStr) -> Result<i32, Failure> {
    let number = value.to_str().and_then(digits);
    number.filter(|number| *number > 0).ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}{separator}{value}: not a pid; $$ is a shell's own"
        ))
    })
}

/// Reads a number that consists of digits only. Rust's parser would also accept a sign.
fn digits(text: &str) -> Option<i32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Reads a signal: `TERM`, `SIGTERM` and `15`; `RTMIN+3`.
pub(crate) fn signal(option: &str, value: &OsStr) -> Result<Signal, Failure> {
    let known = value.to_str().and_then(|text| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let number = NAMES.iter().find(|(known, _)| *known == name);
        let number = number.map(|(_, number)| *number);
        let real_time = || libc::SIGRTMIN().checked_add(digits(name.strip_prefix("RTMIN+")?)?);
        number
            .or_else(|| digits(name))
            .or_else(real_time)
            .and_then(sys::signal)
    });
    known.ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}={value}: not a signal; TERM, SIGTERM and 15 are"
        ))
    })
}

/// The standard signals by their names.
pub(crate) const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Reads a time: `10s`, `1.5s`, `500ms`, `2m`, `1h`. A bare number means seconds, as for
/// timeout(1).
pub(crate) fn duration(option: &str, value: &OsStr) -> Result<Duration, Failure> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = value.to_str().and_then(|text| {
        let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
        let (unit, factor) = unit.copied().unwrap_or(("", 1.0));
        let number = text.strip_suffix(unit)?;
        // Rust's parser would also accept "inf", "nan" and "1e9".
        if !number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return None;
        }
        let seconds: f64 = number.parse().ok()?;
        Duration::try_from_secs_f64(seconds * factor).ok()
    });
    parsed.ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}={value}: not a time; 10s, 1.5s, 500ms and 2m are"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_timeout_1_reads_them() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            let read = duration("--stop-timeout", OsStr::new(text)).expect("a time");
            assert_eq!(read, Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn signals_have_names_with_and_without_sig_and_numbers() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            let read = signal("--stop-signal", OsStr::new(text)).expect("a signal");
            assert_eq!(read, Signal::TERM, "{text}");
        }
        let shifted = signal("--stop-signal", OsStr::new("SIGRTMIN+3")).expect("a signal");
        assert_eq!(shifted.as_raw(), libc::SIGRTMIN() + 3);
        for text in ["RTMIN+31", "RTMIN+-1", "RTMIN+2147483647", "RTMIN+"] {
            assert!(signal("--stop-signal", OsStr::new(text)).is_err(), "{text}");
        }
        assert!(signal("--stop-signal", OsStr::new("0")).is_err());
        assert!(signal("--stop-signal", OsStr::new("-1")).is_err());
        assert!(signal("--stop-signal", OsStr::new("65")).is_err());
    }
}
