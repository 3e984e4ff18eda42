//! The SOCI formats: zTOCs, checkpoints and spans, tar headers, index manifests, prefetch artifacts.
//!
//! Everything here is arithmetic on bytes: no network, no files, no clock. All input is hostile until
//! it has become one of these types.

pub mod annotations;
mod checkpoint;
mod error;
mod flat;
pub mod gzip;
pub mod index;
mod inflate;
pub mod labels;
mod limits;
pub mod media_types;
mod mtime;
pub mod prefetch;
mod sha256;
pub mod spans;
pub mod tar;
pub mod toc;
pub mod ztoc;

pub use error::{EntryFault, Error};
