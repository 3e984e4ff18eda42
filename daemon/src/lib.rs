//! The snapshotter process: containerd's requests in, mounts out.

pub mod labels;
pub mod layers;
