//! An OCI registry over HTTP: mirrors, authentication, redirects, ranges, referrers, retries, pushes.

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
mod push;
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
pub use options::{HostTls, Identity, Mirror, Options};
pub use push::{BlobBody, Pushed, PushedManifest, Referrer};
pub use ranged::Blob;
pub use registry::Registry;
pub use repository::Repository;
pub use stream::BlobStream;
