//! One image layer, loaded as it is read: names and attributes from its zTOC, bytes span by span from a source, kept in a cache.

mod ahead;
mod assemble;
mod background;
mod cache;
mod error;
mod fetch;
mod first_reads;
mod flights;
mod inode;
mod layer;
mod metrics;
mod options;
mod queue;
mod readers;
mod source;
mod spans;
mod starts;
mod tree;
mod verify;

pub use background::{Background, BackgroundOptions};
pub use cache::{Cache, CacheOptions, LocalWriter, Usage};
pub use error::Error;
pub use first_reads::FirstRead;
pub use inode::Inode;
pub use layer::{Layer, LayerId, Pending, Progress, Read};
pub use metrics::{Counter, Metrics};
pub use options::Options;
pub use queue::DropPolicy;
pub use soci::toc::{Kind, Mtime};
pub use source::{Source, SourceError, SourceFailure};
pub use tree::{Attr, Child, Children, Tree, TreeError, TreeOptions};
