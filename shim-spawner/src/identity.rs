//! The name of a shim that a restarted runtime can find it by, and that no other process fits.

mod boot;
mod buffer;
mod checksum;
mod draft;
mod error;
mod file;
mod place;
mod record;
mod shim_identity;
mod text;
mod witness;

pub use error::{AdoptError, IdentityError, IdentityErrorKind};
pub(crate) use record::Record;
pub use shim_identity::ShimIdentity;
pub(crate) use witness::{Seen, pidfs_inode, start_time};
