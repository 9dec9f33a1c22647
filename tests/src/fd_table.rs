//! What a child finds open, told by the child itself: `fd_list` asks the kernel about every number.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, fstat, memfd_create};

use crate::Folder;

/// Device and inode: which file a descriptor names.
pub type FileId = (u64, u64);

/// Number to file.
pub type Table = BTreeMap<RawFd, FileId>;

/// Which file `fd` names.
pub fn id(fd: impl AsFd) -> FileId {
    let stat = fstat(fd).expect("fstat");
    (stat.st_dev, stat.st_ino)
}

/// The first descriptors of this process, as far as they are open.
pub fn stdio() -> Table {
    (0..=2).filter_map(|fd| Some((fd, id_of(fd)?))).collect()
}

/// Which file is open on `number`, if any.
pub fn id_of(number: RawFd) -> Option<FileId> {
    let mut stat = std::mem::MaybeUninit::uninit();
    // SAFETY: fstat(2) fills `stat`, which has room, and takes any number.
    if unsafe { libc::fstat(number, stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled, as the result says.
    let stat = unsafe { stat.assume_init() };
    Some((stat.st_dev, stat.st_ino))
}

/// A new, empty file that nobody else has, close-on-exec, on the lowest free number.
pub fn file() -> OwnedFd {
    memfd_create("fd-table", MemfdFlags::CLOEXEC).expect("memfd_create")
}

/// The same on `number`, which must be free.
pub fn file_at(number: RawFd) -> OwnedFd {
    move_to(file(), number)
}

/// Moves `fd` to `number`, which must be free.
pub fn move_to(fd: OwnedFd, number: RawFd) -> OwnedFd {
    if fd.as_raw_fd() == number {
        return fd;
    }
    let moved = rustix::io::fcntl_dupfd_cloexec(&fd, number).expect("F_DUPFD_CLOEXEC");
    assert_eq!(moved.as_raw_fd(), number, "the number is taken");
    moved
}

/// Opens `count` descriptors from `first` up, `step` apart, WITHOUT close-on-exec: they leak on
/// purpose.
pub fn litter(first: RawFd, step: usize, count: usize) -> Vec<OwnedFd> {
    let source = file();
    (first..)
        .step_by(step)
        .take(count)
        .map(|number| {
            // SAFETY: dup2(2) of an open descriptor; the number is free, as the caller arranged,
            // and the result is owned by nobody else.
            unsafe {
                assert_eq!(
                    libc::dup2(source.as_raw_fd(), number),
                    number,
                    "dup2 to {number}"
                );
                OwnedFd::from_raw_fd(number)
            }
        })
        .collect()
}

/// The path of a fixture program. Not by `current_exe`, which needs /proc.
pub fn fixture(name: &str) -> PathBuf {
    let own = PathBuf::from(std::env::args_os().next().expect("a name"));
    assert!(own.is_absolute(), "started by its whole path: {own:?}");
    let folder = own.parent().expect("a folder");
    // Cargo puts test targets one folder below the programs.
    if folder.ends_with("deps") {
        folder.with_file_name(name)
    } else {
        folder.join(name)
    }
}

/// The file in which it does.
const REPORT: &str = "report";

/// A command whose child tells what it has open.
#[derive(Debug)]
pub struct Witness {
    pub command: Command,
    folder: Folder,
}

impl Witness {
    /// The command is `fd_list`.
    #[allow(clippy::new_without_default, reason = "it names a file")]
    pub fn new() -> Witness {
        Witness::of(fixture("fd_list"))
    }

    /// The same for a test, whose binary does not lie beside `fd_list`.
    pub fn of(program: impl AsRef<std::ffi::OsStr>) -> Witness {
        let folder = Folder::new();
        // The child may be another user's.
        let for_all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), for_all).expect("own folder");
        let mut command = Command::new(program);
        command.arg(folder.join(REPORT));
        Witness { command, folder }
    }

    /// Spawns the command, waits for its end, and tells what the child had. The deadline is that of
    /// the test which runs the fixture: `fd_list` waits for nothing.
    pub fn run(&mut self) -> io::Result<Table> {
        let status = self.command.status()?;
        Ok(self.read(status))
    }

    /// What a child of this command reported before it ended.
    pub fn read(&self, status: ExitStatus) -> Table {
        assert!(status.success(), "fd_list: {status}");
        let report = self.folder.join(REPORT);
        let text = fs::read_to_string(&report).expect("the report");
        fs::remove_file(&report).expect("remove the report");
        text.lines()
            .map(|line| {
                let mut fields = line
                    .split(' ')
                    .map(|field| field.parse().expect("a number"));
                let mut field = || fields.next().expect("three numbers a line");
                let fd: u64 = field();
                (
                    RawFd::try_from(fd).expect("a descriptor"),
                    (field(), field()),
                )
            })
            .collect()
    }

    /// Standard streams from and to nowhere.
    pub fn quiet(mut self) -> Witness {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self
    }
}
