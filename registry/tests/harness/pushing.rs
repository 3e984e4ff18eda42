//! Pushes of one blob, and the requests they take.

use bytes::Bytes;
use registry::{Error, Pushed, Registry};

use super::accepting::{Accepting, Faults, body};
use super::{content, digest, options, registry, repository};

pub(crate) const MIB: usize = 1 << 20;

pub(crate) async fn push(
    registry: &Registry,
    host: &str,
    blob: &Bytes,
    from: Option<&str>,
) -> Result<Pushed, Error> {
    let size = u64::try_from(blob.len()).unwrap();
    repository(registry, host)
        .push_blob(&digest(blob), size, from, body(blob))
        .await
}

/// Pushes `size` bytes past the faults; the requests it took.
pub(crate) async fn check(faults: Faults, size: usize, expected: &[&str]) -> (Accepting, Registry) {
    let (server, registry) = (Accepting::start(faults).await, registry(options(), None));
    let blob = content(size);
    let pushed = push(&registry, &server.host, &blob, None).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{:?}", server.requests());
    assert!(server.blob(&blob).unwrap() == blob);
    assert_eq!(server.requests(), expected);
    (server, registry)
}

pub(crate) const SMALL: [&str; 3] = ["HEAD blobs", "POST uploads", "PUT uploads"];
pub(crate) const LARGE: [&str; 4] = ["HEAD blobs", "POST uploads", "PATCH uploads", "PUT uploads"];
