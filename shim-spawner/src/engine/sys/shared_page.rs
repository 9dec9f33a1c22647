//! The page that a forked child shares with its parent, and the robust futex in it.

use std::ffi::{c_long, c_void};
use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use pidfd_watcher::Process;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::futex::{self, Timespec};

use crate::engine::outcome;
use crate::report::Report;
use crate::sys::{last_errno, nap};

/// A page that this process and a child with a copy of its memory both see.
#[derive(Debug)]
pub(in crate::engine) struct SharedPage(NonNull<PageContent>);

/// All zeros to begin with, which is a value of each field.
#[derive(Debug)]
#[repr(C)]
struct PageContent {
    report: Report,
    /// 0 until the child owns it; then its thread id, until the kernel marks it `FUTEX_OWNER_DIED`.
    word: AtomicU32,
    /// 0 until the parent has a handle on the child.
    held: AtomicU32,
    head: Head,
    node: Node,
}

/// `struct robust_list`, include/uapi/linux/futex.h: the list is a circle from the head and back to
/// it.
#[derive(Debug)]
#[repr(C)]
struct Node {
    next: AtomicPtr<c_void>,
}

/// `struct robust_list_head`.
#[derive(Debug)]
#[repr(C)]
struct Head {
    list: Node,
    /// From a node to its word; a `long`.
    futex_offset: AtomicUsize,
    pending: AtomicPtr<c_void>,
}

const _: () = {
    assert!(size_of::<Head>() == 3 * size_of::<c_long>());
    assert!(offset_of!(Head, futex_offset) == size_of::<c_long>());
};

impl SharedPage {
    /// `ENOMEM` where there is no room.
    pub(in crate::engine) fn map() -> io::Result<SharedPage> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let size = size_of::<PageContent>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::SHARED) }?;
        let page = NonNull::new(page.cast())
            .map(SharedPage)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let content = page.content();
        let (head, node) = (&raw const content.head, &raw const content.node);
        // Relaxed: the child, which alone uses the list, comes to be by a fork after these stores.
        let list = &content.head.list.next;
        list.store(node.cast_mut().cast(), Ordering::Relaxed);
        content
            .node
            .next
            .store(head.cast_mut().cast(), Ordering::Relaxed);
        let offset = offset_of!(PageContent, word).wrapping_sub(offset_of!(PageContent, node));
        content.head.futex_offset.store(offset, Ordering::Relaxed);
        Ok(page)
    }

    pub(in crate::engine) fn report(&self) -> &Report {
        &self.content().report
    }

    /// Runs in a forked child, first thing: the kernel tells the parent by the word when this child
    /// executes a program or dies.
    ///
    /// The list comes first: a child that is killed in between leaves 0, of which the parent
    /// expects nothing.
    ///
    /// An error leaves 0 too. The kernel would not tell the parent then, so that the child must not
    /// go on.
    pub(in crate::engine) fn own(&self) -> Result<(), Errno> {
        let content = self.content();
        let head = &raw const content.head;
        // SAFETY: the list is in the page, which stays mapped until the exec or the death, when it
        // is read. It takes the place of the C library's own, which is for mutexes shared with
        // other processes.
        if unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) } != 0 {
            return Err(last_errno());
        }
        // SAFETY: takes no pointer.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        // The kernel marks a word that holds the thread's own id and no other.
        let Ok(thread @ 1..=libc::FUTEX_TID_MASK) = u32::try_from(thread) else {
            return Err(last_errno());
        };
        // Release, for the Acquire in `wait_for_exec_or_death`: the registration of the list
        // happens before the parent sees the word owned, and sleeps without a limit. Nobody is
        // woken for that: who waits for another value is woken by the mark too.
        content
            .word
            .store(thread | libc::FUTEX_WAITERS, Ordering::Release);
        Ok(())
    }

    /// The parent has a handle on the child: it may go on, and end.
    pub(in crate::engine) fn hold(&self) {
        let held = &self.content().held;
        // Release, for the Acquire in `await_hold`: opening the handle happens before the child
        // goes on. Without that, the child could be gone before the handle is open.
        held.store(1, Ordering::Release);
        let _ = futex::wake(held, futex::Flags::empty(), 1);
    }

    /// Runs in a forked child: waits for [`hold`](SharedPage::hold), since with SIGCHLD ignored a
    /// child that ends before is gone with its number. No longer than a second: a parent that died
    /// or is stopped meanwhile is no reason not to go on.
    pub(in crate::engine) fn await_hold(&self) {
        const SLICE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let held = &self.content().held;
        for _ in 0..100 {
            // Acquire, for the Release in `hold`.
            if held.load(Ordering::Acquire) != 0 {
                return;
            }
            // Errors are the value having changed, the time, and a filter, with which this ends at
            // once.
            let _ = futex::wait(held, futex::Flags::empty(), 0, Some(&SLICE));
        }
    }

    /// Waits until a forked child has executed a program or died.
    pub(in crate::engine) fn wait_for_exec_or_death(&self, child: &Process) {
        /// How often to look whether a child died before it owned the word. It owns it at once,
        /// unless something kills it then.
        const LOOK: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        /// Between two looks where a filter refuses to wait.
        const REFUSED: Duration = Duration::from_millis(1);
        let word = &self.content().word;
        loop {
            // Acquire, for the Release in `own`, and for the kernel's mark: an exchange with full
            // order that the child's own thread makes, at its exec or its death. All that it left
            // in the report happens before that, and so before this returns.
            let now = word.load(Ordering::Acquire);
            if now & libc::FUTEX_OWNER_DIED != 0 {
                return;
            }
            let limit = (now == 0).then_some(&LOOK);
            match futex::wait(word, futex::Flags::empty(), now, limit) {
                // The word has changed, a signal, the time: look again.
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                // A filter: by the clock, since a loop over a call that fails burns a processor.
                Err(_) => nap(REFUSED),
            }
            let unowned = now == 0 && word.load(Ordering::Acquire) == 0;
            if unowned && outcome::has_ended(child) {
                return;
            }
        }
    }

    fn content(&self) -> &PageContent {
        // SAFETY: mapped as long as `self`, page-aligned and large enough, zeroed to begin with,
        // and written through atomics alone, by the kernel and the child too.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the range is our own mapping, and `&mut self` says that no reference into it is
        // left.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<PageContent>()) };
    }
}
