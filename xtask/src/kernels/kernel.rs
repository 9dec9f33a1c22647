//! A kernel, and the architecture that it runs on.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};

/// A processor architecture, by Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arch {
    Amd64,
}

impl Arch {
    pub(super) fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
        }
    }

    /// As `uname -m` has it.
    pub(super) fn machine(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86-64",
        }
    }
}

/// A kernel of Debian's: the one of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// What the command line calls it.
    pub(super) name: &'static str,
    pub(super) suite: &'static str,
    pub(super) arch: Arch,
}

const fn kernel(name: &'static str, suite: &'static str, arch: Arch) -> Kernel {
    Kernel { name, suite, arch }
}

/// All that are known, the oldest first.
pub(super) const ALL: [Kernel; 4] = [
    kernel("5.10", "bullseye", Arch::Amd64),
    kernel("6.1", "bookworm", Arch::Amd64),
    kernel("6.12", "trixie", Arch::Amd64),
    kernel("newest", "sid", Arch::Amd64),
];

impl Kernel {
    pub(super) fn oldest_and_newest() -> [Kernel; 2] {
        [ALL[0], ALL[3]]
    }

    /// Names a file, too.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.name, self.arch.machine())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.arch.machine())
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kernel, Error> {
        let Some(kernel) = ALL.iter().find(|kernel| kernel.name == text) else {
            bail!("known are {}", ALL.map(|kernel| kernel.name).join(", "));
        };
        Ok(*kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_is_found_by_its_name() {
        for kernel in ALL {
            assert_eq!(kernel.name.parse::<Kernel>().unwrap(), kernel);
        }
        assert!("2.4".parse::<Kernel>().is_err());
    }

    #[test]
    fn oldest_and_newest_are_the_ends_of_one_architecture() {
        let [oldest, newest] = Kernel::oldest_and_newest();
        assert_eq!((oldest.name, newest.name), ("5.10", "newest"));
        assert_eq!(oldest.arch, newest.arch);
    }
}
