//! The SOCI formats: zTOCs, checkpoints and spans, tar headers, index manifests, prefetch artifacts, start-up profiles.
//!
//! Everything here is arithmetic on bytes: no network, no files, no clock. All input is hostile until
//! it has become one of these types.

pub mod annotations;
pub mod build;
pub mod canonical;
pub mod check;
mod checkpoint;
pub mod convert;
mod deflate;
pub mod diff;
mod error;
pub mod finding;
mod flat;
pub mod gzip;
pub mod index;
mod inflate;
mod limits;
pub mod manifest;
pub mod media_types;
mod mtime;
mod path;
pub mod plan;
mod platform;
pub mod prefetch;
pub mod profile;
mod sha256;
pub mod spans;
pub mod tar;
pub mod toc;
pub mod ztoc;

pub use error::{EntryFault, Error};
