//! The program as execve(2) takes it, made before there is a child: candidates, arguments,
//! environment.

use std::ffi::{OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use crate::SpawnError;
use crate::environment::Environment;
use crate::listen::PidVariable;
use crate::strings::CStrings;

/// Where a child without `PATH` looks, as the C library has it (`_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// All that execve(2) needs.
///
/// The pointers are into `strings`, which are never touched again.
#[derive(Debug)]
pub(crate) struct Image {
    candidates: Vec<*const c_char>,
    /// The name, its arguments, null.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    pid_variable: Option<PidVariable>,
    _strings: [CStrings; 3],
}

impl Image {
    /// The search is execvp(3)'s, which std's `Command` uses too: a name without a slash is looked
    /// up in the `PATH` of the child's environment. `name` is the first of its arguments.
    /// `program`, `name` and `args` have passed [`check`].
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

    /// The variable that is the child's to write.
    pub(crate) fn pid_variable(&self) -> Option<&PidVariable> {
        self.pid_variable.as_ref()
    }
}

/// One candidate for each folder; an empty one is the working directory. One longer than any path
/// is skipped.
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

/// Refuses what execve(2) cannot be given.
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
