//! Names, attributes and inode numbers of one layer, as unpacking it would show them.

mod build;
mod error;
mod index;
mod names;
mod path;
mod view;
mod xattrs;

pub use error::TreeError;
pub use view::{Attr, Child, Children, Tree, TreeOptions};
