//! What the whole-system tests and the benchmarks stand on: real images, real and faulty registries,
//! a slow link, private containerds, the snapshotter under test, and a comparison of directory trees.

#![allow(clippy::print_stderr, reason = "the reader is whoever runs the tests")]

pub mod cache;
pub mod certificate;
pub mod command;
pub mod containerd;
pub mod cri;
pub mod distribution;
pub mod http;
pub mod image;
pub mod layout;
pub mod link;
pub mod mountinfo;
pub mod original;
pub mod process;
pub mod registry;
pub mod runtime;
pub mod scratch;
pub mod snapshots;
pub mod snapshotter;
pub mod soci;
pub mod source;
pub mod stack;
pub mod tar;
pub mod tree;
