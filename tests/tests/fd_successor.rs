//! A command whose name lies where that of another lay, which another thread has not dropped wholly
//! yet.
//!
//! fd-preserve knows a command by the address of its name. std frees the name before the closures,
//! and with them the note that the command has a plan. The allocator here stretches that instant.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use fd_preserve::PreserveFds;
use workspace_tests::{alone, until};

/// Blocks of this size are names of programs, and nothing else.
const NAME: usize = 54_321;

/// The block that was freed last, for who asks next.
static FREED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// The block whose next owner is waited for when it is freed.
static AWAITED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

struct Stretch;

// SAFETY: the system's allocator; a block of size NAME changes hands through FREED, where one swap
// gives it to one taker.
unsafe impl GlobalAlloc for Stretch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == NAME {
            let freed = FREED.swap(ptr::null_mut(), Ordering::AcqRel);
            if !freed.is_null() {
                return freed;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if layout.size() != NAME {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(address, layout) };
        }
        let older = FREED.swap(address, Ordering::AcqRel);
        if !older.is_null() {
            // SAFETY: came from `System.alloc` with this size, and alignment 1 as all names.
            unsafe { System.dealloc(older, layout) };
        }
        let awaited = AWAITED.compare_exchange(
            address,
            ptr::null_mut(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if awaited.is_ok() {
            // Whoever is dropped here frees more blocks of this size: not before this one has a new
            // owner.
            while FREED.load(Ordering::Acquire) == address {
                std::thread::yield_now();
            }
            // Not a wait for anything: it makes the instant long in which the mistake could happen.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[global_allocator]
static ALLOCATOR: Stretch = Stretch;

/// A command whose name, with its 0, is a block of size NAME; the text that it is made from is not.
fn named() -> Command {
    let mut name = String::with_capacity(NAME - 1);
    name.extend(std::iter::repeat_n('x', NAME - 1));
    Command::new(name)
}

#[test]
fn a_command_that_is_being_dropped_is_not_mistaken_for_its_successor() {
    alone!({
        for _ in 0..10 {
            let mut first = named();
            PreserveFds::new()
                .apply(&mut first)
                .expect("a command of its own");
            let name = first.get_program().as_encoded_bytes().as_ptr();
            let identity = name.addr();
            AWAITED.store(name.cast_mut(), Ordering::Release);
            // What building it freed is none of our business.
            FREED.store(ptr::null_mut(), Ordering::Release);
            std::thread::scope(|scope| {
                scope.spawn(|| drop(first));
                until("the name is freed", || {
                    (FREED.load(Ordering::Acquire).addr() == identity).then_some(())
                });
                let mut second = named();
                let address = second.get_program().as_encoded_bytes().as_ptr().addr();
                assert_eq!(address, identity, "the name was not taken over");
                PreserveFds::new()
                    .apply(&mut second)
                    .expect("a command of its own");
            });
        }
    });
}
