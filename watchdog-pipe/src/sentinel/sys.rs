//! The sentinel's memory: the page of words, the list that the kernel walks, and the child's view of one word.

use std::ffi::c_void;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
};

use super::slot::Slot;

mod thread;

pub(super) use crate::sys::ask_for_slices;
pub(super) use thread::start as start_thread;

/// `ROBUST_LIST_LIMIT` of include/linux/futex.h: the kernel walks no further.
pub(super) const SLOTS: usize = 2048;

/// Without these a child could write to the words, or cut the file and with it kill whoever reads them.
pub(super) const SEALS: SealFlags = SealFlags::FUTURE_WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// `struct robust_list`, as far apart from its neighbours as the words are.
#[repr(C, align(8))]
struct Node {
    next: *const Node,
}

/// `struct robust_list_head` of include/uapi/linux/futex.h.
#[repr(C)]
struct Head {
    first: *const Node,
    /// From a node to its word.
    futex_offset: libc::c_long,
    pending: *const Node,
}

/// The head lies beside the first nodes: a page less that has to be looked at for the links that come first.
#[repr(C)]
struct List {
    head: Head,
    nodes: [Node; SLOTS],
}

static_assertions::assert_eq_size!(Node, Slot);
static_assertions::assert_eq_align!(Node, Slot);

/// A mapping, undone with the value.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; what lies in it is for those who make references to it.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn file(
        memfd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        access: ProtFlags,
    ) -> io::Result<Mapping> {
        // Populated: the kernel must not have to find memory while the process dies.
        let how = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap(ptr::null_mut(), length, access, how, memfd, offset) }?;
        Mapping::at(start, length)
    }

    fn anonymous(length: usize) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::PRIVATE) }?;
        Mapping::at(start, length)
    }

    fn at(start: *mut c_void, length: usize) -> io::Result<Mapping> {
        let start = NonNull::new(start).ok_or(Errno::FAULT)?;
        Ok(Mapping { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our mapping. References into it borrow the value, or came with its being forgotten.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}

/// The words of one sentinel, writable in this process alone.
#[derive(Debug)]
pub(super) struct Words(Mapping);

impl Words {
    /// And the file that a child maps read-only.
    ///
    /// # References
    /// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html),
    /// [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html): `F_SEAL_FUTURE_WRITE` (Linux 5.1) refuses
    /// write(2) and every later mapping that could write, and leaves the one made before.
    pub(super) fn new() -> io::Result<(OwnedFd, Words)> {
        let length = size_of::<[Slot; SLOTS]>();
        let memfd = memfd()?;
        rustix::fs::ftruncate(&memfd, length as u64)?;
        let mapping = Mapping::file(memfd.as_fd(), 0, length, ProtFlags::READ | ProtFlags::WRITE)?;
        fcntl_add_seals(&memfd, SEALS)?;
        // A copy made by fork has nothing to write there, by mistake or otherwise.
        // SAFETY: our mapping; the advice changes only what a fork copies of it.
        unsafe { madvise(mapping.start.as_ptr(), length, Advice::LinuxDontFork) }?;
        Ok((memfd, Words(mapping)))
    }

    /// For good.
    pub(super) fn leak(self) -> &'static [Slot; SLOTS] {
        let words = self.0.start.cast();
        std::mem::forget(self.0);
        // SAFETY: large and aligned enough, zero is a valid slot, and never unmapped. In a copy made by fork, where it
        // is not mapped, nobody follows the reference: `Held` asks first.
        unsafe { words.as_ref() }
    }
}

/// Not executable where the kernel knows that (6.3), as `vm.memfd_noexec` may demand.
fn memfd() -> io::Result<OwnedFd> {
    let name = "watchdog-sentinel";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    }?;
    crate::channel::above_stdio(memfd)
}

/// The list of all words of a page. It is complete before the kernel is told of it and cannot be written to from then
/// on: no instant exists in which it could be found torn.
#[derive(Debug)]
pub(super) struct RobustList(Mapping);

impl RobustList {
    pub(super) fn of(words: &Words) -> io::Result<RobustList> {
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
        let offset = words.0.start.addr().get().wrapping_sub(nodes.addr());
        let complete = Head {
            first: nodes,
            // Modulo the size of an address, as the kernel adds it.
            futex_offset: offset.cast_signed() as libc::c_long,
            pending: ptr::null(),
        };
        // SAFETY: within the mapping.
        unsafe { head.write(complete) };
        // SAFETY: our mapping, to which no reference exists.
        unsafe { mprotect(mapping.start.as_ptr(), mapping.length, MprotectFlags::READ) }?;
        Ok(RobustList(mapping))
    }

    /// Puts the death of this thread in charge of the words, which must then stay mapped, and so must the list. The C library's own list of
    /// the thread goes: it is for robust mutexes that the thread locks, and it must lock none.
    ///
    /// # References
    /// [set_robust_list(2)](https://man7.org/linux/man-pages/man2/set_robust_list.2.html)
    fn register(&self) -> io::Result<()> {
        let list: *const List = self.0.start.as_ptr().cast();
        // SAFETY: the address alone is taken.
        let head = unsafe { &raw const (*list).head };
        // SAFETY: the list is complete, and the kernel only reads it. `start_thread` leaks it on success.
        match unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// One word of the parent's page, mapped read-only.
#[derive(Debug)]
pub(super) struct Mapped {
    page: Mapping,
    within: usize,
}

impl Mapped {
    /// The word at `offset` of a file that cannot shrink and is long enough: the caller has looked.
    pub(super) fn of(memfd: BorrowedFd<'_>, offset: u64) -> io::Result<Mapped> {
        let length = crate::sys::page_size()?;
        let within = usize::try_from(offset % length as u64).map_err(|_| Errno::INVAL)?;
        let page = Mapping::file(memfd, offset - within as u64, length, ProtFlags::READ)?;
        Ok(Mapped { page, within })
    }
}

impl Deref for Mapped {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        // SAFETY: within the mapping, which lives as long as the value and is never cut short; aligned, since the caller
        // of `of` has looked; made of atomics, which this side only ever loads.
        unsafe { self.page.start.byte_add(self.within).cast().as_ref() }
    }
}

/// A value of this process, and not of one that it was forked from.
#[derive(Debug)]
pub(super) struct Current<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Current<T> {
    pub(super) const fn new() -> Current<T> {
        Current(AtomicPtr::new(ptr::null_mut()))
    }

    /// No lock guards the making: a fork in the middle of that would leave the copy with one that nobody ever opens.
    /// What an ancestor made stays where it is: inherited keepalives refer to it.
    pub(super) fn get_or_make(
        &self,
        is_current: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> &'static T {
        let present = self.0.load(Ordering::Acquire);
        // SAFETY: null, or from `Box::into_raw` below and never freed.
        if let Some(value) = unsafe { present.as_ref() }
            && is_current(value)
        {
            return value;
        }
        let fresh = Box::into_raw(Box::new(make()));
        let place = &self.0;
        let value =
            match place.compare_exchange(present, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(first) => {
                    // SAFETY: another thread of this process was first: nobody has seen ours.
                    drop(unsafe { Box::from_raw(fresh) });
                    first
                }
            };
        // SAFETY: as above, and not null.
        unsafe { &*value }
    }
}
