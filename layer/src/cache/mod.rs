//! The bytes of all layers that are here already: on disk within a quota, and in a bounded pool of memory.

mod disk;
mod evict;
mod key;
mod local;
mod memory;
mod pool;
mod records;
mod scratch;
mod shelves;
mod store;
mod trouble;

pub(crate) use disk::Presence;
pub(crate) use local::CHUNK;
pub use local::LocalWriter;
pub use pool::{Cache, CacheOptions, Usage};
pub(crate) use store::Store;
