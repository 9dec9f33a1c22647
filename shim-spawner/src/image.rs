//! The arguments of execve(2), made before there is a child: candidate paths, arguments,
//! environment.

use std::ffi::{OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use crate::SpawnError;
use crate::environment::Environment;
use crate::listen::PidVariable;
use crate::strings::CStrings;

/// The search path of a child without `PATH`, equal to the C library's (`_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// All that execve(2) needs.
///
/// The pointers point into `strings`, which are never changed.
#[derive(Debug)]
pub(crate) struct Image {
    candidates: Vec<*const c_char>,
    /// The name, the arguments, a null pointer.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    pid_variable: Option<PidVariable>,
    _strings: [CStrings; 3],
}

impl Image {
    /// Searches as execvp(3) and std's `Command` do: a name without a slash is looked up in the
    /// `PATH` of the child's environment. `name` becomes the first argument. `program`, `name` and
    /// `args` have passed [`check`].
    pub(crate) fn new(
        program: &Path,
        name: &OsStr,
        args: &[OsString],
        environment: Environment,
        pid_variable: Option<PidVariable>,
    ) -> Image {
        let program = program.as_os_str().as_bytes();
        let mut paths = CStrings::default();
        if program.contains(&b'/') {
            paths.push(&[program]);
        } else if !program.is_empty() {
            let search = environment
                .path
                .as_deref()
                .unwrap_or(OsStr::new(DEFAULT_PATH));
            look_up(search.as_bytes(), program, &mut paths);
        }
        let mut arguments = CStrings::default();
        arguments.push(&[name.as_bytes()]);
        for arg in args {
            arguments.push(&[arg.as_bytes()]);
        }
        let variables = environment.strings;
        let end = [ptr::null()];
        Image {
            candidates: paths.pointers().collect(),
            arguments: arguments.pointers().chain(end).collect(),
            environment: variables
                .pointers()
                .chain(pid_variable.as_ref().map(PidVariable::pointer))
                .chain(end)
                .collect(),
            pid_variable,
            _strings: [paths, arguments, variables],
        }
    }

    /// The paths to try, in their order.
    pub(crate) fn candidates(&self) -> &[*const c_char] {
        &self.candidates
    }

    /// The argument vector.
    pub(crate) fn argv(&self) -> *const *const c_char {
        self.arguments.as_ptr()
    }

    pub(crate) fn environment(&self) -> *const *const c_char {
        self.environment.as_ptr()
    }

    /// The variable that the child writes.
    pub(crate) fn pid_variable(&self) -> Option<&PidVariable> {
        self.pid_variable.as_ref()
    }
}

/// Adds one candidate for each folder. An empty folder is the working directory. A folder that is
/// longer than any path is skipped.
fn look_up(search: &[u8], program: &[u8], paths: &mut CStrings) {
    let longest = usize::try_from(libc::PATH_MAX).unwrap_or(usize::MAX);
    for folder in search.split(|&byte| byte == b':') {
        if folder.is_empty() {
            paths.push(&[program]);
        } else if folder.len() < longest {
            paths.push(&[folder, b"/", program]);
        }
    }
}

/// Refuses strings that execve(2) cannot take.
pub(crate) fn check<'a>(
    program: &Path,
    args: impl IntoIterator<Item = &'a OsString>,
) -> Result<(), SpawnError> {
    let nul = |text: &OsStr| text.as_bytes().contains(&0);
    if nul(program.as_os_str()) {
        Err(SpawnError::invalid("a path has a NUL byte"))
    } else if args.into_iter().any(|arg| nul(arg)) {
        Err(SpawnError::invalid("an argument has a NUL byte"))
    } else {
        Ok(())
    }
}
