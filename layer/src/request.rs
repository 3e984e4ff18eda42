//! One request to a layer's source, counted and measured, handed out as it arrives.

use crate::cache::Cache;
use crate::error::Error;
use crate::link::Answer;
use crate::source::{Source, SourceError, SourceFailure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

pub(crate) struct Request<'a> {
    /// Of the layer.
    name: &'a Arc<str>,
    cache: &'a Cache,
    pieces: BoxStream<'static, Result<Bytes, SourceError>>,
    answer: Answer<'a>,
    asked: u64,
    missing: u64,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        name: &'a Arc<str>,
        cache: &'a Cache,
        source: &dyn Source,
        range: Range<u64>,
    ) -> Request<'a> {
        cache.metrics().source_requests.add(1);
        let asked = range.end.saturating_sub(range.start);
        Request {
            name,
            cache,
            answer: cache.link.ask(),
            pieces: source.stream(range),
            asked,
            missing: asked,
        }
    }

    /// The next piece; `None` once exactly what was asked for has come. After an error there is nothing more.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let fault = match self.pieces.next().await {
            Some(Ok(piece)) => {
                let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                if let Some(missing) = self.missing.checked_sub(len) {
                    self.missing = missing;
                    self.answer.arrived(len);
                    self.cache.metrics().fetched_bytes.add(len);
                    return Ok(Some(piece));
                }
                let what = format!("asked for {} bytes, got more", self.asked);
                SourceError::new(SourceFailure::Transient, what)
            }
            Some(Err(error)) => error,
            None if self.missing == 0 => return Ok(None),
            None => {
                let what = format!(
                    "asked for {} bytes, {} are missing",
                    self.asked, self.missing
                );
                SourceError::new(SourceFailure::Transient, what)
            }
        };
        self.cache.metrics().source_failures.add(1);
        Err(Error::from_source(self.name, fault))
    }
}
