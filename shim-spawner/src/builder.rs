//! More methods of [`ShimSpawner`](crate::ShimSpawner), by what they are about.

mod activation;
mod credentials;
mod limits;
mod signals;
mod terminal;
