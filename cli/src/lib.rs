//! The index tool: builds, converts, pushes and checks SOCI indexes, with or without containerd.

mod content;
mod digest;
mod error;
mod exit;
pub mod store;
mod time;
