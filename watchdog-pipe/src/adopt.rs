//! Adopts the child's end: finds its number, and checks that it is the right file.

use std::env;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, RawDir, open};

use crate::readiness::Readiness;
use crate::sentinel::{self, Damaged, Found};
use crate::sys::{self, Inherited, Inspected};
use crate::variable::{ENV_VAR, Variable};
use crate::{AdoptError, Watchdog, events};

/// True while a [`Watchdog`] owns the descriptor that the environment named. Once one does, it
/// stays true.
static CLAIMED: AtomicBool = AtomicBool::new(false);

impl Watchdog {
    /// Adopts the pipe that the environment names. `Ok(None)`: this process is not supervised.
    ///
    /// Call it first in `main`. If the parent died before the call, the child still sees it,
    /// because end of file stays readable. A late call only means that the child reacts later.
    ///
    /// A process claims the pipe once. The descriptor becomes close-on-exec, so that no program
    /// which this one starts can keep the pipe open or claim it. The sentinel's page, if there is
    /// one, is mapped and its descriptor closed.
    ///
    /// The variable is removed from the environment: it is meant for this process, and not for the
    /// programs that this one starts. An ancestor that did not remove it may have passed it on.
    /// Such a variable is not meant for this process: its number is not open here, or is open as
    /// another file. Then the variable is removed as well, and the result is `Ok(None)`.
    ///
    /// The pipe's open file description becomes `O_NONBLOCK`. Another process that holds the read
    /// end, such as a shell between the spawner and this process, shares that flag. Without the
    /// flag, a wait here could block for ever: another process could have read the data whose
    /// arrival woke this one.
    ///
    /// # Errors
    /// A typed [`AdoptError`] that names the number. Then nothing was claimed, closed or changed,
    /// and the variable is still in the environment. A later call may try again.
    ///
    /// # Safety
    /// Takes ownership of the descriptor numbers in the variable. This is sound if nothing else in
    /// this process owns those numbers. That is true as long as the caller has adopted no inherited
    /// descriptor before, which is why the call belongs first in `main`. The function checks that a
    /// number is the very pipe, or page, for which the variable was written, and leaves any other
    /// alone.
    ///
    /// It also changes the environment, as [`std::env::remove_var`] does. Meanwhile no other thread
    /// may read or write the environment, except by the functions of [`std::env`](mod@std::env).
    ///
    /// # References
    /// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html),
    /// [environ(7)](https://man7.org/linux/man-pages/man7/environ.7.html)
    #[allow(unsafe_code, reason = "it owns numbers by the promise of its caller")]
    pub unsafe fn from_env() -> Result<Option<Watchdog>, AdoptError> {
        // SAFETY: our caller promises what is asked for.
        let inherited = unsafe { Inherited::promised() };
        from_environment_once(&inherited)
            .inspect(|adopted| adopted.iter().for_each(Watchdog::tell_of_adoption))
            .inspect_err(events::not_adopted)
    }

    /// Adopts a read end that the caller received by a protocol of its own. Sets close-on-exec, and
    /// `O_NONBLOCK` on the open file description, which every other holder of the read end shares.
    ///
    /// # Errors
    /// [`AdoptError::NotAPipe`], [`AdoptError::WrongEnd`], [`AdoptError::HoldsWriter`] and
    /// [`AdoptError::Io`]; the descriptor is closed.
    pub fn from_fd(pipe: OwnedFd) -> Result<Watchdog, AdoptError> {
        from_pipe(pipe)
            .inspect(Watchdog::tell_of_adoption)
            .inspect_err(events::not_adopted)
    }
}

fn from_pipe(pipe: OwnedFd) -> Result<Watchdog, AdoptError> {
    let fd = sys::number(&pipe);
    let inspected = sys::inspect(fd)?;
    check_end(fd, &inspected)?;
    check_writers(fd, &inspected)?;
    Watchdog::new(pipe, Readiness::new()?, None, None).map_err(|(_, error)| error.into())
}

fn from_environment_once(inherited: &Inherited) -> Result<Option<Watchdog>, AdoptError> {
    // Acquire: pairs with the Release store below, in an earlier call that failed. The swap
    // publishes only the claim: a caller that finds it set looks at nothing else.
    if CLAIMED.swap(true, Ordering::AcqRel) {
        return Err(AdoptError::AlreadyClaimed);
    }
    let adopted = from_environment(inherited);
    if !matches!(adopted, Ok(Some(_))) {
        // Release: pairs with the Acquire of the swap above, in a later call. Everything that this
        // call did and undid happens before the later call looks at the descriptors.
        CLAIMED.store(false, Ordering::Release);
    }
    adopted
}

