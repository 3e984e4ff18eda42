//! Where images live: containerd, OCI layouts, archives, registries.

mod archive;
pub mod containerd;
mod directory;
mod docker;
mod files;
pub mod layout;
pub mod remote;
pub mod sink;
pub mod source;
mod tar;

pub use archive::Archive;
pub use containerd::Containerd;
pub use directory::Directory;
pub use layout::Layout;
pub use remote::Remote;
pub use sink::{Labels, Sink, Written};
pub use source::{Chunks, Source};
