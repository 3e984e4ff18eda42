//! The snapshotter process: containerd's requests in, mounts out.

pub mod config;
pub mod containerd;
mod content;
pub mod disk;
pub mod error;
pub mod filter;
pub mod flights;
pub mod image;
pub mod labels;
pub mod layers;
pub mod mountinfo;
pub mod mounts;
pub mod overlay;
pub mod overlay_check;
pub mod process;
pub mod profiles;
pub mod records;
pub mod server;
pub mod service;
pub mod snapshotter;
pub mod status;
pub mod store;
pub mod telemetry;
