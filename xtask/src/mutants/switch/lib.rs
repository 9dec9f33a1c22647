//! Which mutant is on. It is compiled into every program of the mutated copy.
//!
//! The number of the mutant stands in the program's own file, behind a mark: a job writes it into
//! its copies of the programs. No environment, no system call and no memory of its own is needed,
//! so code between fork and exec, under a filter, or in a program that was started with an empty
//! environment asks as any other does.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU8, Ordering};

/// Written by the verb: where it looks which points were reached, and how many there are.
const MAP: &std::ffi::CStr = MAP_PATH;
const POINTS: usize = MAP_LENGTH;

/// The number that asks for a record of what is reached.
const RECORD: u32 = u32::MAX;

#[repr(C)]
struct Switch {
    mark: [u8; 16],
    number: AtomicU32,
}

#[used]
static SWITCH: Switch = Switch {
    mark: *b"SWITCH_OF_MUTANT",
    number: AtomicU32::new(0),
};

static REACHED: AtomicPtr<AtomicU8> = AtomicPtr::new(null_mut());

/// Whether the mutant of that number is on.
#[inline(never)]
pub fn on(number: u32) -> bool {
    let is_on = SWITCH.number.load(Ordering::Relaxed);
    if is_on == RECORD {
        reached(number);
        return false;
    }
    is_on == number
}

fn reached(number: u32) {
    let map = REACHED.load(Ordering::Relaxed);
    if map.is_null() || number as usize >= POINTS {
        return;
    }
    // SAFETY: the mapping has `POINTS` bytes, is never unmapped, and any byte is an `AtomicU8`.
    unsafe { (*map.add(number as usize)).store(1, Ordering::Relaxed) }
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = map;

/// Runs before `main`, so that no filter and no other root is in the way yet. The mapping is shared
/// with the copies that fork makes.
extern "C" fn map() {
    if SWITCH.number.load(Ordering::Relaxed) != RECORD {
        return;
    }
    // SAFETY: a path that ends with 0; a new mapping of a file that is as long; the descriptor is
    // known to nobody else.
    unsafe {
        let file = libc::open(MAP.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            return;
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let map = libc::mmap(null_mut::<c_void>(), POINTS, access, libc::MAP_SHARED, file, 0);
        libc::close(file);
        if map != libc::MAP_FAILED {
            REACHED.store(map.cast(), Ordering::Relaxed);
        }
    }
}
