//! An OCI registry over HTTP, read only: mirrors, authentication, redirects, ranges, referrers, retries.

mod address;
mod auth;
mod challenge;
mod client;
mod content;
mod counters;
mod credentials;
mod digest;
mod endpoint;
mod error;
mod health;
mod hosts;
mod options;
mod partial;
mod range;
mod ranged;
mod redirect;
mod referrers;
mod registry;
mod repository;
mod retry;
mod status;
mod stream;
mod token;
mod transport;

pub use content::Manifest;
pub use counters::Counts;
pub use credentials::{Anonymous, Credential, Credentials, Secret};
pub use error::Error;
pub use options::{Mirror, Options};
pub use ranged::Blob;
pub use registry::Registry;
pub use repository::Repository;
pub use stream::BlobStream;
