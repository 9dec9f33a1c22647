//! The list of words that the kernel walks when the sentinel's thread ends.

use std::io;
use std::ptr;

use rustix::mm::{MprotectFlags, mprotect};

use super::mapping::Mapping;
use super::words::{SLOTS, Words};
use crate::sentinel::slot::Slot;

/// `struct robust_list`. Its neighbours are as far away as those of a word are.
#[repr(C, align(8))]
struct Node {
    next: *const Node,
}

/// `struct robust_list_head` of include/uapi/linux/futex.h.
#[repr(C)]
struct Head {
    first: *const Node,
    /// Distance from a node to its word.
    futex_offset: libc::c_long,
    pending: *const Node,
}

/// The head is next to the first nodes. So the kernel needs one page less for the links that come
/// first.
#[repr(C)]
struct List {
    head: Head,
    nodes: [Node; SLOTS],
}

static_assertions::assert_eq_size!(Node, Slot);
static_assertions::assert_eq_align!(Node, Slot);

/// The list of all words of a page. It is complete before the kernel is told about it, and
/// read-only from then on. So the kernel can never find it half-changed.
#[derive(Debug)]
pub(in crate::sentinel) struct RobustList(Mapping);

impl RobustList {
    pub(in crate::sentinel) fn of(words: &Words) -> io::Result<RobustList> {
        let mapping = Mapping::anonymous(size_of::<List>())?;
        let list: *mut List = mapping.start.as_ptr().cast();
        // SAFETY: the mapping is large and aligned enough, ours alone, and zero is a valid List.
        let nodes: *mut Node = unsafe { &raw mut (*list).nodes }.cast();
        // SAFETY: as above.
        let head: *mut Head = unsafe { &raw mut (*list).head };
        for index in 0..SLOTS {
            let next = match index + 1 {
                SLOTS => head.cast(),
                next => nodes.wrapping_add(next),
            };
            // SAFETY: within the array.
            unsafe { nodes.add(index).write(Node { next }) };
        }
        let offset = words.address().wrapping_sub(nodes.addr());
        let complete = Head {
            first: nodes,
            // Wraps around the size of an address, as the kernel's addition does.
            futex_offset: offset.cast_signed() as libc::c_long,
            pending: ptr::null(),
        };
        // SAFETY: within the mapping.
        unsafe { head.write(complete) };
        // SAFETY: our mapping, to which no reference exists.
        unsafe { mprotect(mapping.start.as_ptr(), mapping.length, MprotectFlags::READ) }?;
        Ok(RobustList(mapping))
    }

    /// Makes the kernel walk this list when the calling thread dies. From then on the words and the
    /// list must stay mapped. It replaces the C library's own list of the thread, which is for
    /// robust mutexes that the thread locks: so the thread must lock none.
    ///
    /// # References
    /// [set_robust_list(2)](https://man7.org/linux/man-pages/man2/set_robust_list.2.html)
    pub(super) fn register(&self) -> io::Result<()> {
        let list: *const List = self.0.start.as_ptr().cast();
        // SAFETY: only the address is taken.
        let head = unsafe { &raw const (*list).head };
        // SAFETY: the list is complete, and the kernel only reads it. On success `start_thread`
        // leaks it.
        match unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
