//! Adopts the child's side of the sentinel.

use rustix::fs::{fcntl_get_seals, fstat};

use super::address::Address;
use super::observer::SlotObserver;
use super::slot::Slot;
use super::sys::{MappedSlot, SEALS};
use crate::sys::{ForkGeneration, Inherited, file};

/// The page that the variable names is there, but it is not as a parent makes it.
#[derive(Debug)]
pub(crate) struct Damaged;

/// What was found on the number that the variable names.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or another file: whoever spawned this child passed on the pipe alone.
    Nothing,
    /// The page. `None`: this kernel does not let us use it, or the word can report nothing any
    /// more.
    Page(Option<SlotObserver>),
}

/// Inspects the number and maps the word. Claims, closes and changes nothing.
pub(crate) fn adopt(address: &Address, inherited: &Inherited) -> Result<Found, Damaged> {
    match file(address.fd) {
        Ok(found) if found == (address.device, address.inode) => {}
        _ => return Ok(Found::Nothing),
    }
    let word = inherited.borrow(address.fd, |page| {
        let (Ok(seals), Ok(stat)) = (fcntl_get_seals(page), fstat(page)) else {
            // A filter refuses to let us inspect the page, so it is not used.
            return Ok(None);
        };
        let size = stat.st_size.unsigned_abs();
        let size_of_slot = size_of::<Slot>() as u64;
        let end = address.offset.checked_add(size_of_slot).ok_or(Damaged)?;
        if !seals.contains(SEALS) || !address.offset.is_multiple_of(size_of_slot) || end > size {
            return Err(Damaged);
        }
        Ok(MappedSlot::of(page, address.offset).ok())
    })?;
    // A listener must be able to tell whether it runs in a copy made by fork.
    let word = word.filter(|_| ForkGeneration::current().is_ok());
    let observer = word.map(|word| SlotObserver::new(word, address.link));
    Ok(Found::Page(observer.filter(SlotObserver::is_attached)))
}
