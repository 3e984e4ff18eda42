//! Where compressed bytes come from.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use std::ops::Range;
use std::sync::Arc;

/// Returns exactly the bytes asked for, or an error. What it returns is not trusted.
pub trait Source: Send + Sync + 'static {
    fn read(&self, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>>;

    /// The same piece by piece, as the bytes arrive; after an error there is nothing more.
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, SourceError>> {
        Box::pin(stream::once(self.read(range)))
    }
}

/// What a reader can do about a failed read.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SourceFailure {
    Transient,
    Denied,
    NotFound,
    /// The source answers, but not with the range asked for.
    Refused,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct SourceError {
    pub failure: SourceFailure,
    error: Arc<dyn std::error::Error + Send + Sync>,
}

impl SourceError {
    pub fn new(
        failure: SourceFailure,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> SourceError {
        SourceError {
            failure,
            error: Arc::from(error.into()),
        }
    }
}

impl From<registry::Error> for SourceError {
    fn from(error: registry::Error) -> SourceError {
        let failure = if error.is_denied() {
            SourceFailure::Denied
        } else if error.is_not_found() {
            SourceFailure::NotFound
        } else if error.is_transient() {
            SourceFailure::Transient
        } else {
            SourceFailure::Refused
        };
        SourceError::new(failure, error)
    }
}

impl Source for registry::Blob {
    fn read(&self, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>> {
        let blob = self.clone();
        Box::pin(async move { blob.read(range).await.map_err(SourceError::from) })
    }
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let parts = registry::Blob::stream(self, range);
        Box::pin(stream::unfold(parts, |mut parts| async {
            let piece = parts.next().await?;
            Some((piece.map_err(SourceError::from), parts))
        }))
    }
}
