//! Cases of shim-spawner that count descriptors or children, or change the process they run in:
//! once for each way in which a child can be created.

mod child;
mod errors;
mod limits;
mod methods;
mod search;
mod signals;
mod snapshot;
mod stop;
