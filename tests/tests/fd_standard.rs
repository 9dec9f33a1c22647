//! Sources on the numbers of the standard streams.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Stdio;
use std::sync::Arc;

use fd_preserve::PreserveFds;
use workspace_tests::fd_table::{Table, Witness, file, id, stdio};
use workspace_tests::fork::Fork;
use workspace_tests::proc_fs::own_fds;
use workspace_tests::{alone, fd_table};

/// Closes `number` and opens a file of its own there.
fn file_on(number: RawFd) -> OwnedFd {
    // SAFETY: the standard streams belong to the process, and each case is a process.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    fd_table::move_to(file(), number)
}

/// `Command` puts its own streams on 0, 1 and 2 before the plan runs: the child gets the file all
/// the same.
#[test]
fn a_source_on_a_standard_number_arrives_on_another() {
    alone!({
        for number in 0..=2 {
            Fork::run(|| {
                let source = file_on(number);
                let file = id(&source);
                let mut witness = Witness::new().quiet();
                let mut fds = PreserveFds::new();
                let source = Arc::new(source);
                for target in [9, 10] {
                    fds.map_shared_fd(Arc::clone(&source), target)
                        .expect("map_shared_fd");
                }
                fds.apply(&mut witness.command).expect("apply");
                let table = witness.run().expect("spawn");
                assert_eq!(table.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 9, 10]);
                assert_eq!((table[&9], table[&10]), (file, file), "from {number}");
                assert_eq!(
                    source.as_raw_fd(),
                    number,
                    "its holder's number is as it was"
                );
            })
            .succeeds();
        }
    });
}

/// As targets they win over what `Command` puts there, the number they have already included.
#[test]
fn a_source_on_a_standard_number_keeps_it_whatever_the_command_says() {
    alone!({
        for number in 0..=2 {
            Fork::run(|| {
                let source = file_on(number);
                let file = id(&source);
                let mut witness = Witness::new().quiet();
                let mut fds = PreserveFds::new();
                fds.preserve_fd(source).expect("preserve_fd");
                fds.apply(&mut witness.command).expect("apply");
                let table = witness.run().expect("spawn");
                assert_eq!(table.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
                assert_eq!(table[&number], file, "on {number}");
            })
            .succeeds();
        }
    });
}

/// A cycle of all three, and nothing is left of it in the parent.
#[test]
fn sources_on_all_standard_numbers_may_change_places() {
    alone!({
        let before = own_fds().len();
        let sources: Vec<OwnedFd> = (0..=2).map(file_on).collect();
        let planned: Table = [1, 2, 0].into_iter().zip(sources.iter().map(id)).collect();
        let mut witness = Witness::new().quiet();
        let mut fds = PreserveFds::new();
        for (source, target) in sources.into_iter().zip([1, 2, 0]) {
            fds.map_fd(source, target).expect("map_fd");
        }
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), planned);
        drop(witness);
        assert_eq!(own_fds().len(), before - 3, "given by value, and closed");
    });
}

/// The number stays the source's until the command goes, so that nothing of the parent's lands
/// there.
#[test]
fn a_source_on_a_standard_number_arrives_in_every_child() {
    alone!({
        let source = file_on(0);
        let file = id(&source);
        let mut witness = Witness::new();
        witness.command.stdin(Stdio::piped());
        let mut fds = PreserveFds::new();
        fds.map_fd(source, 9).expect("map_fd");
        fds.apply(&mut witness.command).expect("apply");
        for _ in 0..2 {
            assert_eq!(fd_table::id_of(0), Some(file));
            assert_eq!(witness.run().expect("spawn")[&9], file);
        }
        drop(witness);
        assert!(!stdio().contains_key(&0));
    });
}
