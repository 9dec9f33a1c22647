//! What the types promise, and what the calls refuse without a process.

use std::error::Error as _;
use std::fs::File;
use std::io;

use fd_preserve::{
    Applied, ChildFds, ChildFdsError, Error, FdPlan, InheritError, PreserveFds, inherited_fd,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

// A `Command` is Send and Sync, and so is what it carries. Descriptors are owned once.
assert_impl_all!(PreserveFds: Send, Sync);
assert_impl_all!(ChildFds: Send, Sync);
assert_impl_all!(Applied: Send, Sync, Clone);
assert_impl_all!(FdPlan: Send, Sync, Clone);
assert_impl_all!(Error: Send, Sync, std::error::Error);
assert_impl_all!(ChildFdsError: Copy, Send, Sync, std::error::Error);
assert_impl_all!(InheritError: Send, Sync, std::error::Error);
assert_not_impl_any!(PreserveFds: Clone);
assert_not_impl_any!(ChildFds: Clone);

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

#[test]
fn the_next_number_is_the_lowest_that_is_not_planned() -> Result {
    let null = File::open("/dev/null")?;
    let mut fds = PreserveFds::new();
    fds.map_borrowed_fd(&null, 4)?
        .map_borrowed_fd(&null, 0)?
        .map_borrowed_fd(&null, 6)?;
    let mut next = || fds.next_borrowed_fd(&null);
    assert_eq!([next()?, next()?, next()?], [3, 5, 7]);
    Ok(())
}

#[test]
fn errors_name_the_number_and_keep_their_source() -> Result {
    let null = File::open("/dev/null")?;
    let mut fds = PreserveFds::new();
    fds.map_borrowed_fd(&null, 4)?;
    let Err(twice) = fds.map_borrowed_fd(&null, 4) else {
        return Err("4 was given twice".into());
    };
    assert_eq!(
        twice.to_string(),
        "descriptor 4 of the child was asked for twice"
    );
    let Err(negative) = fds.map_fd(null, -2) else {
        return Err("-2 was given".into());
    };
    assert_eq!(
        negative.to_string(),
        "descriptor -2 of the child is negative"
    );

    let source = io::Error::from_raw_os_error(24);
    let none_left = Error::TooManyOpenFiles { fd: 7, source };
    assert_eq!(
        none_left.to_string(),
        "no free descriptor left for descriptor 7"
    );
    assert!(none_left.source().is_some());

    // SAFETY: refused before anything is done with it.
    #[allow(unsafe_code)]
    let refused = unsafe { inherited_fd(-1) };
    assert!(matches!(refused, Err(InheritError::Negative { fd: -1 })));
    Ok(())
}

#[test]
fn errors_become_io_errors_of_their_kind_and_stay_whole() -> Result {
    let twice = io::Error::from(Error::DuplicateTarget { target: 4 });
    assert_eq!(twice.kind(), io::ErrorKind::InvalidInput);
    assert!(twice.downcast::<Error>()?.to_string().contains('4'));

    let source = io::Error::from_raw_os_error(12);
    let no_page = io::Error::from(Error::SharedPage { source });
    assert_eq!(no_page.kind(), io::ErrorKind::OutOfMemory);

    let collision = ChildFdsError::TargetCollision { target: 3 };
    let error = io::Error::from(collision);
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.downcast::<ChildFdsError>()?, collision);

    let not_open = io::Error::from(InheritError::NotOpen { fd: 5 });
    assert_eq!(not_open.kind(), io::ErrorKind::NotFound);
    Ok(())
}

#[test]
fn the_childs_own_errors_have_errnos_that_exec_does_not_use() {
    assert_eq!(ChildFdsError::NoCloseMethod.errno(), 95);
    assert_eq!(ChildFdsError::TargetCollision { target: 3 }.errno(), 98);
    assert_eq!(
        ChildFdsError::Duplicate {
            target: 3,
            errno: 9
        }
        .errno(),
        9
    );
}