fn from_environment(inherited: &Inherited) -> Result<Option<Watchdog>, AdoptError> {
    let Some(variable) = read_variable()? else {
        return Ok(None);
    };
    let adopted = claim(&variable, inherited)?;
    inherited.forget(ENV_VAR);
    Ok(adopted)
}

/// `None`: the variable is not set.
fn read_variable() -> Result<Option<Variable>, AdoptError> {
    // Not env::var: that would hide a second variable of the same name, which two layers of
    // spawners can leave behind.
    let mut found = env::vars_os()
        .filter(|(name, _)| name == ENV_VAR)
        .map(|(_, value)| value);
    let Some(value) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(AdoptError::SetTwice);
    }
    let parsed = value.to_str().and_then(Variable::parse);
    parsed.map(Some).ok_or(AdoptError::Malformed { value })
}

/// `None`: the variable is not meant for this process.
fn claim(variable: &Variable, inherited: &Inherited) -> Result<Option<Watchdog>, AdoptError> {
    let fd = variable.pipe_fd;
    let inspected = match sys::inspect(fd) {
        Ok(inspected) => inspected,
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if (inspected.device, inspected.inode) != (variable.device, variable.inode) {
        return Ok(None);
    }
    check_end(fd, &inspected)?;
    if !variable.clean {
        check_writers(fd, &inspected)?;
    }
    let (page, observer) = match &variable.sentinel {
        None => (None, None),
        Some(address) => match sentinel::adopt(address, inherited) {
            Ok(Found::Nothing) => (None, None),
            Ok(Found::Page(observer)) => (Some(address.fd), observer),
            Err(Damaged) => return Err(AdoptError::DamagedPage { fd: address.fd }),
        },
    };
    let readiness = Readiness::new()?;
    let watchdog = Watchdog::new(inherited.own(fd), readiness, observer, variable.policy);
    let watchdog = watchdog.map_err(|(pipe, error)| {
        // This process has not claimed the number, so it must not close it.
        let _ = pipe.into_raw_fd();
        error
    })?;
    // Closes the page's descriptor. The mapping stays.
    drop(page.map(|number| inherited.own(number)));
    Ok(Some(watchdog))
}

fn check_end(fd: RawFd, inspected: &Inspected) -> Result<(), AdoptError> {
    if !inspected.is_fifo {
        return Err(AdoptError::NotAPipe { fd });
    }
    if !inspected.readable || inspected.writable {
        return Err(AdoptError::WrongEnd { fd });
    }
    Ok(())
}

fn check_writers(fd: RawFd, pipe: &Inspected) -> Result<(), AdoptError> {
    match own_writer(pipe) {
        Some(writer) => Err(AdoptError::HoldsWriter { fd, writer }),
        None => Ok(()),
    }
}

/// A descriptor of this process that can write to the pipe.
fn own_writer(pipe: &Inspected) -> Option<RawFd> {
    let writes = |fd: &RawFd| {
        let is_the_pipe = |fd| sys::file(fd).is_ok_and(|file| file == (pipe.device, pipe.inode));
        is_the_pipe(*fd) && sys::inspect(*fd).is_ok_and(|other| other.writable)
    };
    // Without /proc: try every possible number, up to a bound that keeps the start quick. If a
    // write end is above the bound, only this check misses it; the link still works.
    find_open(writes).unwrap_or_else(|_| (0..highest_number()).find(writes))
}

/// Searches the open descriptors in /proc. It does not use `std::fs::read_dir`, which panics if a
/// filter refuses close(2).
fn find_open(wanted: impl Fn(&RawFd) -> bool) -> io::Result<Option<RawFd>> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open("/proc/self/fd", how, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(folder, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let number = entry.file_name().to_str().ok();
        let number = number.and_then(|name| name.parse().ok());
        if let Some(found) = number.filter(&wanted) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn highest_number() -> RawFd {
    const BOUND: RawFd = 65_536;
    sys::descriptor_limit().unwrap_or(BOUND).min(BOUND)
}
