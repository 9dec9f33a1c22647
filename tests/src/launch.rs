//! Starts a program as a program in C would: fork, dup2, execve, nothing of std in between.
//!
//! For fixtures that must say exactly what a child inherits. The caller has one thread.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::ptr;

/// Where mapped descriptors wait until all of them are copied: above every number the tests ask
/// for.
const STAGING: RawFd = 700;

/// A program, its arguments, its environment, and its descriptors beyond those inherited.
#[derive(Clone, Debug)]
pub struct Launch {
    args: Vec<CString>,
    env: BTreeMap<OsString, OsString>,
    fds: Vec<(RawFd, RawFd)>,
    stopped: bool,
    unshare: i32,
}

impl Launch {
    /// `program` by its path, in this process's environment.
    pub fn new(program: impl AsRef<Path>) -> Launch {
        Launch {
            args: vec![c_string(program.as_ref().as_os_str().to_owned())],
            env: std::env::vars_os().collect(),
            fds: Vec::new(),
            stopped: false,
            unshare: 0,
        }
    }

    pub fn arg(&mut self, arg: impl Into<OsString>) -> &mut Launch {
        self.args.push(c_string(arg.into()));
        self
    }

    /// Another program, with the same arguments.
    pub fn program(&mut self, program: impl AsRef<Path>) -> &mut Launch {
        self.args[0] = c_string(program.as_ref().as_os_str().to_owned());
        self
    }

    /// By way of a shell, which executes the program in its own place.
    pub fn through(&mut self, shell: impl AsRef<Path>) -> &mut Launch {
        let before = [
            shell.as_ref().as_os_str().to_owned(),
            "-c".into(),
            "exec \"$0\" \"$@\"".into(),
        ];
        self.args.splice(0..0, before.map(c_string));
        self
    }

    pub fn env(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Launch {
        self.env.insert(name.into(), value.into());
        self
    }

    /// `source` of this process becomes `target` in the program.
    pub fn fd(&mut self, source: RawFd, target: RawFd) -> &mut Launch {
        self.fds.push((source, target));
        self
    }

    /// Between fork and exec the child stops itself (SIGSTOP), with copies of everything that is
    /// open.
    pub fn stopped(&mut self) -> &mut Launch {
        self.stopped = true;
        self
    }

    /// The child leaves these namespaces (`CLONE_NEW*`) before it executes the program.
    pub fn unshare(&mut self, flags: i32) -> &mut Launch {
        self.unshare = flags;
        self
    }

    /// Starts the program in a session of its own, so that no terminal and no group signal reaches
    /// it. Its exit code is 127 when it could not be executed.
    pub fn start(&self) -> io::Result<i32> {
        let env: Vec<CString> = self
            .env
            .iter()
            .map(|(name, value)| {
                let mut entry = name.clone();
                entry.push("=");
                entry.push(value);
                c_string(entry)
            })
            .collect();
        let args = pointers(&self.args);
        let env = pointers(&env);
        // SAFETY: the child makes system calls alone, on what was prepared above, until it has
        // executed the program or ended itself.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: the arrays end with a null pointer and their strings live in this copy of
                // the parent's memory; the numbers are what the caller asked for.
                unsafe {
                    libc::setsid();
                    if self.stopped {
                        libc::raise(libc::SIGSTOP);
                    }
                    if self.unshare != 0 && libc::unshare(self.unshare) != 0 {
                        libc::_exit(126);
                    }
                    for (index, (source, _)) in (0..).zip(&self.fds) {
                        // Open numbers from STAGING up are the copies alone, so each has its own.
                        if libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, STAGING + index) < 0 {
                            libc::_exit(126);
                        }
                    }
                    for (index, (_, target)) in (0..).zip(&self.fds) {
                        if libc::dup2(STAGING + index, *target) < 0 {
                            libc::_exit(126);
                        }
                    }
                    libc::execve(args[0], args.as_ptr(), env.as_ptr());
                    libc::_exit(127)
                }
            }
            pid => Ok(pid),
        }
    }
}

fn c_string(text: OsString) -> CString {
    CString::new(text.into_vec()).expect("no NUL in an argument")
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}
