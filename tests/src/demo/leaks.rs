//! Which descriptors are where they should not be, judged from the tables in /proc.

use super::proc_fs::{FdTable, Open};

/// Processes that share what they have, mostly one, and their open descriptors.
pub(super) struct Holder {
    pub(super) who: String,
    pub(super) fds: Vec<(i32, Open)>,
}

/// What has leaked, a text each:
/// - a program holds an open file that is the runtime's or a shim's;
/// - a shim holds one that is another shim's.
///
/// The standard three are left out: /dev/null and a terminal are everybody's.
pub(super) fn survey(runtime: &Holder, shims: &[Holder], programs: &[Holder]) -> Vec<String> {
    let mut leaks = Vec::new();
    let owners: Vec<&Holder> = shims.iter().chain([runtime]).collect();
    for program in programs {
        leaks.extend(shared(program, &owners));
    }
    for (index, shim) in shims.iter().enumerate() {
        leaks.extend(shared(shim, &owners[..index]));
    }
    leaks
}

/// Each descriptor of `holder` that one of the owners has as well, told once.
fn shared(holder: &Holder, owners: &[&Holder]) -> Vec<String> {
    let owner_of = |open: &Open| {
        owners
            .iter()
            .find(|owner| beyond_stdio(&owner.fds).any(|(_, own)| same_file(open, own)))
    };
    beyond_stdio(&holder.fds)
        .filter_map(|(fd, open)| Some((fd, open, owner_of(open)?)))
        .map(|(fd, open, owner)| {
            format!("{} has {} of {} as {fd}", holder.who, open.name, owner.who)
        })
        .collect()
}

fn beyond_stdio(fds: &[(i32, Open)]) -> impl Iterator<Item = &(i32, Open)> {
    fds.iter().filter(|(fd, _)| *fd > 2)
}

/// Whether both are the same file, as far as /proc can tell. Epoll instances, eventfds and the like
/// all share one inode, and before Linux 6.9 pidfds share it too: fdinfo decides there. Of a file
/// whose fdinfo says nothing, /proc cannot tell.
fn same_file(a: &Open, b: &Open) -> bool {
    if (a.dev, a.ino) != (b.dev, b.ino) {
        return false;
    }
    // A file on a disk may have several names; the name of an anonymous one is its kind.
    let anonymous = a.name.starts_with("anon_inode:");
    !anonymous || a.name == b.name && a.fdinfo.is_some() && a.fdinfo == b.fdinfo
}

/// What is open in `after` and was not in `before`.
pub(super) fn left_open(who: &str, before: &FdTable, after: &FdTable) -> Vec<String> {
    after
        .iter()
        .filter(|(fd, open)| before.get(fd) != Some(open))
        .map(|(fd, open)| format!("{who} still has {} as {fd}", open.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(who: &str, fds: &[(i32, u64, &str)]) -> Holder {
        let open = |ino, name: &str| Open {
            dev: 1,
            ino,
            name: name.to_owned(),
            fdinfo: None,
        };
        let fds = fds
            .iter()
            .map(|&(fd, ino, name)| (fd, open(ino, name)))
            .collect();
        Holder {
            who: who.to_owned(),
            fds,
        }
    }

    #[test]
    fn planned_descriptors_are_no_leak() {
        let runtime = holder("runtime", &[(0, 9, "/dev/null"), (3, 11, "pipe:[11]")]);
        let shim = holder("shim", &[(0, 9, "/dev/null"), (3, 11, "pipe:[11]")]);
        let other = holder("other", &[(0, 9, "/dev/null"), (3, 12, "pipe:[12]")]);
        let program = holder("program", &[(0, 9, "/dev/null"), (3, 40, "socket:[40]")]);
        assert!(survey(&runtime, &[shim, other], &[program]).is_empty());
    }

    #[test]
    fn watchdog_of_a_shim_in_its_program_is_a_leak() {
        let runtime = holder("runtime", &[(7, 10, "pipe:[10]")]);
        let shim = holder("shim", &[(3, 11, "pipe:[11]")]);
        let program = holder("program", &[(5, 11, "pipe:[11]")]);
        let leaks = survey(&runtime, &[shim], &[program]);
        assert_eq!(leaks, ["program has pipe:[11] of shim as 5"]);
    }

    #[test]
    fn pipe_of_one_shim_in_another_is_a_leak() {
        let runtime = holder("runtime", &[]);
        let shims = [
            holder("a", &[(3, 11, "pipe:[11]")]),
            holder("b", &[(9, 11, "pipe:[11]")]),
        ];
        assert_eq!(survey(&runtime, &shims, &[]), ["b has pipe:[11] of a as 9"]);
    }

    /// A holder with one anonymous file as descriptor 4. All have inode 7, as before pidfs.
    fn anonymous(who: &str, name: &str, fdinfo: Option<&str>) -> Holder {
        let mut holder = holder(who, &[(4, 7, name)]);
        for (_, open) in &mut holder.fds {
            open.fdinfo = fdinfo.map(str::to_owned);
        }
        holder
    }

    #[test]
    fn pidfds_of_two_processes_are_no_leak_though_they_share_an_inode() {
        let runtime = anonymous("runtime", "anon_inode:[pidfd]", Some("20"));
        let program = anonymous("program", "anon_inode:[pidfd]", Some("30"));
        assert!(survey(&runtime, &[], &[program]).is_empty());
    }

    #[test]
    fn pidfd_of_the_same_process_is_a_leak() {
        let runtime = anonymous("runtime", "anon_inode:[pidfd]", Some("20"));
        let program = anonymous("program", "anon_inode:[pidfd]", Some("20"));
        let leaks = survey(&runtime, &[], &[program]);
        assert_eq!(leaks, ["program has anon_inode:[pidfd] of runtime as 4"]);
    }

    #[test]
    fn eventfd_is_no_pidfd_whatever_their_numbers() {
        let runtime = anonymous("runtime", "anon_inode:[pidfd]", Some("20"));
        let program = anonymous("program", "anon_inode:[eventfd]", Some("20"));
        assert!(survey(&runtime, &[], &[program]).is_empty());
    }

    #[test]
    fn epoll_instances_are_told_apart_from_files() {
        let runtime = holder("runtime", &[(4, 7, "anon_inode:[eventpoll]")]);
        let program = holder("program", &[(4, 7, "anon_inode:[eventpoll]")]);
        assert!(survey(&runtime, &[], &[program]).is_empty());
    }

    #[test]
    fn descriptor_that_came_and_stayed_is_left_open() {
        let table = |fds| FdTable::from_iter(holder("me", fds).fds);
        let before = table(&[(0, 1, "a"), (5, 2, "b")]);
        let after = table(&[(0, 1, "a"), (6, 2, "b")]);
        assert_eq!(left_open("me", &before, &after), ["me still has b as 6"]);
        assert!(left_open("me", &after, &after).is_empty());
    }
}
