//! The identity of a shim. A restarted process that starts helpers (the runtime) finds its shim by
//! it, and never another process.

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
