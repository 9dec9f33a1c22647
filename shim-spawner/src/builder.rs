//! More methods of [`ShimSpawner`](crate::ShimSpawner), by topic.

mod activation;
mod credentials;
mod limits;
mod signals;
mod terminal;
