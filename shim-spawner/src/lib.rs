//! Placeholder for the first commit.

mod identity;

pub use identity::{AdoptError, IdentityError, IdentityErrorKind, ShimIdentity};
