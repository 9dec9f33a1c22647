//! What `Watchdog::from_env` takes, leaves and refuses, with which error, and that it changes
//! nothing else.

mod adopted;
mod limits;
mod number;
mod variable;
