//! The memory of a child before its exec: the stack it runs on, and the page it shares.

#[allow(unsafe_code)]
mod sys;

pub(super) use sys::{SharedPage, Stack};
