//! From the compressed bytes of a span to those of the tar: verified, then inflated, off the runtime's own threads.

use crate::cache::{Cache, Store};
use crate::error::Error;
use crate::urgency::Urgency;
use soci::spans::{SpanId, SpanTable};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What the spans of one layer are checked against and made from.
pub(crate) struct Decoder {
    /// For messages.
    pub(crate) name: Arc<str>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) store: Arc<Store>,
    pub(crate) table: Arc<SpanTable>,
    /// The zTOC blob.
    pub(crate) windows: Option<File>,
}

impl Decoder {
    /// What nobody waits for leaves a core free.
    pub(crate) async fn verify_and_inflate(
        self: &Arc<Self>,
        span: u32,
        compressed: Vec<u8>,
        urgency: Urgency,
    ) -> Result<Result<Vec<u8>, soci::Error>, Error> {
        let spare = if urgency == Urgency::Reader {
            None
        } else {
            let spare = Arc::clone(&self.cache.spare_inflate);
            spare.acquire_owned().await.ok()
        };
        let permit = Arc::clone(&self.cache.inflate).acquire_owned().await;
        let decoder = Arc::clone(self);
        let decoded = tokio::task::spawn_blocking(move || {
            let _permits = (permit, spare);
            // Verified before inflating: a crafted span must not reach the decoder.
            if let Err(error) = decoder.table.verify(SpanId(span), &compressed) {
                return Ok(Err(error));
            }
            let window = decoder.window(span)?;
            Ok(decoder.table.inflate(SpanId(span), &compressed, &window))
        });
        let stopped = |_| Error::Stopped {
            layer: Arc::clone(&self.name),
        };
        let decoded: Result<Vec<u8>, soci::Error> = decoded.await.map_err(stopped)??;
        let metrics = self.cache.metrics();
        match decoded {
            Ok(_) => metrics.spans_inflated.add(1),
            Err(_) => metrics.span_verification_failures.add(1),
        }
        Ok(decoded)
    }

    /// The tar's last 32 KiB before the span, read from the zTOC blob when they are needed.
    fn window(&self, span: u32) -> Result<Vec<u8>, Error> {
        let Some(window) = self.table.window(SpanId(span)) else {
            return Ok(Vec::new());
        };
        let len = window.blob.end.saturating_sub(window.blob.start);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = match &self.windows {
            Some(file) => file.read_exact_at(&mut bytes, window.blob.start),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        let failed = |error: &dyn std::fmt::Display| {
            Error::corrupt(
                &self.name,
                format_args!("stored zTOC, window of span {span}: {error}"),
            )
        };
        read.map_err(|error| failed(&error))?;
        window.check(&bytes).map_err(|error| failed(&error))?;
        Ok(bytes)
    }

    pub(crate) fn inflated(&self, span: u32) -> u64 {
        let range = self.table.uncompressed(SpanId(span)).unwrap_or_default();
        range.end.saturating_sub(range.start)
    }

    pub(crate) fn compressed(&self, span: u32) -> u64 {
        let range = self.table.compressed(SpanId(span)).unwrap_or_default();
        range.end.saturating_sub(range.start)
    }

    /// The memory it takes on its way.
    pub(crate) fn weight(&self, span: u32) -> u64 {
        self.compressed(span).saturating_add(self.inflated(span))
    }
}
