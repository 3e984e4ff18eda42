//! Where images live: containerd, OCI layouts, archives, registries.

mod apart;
mod archive;
pub(crate) mod containerd;
mod directory;
mod docker;
mod extent;
mod files;
pub(crate) mod layout;
pub(crate) mod remote;
pub(crate) mod sink;
pub(crate) mod source;
mod tar;

pub(crate) use archive::Archive;
pub(crate) use containerd::Containerd;
pub(crate) use directory::Directory;
pub(crate) use layout::Layout;
pub(crate) use remote::Remote;
pub(crate) use sink::{Labels, Sink, Written};
pub(crate) use source::Source;
