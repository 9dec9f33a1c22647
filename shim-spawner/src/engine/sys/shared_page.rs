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

/// Starts as all zeros, which is valid for each field.
#[derive(Debug)]
#[repr(C)]
struct PageContent {
    report: Report,
    /// 0 until the child owns the word. Then its thread id, until the kernel sets
    /// `FUTEX_OWNER_DIED`.
    word: AtomicU32,
    /// 0 until the parent has a handle on the child.
    held: AtomicU32,
    head: Head,
    node: Node,
}

/// `struct robust_list`, include/uapi/linux/futex.h. The list is a circle from the head back to the
/// head.
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
    /// The distance from a node to its word. A `long`.
    futex_offset: AtomicUsize,
    pending: AtomicPtr<c_void>,
}

const _: () = {
    assert!(size_of::<Head>() == 3 * size_of::<c_long>());
    assert!(offset_of!(Head, futex_offset) == size_of::<c_long>());
};

impl SharedPage {
    /// `ENOMEM` if there is no room.
    pub(in crate::engine) fn map() -> io::Result<SharedPage> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let size = size_of::<PageContent>();
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::SHARED) }?;
        let page = NonNull::new(page.cast())
            .map(SharedPage)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let content = page.content();
        let (head, node) = (&raw const content.head, &raw const content.node);
        // Relaxed: only the child uses the list, and the fork that creates it comes after these
        // stores.
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

    /// Runs first in a forked child. After it, the kernel marks the word when this child executes a
    /// program or dies, and so wakes the parent.
    ///
    /// The list is registered first. A child that is killed before it stores its id leaves 0, and
    /// the parent does not rely on the kernel's mark then.
    ///
    /// An error leaves 0 too. The kernel would not wake the parent then, so the child must not go
    /// on.
    pub(in crate::engine) fn own(&self) -> Result<(), Errno> {
        let content = self.content();
        let head = &raw const content.head;
        // SAFETY: the list is in the page, which stays mapped until the exec or the death, when the
        // kernel reads it. It replaces the C library's own list, which is for mutexes shared with
        // other processes.
        if unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) } != 0 {
            return Err(last_errno());
        }
        // SAFETY: takes no pointer.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        // The kernel marks a word only if it has the thread's own id.
        let Ok(thread @ 1..=libc::FUTEX_TID_MASK) = u32::try_from(thread) else {
            return Err(last_errno());
        };
        // Release: pairs with the Acquire in `wait_for_exec_or_death`. So the list is registered
        // before the parent sees that the word is owned and sleeps without a limit. This store
        // needs no wake: the kernel's mark also wakes a parent that waits for another value.
        content
            .word
            .store(thread | libc::FUTEX_WAITERS, Ordering::Release);
        Ok(())
    }

    /// Tells the child that the parent has a handle on it. The child may go on, and end.
    pub(in crate::engine) fn hold(&self) {
        let held = &self.content().held;
        // Release: pairs with the Acquire in `await_hold`. So the handle is opened before the child
        // goes on. Otherwise the child could be gone before the handle is open.
        held.store(1, Ordering::Release);
        let _ = futex::wake(held, futex::Flags::empty(), 1);
    }

    /// Runs in a forked child: waits for [`hold`](SharedPage::hold). If SIGCHLD is ignored, a child
    /// that ends before is gone with its pid. The wait is a second at most, because the parent may
    /// have died or may be stopped.
    pub(in crate::engine) fn await_hold(&self) {
        const SLICE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let held = &self.content().held;
        for _ in 0..100 {
            // Acquire: pairs with the Release in `hold`.
            if held.load(Ordering::Acquire) != 0 {
                return;
            }
            // An error means that the value has changed, that the time has passed, or that a filter
            // refuses. With such a filter the loop ends at once.
            let _ = futex::wait(held, futex::Flags::empty(), 0, Some(&SLICE));
        }
    }

    /// Waits until a forked child has executed a program or died.
    pub(in crate::engine) fn wait_for_exec_or_death(&self, child: &Process) {
        /// How often to check whether a child died before it owned the word. The child owns it at
        /// once, unless it is killed before.
        const LOOK: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        /// The pause between two checks if a filter refuses the wait.
        const REFUSED: Duration = Duration::from_millis(1);
        let word = &self.content().word;
        loop {
            // Acquire: pairs with the Release in `own`, and with the kernel's mark. The mark is an
            // exchange with full order by the child's own thread, at its exec or its death. So
            // everything that the child wrote to the report happens before this function returns.
            let now = word.load(Ordering::Acquire);
            if now & libc::FUTEX_OWNER_DIED != 0 {
                return;
            }
            let limit = (now == 0).then_some(&LOOK);
            match futex::wait(word, futex::Flags::empty(), now, limit) {
                // The word has changed, a signal came, or the time has passed: check again.
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                // A filter. Sleep, because a loop around a failing call uses a whole processor.
                Err(_) => nap(REFUSED),
            }
            let unowned = now == 0 && word.load(Ordering::Acquire) == 0;
            if unowned && outcome::has_ended(child) {
                return;
            }
        }
    }

    fn content(&self) -> &PageContent {
        // SAFETY: mapped as long as `self`, page-aligned, large enough and zeroed at first.
        // Everything, including the kernel and the child, writes it only atomically.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the range is our own mapping, and `&mut self` proves that no reference into it is
        // left.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<PageContent>()) };
    }
}
