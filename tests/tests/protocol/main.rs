//! docs/protocol.md, held to by programs that link nothing of this workspace: its examples, each of
//! them with watchdog-pipe on the other side, and with each other.

mod children;
mod foreign;
mod parents;
