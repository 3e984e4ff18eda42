//! How bytes get in, whoever asks: one flight per span, one request per gap; verify, inflate, wake the waiters, write behind.

use crate::cache::{Cache, Presence, Store};
use crate::error::Error;
use crate::flights::{Claim, Flight, Lead, Outcome};
use crate::source::{Source, SourceError, SourceFailure};
use crate::spans::{Gap, gaps, within};
use bytes::Bytes;
use futures_util::future::join_all;
use soci::spans::{SpanId, SpanTable};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often a reader claims spans whose lead died under it.
const CLAIMS: usize = 3;

/// Between the attempts of a reader whose source cannot be reached; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Urgency {
    Reader,
    /// Inflates one span at a time, so that a reader finds a free core.
    Background,
}

/// Where the spans of one layer come from.
pub(crate) struct Loader {
    /// For messages.
    pub(crate) name: Arc<str>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) store: Arc<Store>,
    pub(crate) table: Arc<SpanTable>,
    /// The zTOC blob.
    pub(crate) windows: Option<File>,
    /// None for a layer that was pulled whole.
    pub(crate) source: Option<Arc<dyn Source>>,
    pub(crate) retries: u32,
    pub(crate) max_request: u64,
    pub(crate) outage: Duration,
}

/// Spans in a reader's hands, ascending.
pub(crate) type Spans = Vec<(u32, Bytes)>;

impl Loader {
    /// As `bring` for a reader, who waits while the source cannot be reached.
    pub(crate) async fn bring_through_outage(
        self: &Arc<Self>,
        spans: &[u32],
        thorough: bool,
    ) -> Result<Spans, Error> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.bring(spans, thorough, Urgency::Reader).await {
                Err(error @ Error::Unreachable { .. }) if begin.elapsed() + pause < self.outage => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, "a read waits for its source");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns these spans, except those that can be read from the disk. `thorough`: also those, checked again.
    pub(crate) async fn bring(
        self: &Arc<Self>,
        spans: &[u32],
        thorough: bool,
        urgency: Urgency,
    ) -> Result<Spans, Error> {
        let mut brought = Spans::new();
        let mut wanted = spans.to_vec();
        for _ in 0..CLAIMS {
            let claims = self
                .store
                .flights
                .claim(&wanted, |span| self.present(span, thorough));
            wanted.clear();
            let mut leads = Vec::new();
            let mut flights: Vec<(u32, Flight)> = Vec::new();
            for (span, claim) in claims {
                match claim {
                    Claim::Present(bytes) => brought.extend(bytes.map(|bytes| (span, bytes))),
                    Claim::Flight(flight) => flights.push((span, flight)),
                    Claim::Lead(lead) => {
                        flights.push((span, lead.flight()));
                        leads.push(lead);
                    }
                }
            }
            self.launch(leads, urgency);
            for (span, flight) in flights {
                match flight.wait().await {
                    Some(outcome) => brought.push((span, outcome?)),
                    None => wanted.push(span),
                }
            }
            if wanted.is_empty() {
                brought.sort_unstable_by_key(|&(span, _)| span);
                return Ok(brought);
            }
        }
        Err(Error::Stopped {
            layer: Arc::clone(&self.name),
        })
    }

    fn present(&self, span: u32, thorough: bool) -> Option<Option<Bytes>> {
        if let Some(bytes) = self.store.in_memory(span) {
            return Some(Some(bytes));
        }
        (!thorough && self.store.presence(span) == Presence::Resident).then_some(None)
    }

    /// Every flight is a task of its own: it lands even if the reader that started it goes away.
    fn launch(self: &Arc<Self>, leads: Vec<Lead>, urgency: Urgency) {
        let on_disk = |lead: &Lead| self.store.presence(lead.span) != Presence::Absent;
        let (old, missing): (Vec<Lead>, Vec<Lead>) = leads.into_iter().partition(on_disk);
        for lead in old {
            let loader = Arc::clone(self);
            tokio::spawn(async move { loader.reload(lead, urgency).await });
        }
        let found = gaps(
            missing.iter().map(|lead| lead.span),
            self.max_request,
            |span| self.table.compressed(SpanId(span)),
        );
        let mut missing = missing.into_iter();
        for gap in found {
            let leads: Vec<Lead> = missing.by_ref().take(gap.spans.len()).collect();
            let loader = Arc::clone(self);
            tokio::spawn(async move { loader.fly(gap, leads, urgency).await });
        }
    }

    /// A span that is on disk but has not been verified by this process, or could not be read just now.
    async fn reload(self: &Arc<Self>, lead: Lead, urgency: Urgency) {
        let span = lead.span;
        let loaded = {
            let weight = self.cache.weight(self.inflated(span));
            let _budget = self.cache.in_flight.acquire_many(weight).await;
            let (cache, store) = (Arc::clone(&self.cache), Arc::clone(&self.store));
            tokio::task::spawn_blocking(move || cache.load(&store, span)).await
        };
        if let Ok(Some(bytes)) = loaded {
            lead.announce(Ok(bytes));
            return;
        }
        if let Some(compressed) = self.table.compressed(SpanId(span)) {
            let gap = Gap {
                spans: span..span.saturating_add(1),
                compressed,
            };
            self.fly(gap, vec![lead], urgency).await;
        }
    }

    async fn fly(self: &Arc<Self>, gap: Gap, leads: Vec<Lead>, urgency: Urgency) {
        let inflated: u64 = gap.spans.clone().map(|span| self.inflated(span)).sum();
        let compressed = gap.compressed.end.saturating_sub(gap.compressed.start);
        let weight = self.cache.weight(compressed.saturating_add(inflated));
        // Held until the bytes are on disk: a slow disk slows the fetching.
        let _budget = self.cache.in_flight.acquire_many(weight).await;
        let bytes = match self.request(gap.compressed.clone()).await {
            Ok(bytes) => bytes,
            Err(error) => {
                for lead in leads {
                    lead.announce(Err(error.clone()));
                }
                return;
            }
        };
        let landings = leads.into_iter().filter_map(|lead| {
            let range = self.table.compressed(SpanId(lead.span))?;
            let part = within(&range, &gap.compressed).filter(|part| part.end <= bytes.len())?;
            Some(self.land(lead, bytes.slice(part)))
        });
        match urgency {
            Urgency::Reader => {
                join_all(landings).await;
            }
            Urgency::Background => {
                for landing in landings {
                    landing.await;
                }
            }
        }
    }

    /// The waiters get their bytes before the cache does.
    async fn land(self: &Arc<Self>, lead: Lead, compressed: Bytes) {
        let span = lead.span;
        match self.decode(span, compressed).await {
            Ok(bytes) => {
                self.store.remember(span, bytes.clone());
                lead.announce(Ok(bytes.clone()));
                if self.store.has_disk() {
                    let (cache, store) = (Arc::clone(&self.cache), Arc::clone(&self.store));
                    // The lead goes last: until then its outcome is there for whoever comes.
                    let written = tokio::task::spawn_blocking(move || {
                        cache.write(&store, span, &bytes);
                        drop(lead);
                    });
                    let _ = written.await;
                }
            }
            Err(error) => lead.announce(Err(error)),
        }
    }

    async fn decode(self: &Arc<Self>, span: u32, mut compressed: Bytes) -> Outcome {
        let mut retries = self.retries;
        loop {
            match self.verify_and_inflate(span, compressed).await? {
                Ok(bytes) => return Ok(bytes),
                Err(soci::Error::SpanDigest { .. }) if retries > 0 => {
                    retries -= 1;
                    let range = self.table.compressed(SpanId(span)).unwrap_or_default();
                    compressed = self.request(range).await?;
                }
                Err(error) => return Err(Error::corrupt(&self.name, error)),
            }
        }
    }

    async fn verify_and_inflate(
        self: &Arc<Self>,
        span: u32,
        compressed: Bytes,
    ) -> Result<Result<Bytes, soci::Error>, Error> {
        let permit = Arc::clone(&self.cache.inflate).acquire_owned().await;
        let loader = Arc::clone(self);
        let decoded = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            // Verified before inflating: a crafted span must not reach the decoder.
            if let Err(error) = loader.table.verify(SpanId(span), &compressed) {
                return Ok(Err(error));
            }
            let window = loader.window(span)?;
            Ok(loader
                .table
                .inflate(SpanId(span), &compressed, &window)
                .map(Bytes::from))
        });
        let stopped = |_| Error::Stopped {
            layer: Arc::clone(&self.name),
        };
        let decoded: Result<Bytes, soci::Error> = decoded.await.map_err(stopped)??;
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

    async fn request(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let metrics = self.cache.metrics();
        let Some(source) = &self.source else {
            let what =
                "bytes pulled earlier are damaged on disk; remove the image and pull it again";
            return Err(Error::corrupt(&self.name, what));
        };
        metrics.source_requests.add(1);
        let len = range.end.saturating_sub(range.start);
        let answer = source
            .read(range)
            .await
            .and_then(|bytes| match u64::try_from(bytes.len()) {
                Ok(found) if found == len => Ok(bytes),
                _ => {
                    let what = format!("asked for {len} bytes, got {}", bytes.len());
                    Err(SourceError::new(SourceFailure::Transient, what))
                }
            });
        match answer {
            Ok(bytes) => {
                metrics.fetched_bytes.add(len);
                Ok(bytes)
            }
            Err(error) => {
                metrics.source_failures.add(1);
                Err(Error::from_source(&self.name, error))
            }
        }
    }

    fn inflated(&self, span: u32) -> u64 {
        let range = self.table.uncompressed(SpanId(span)).unwrap_or_default();
        range.end.saturating_sub(range.start)
    }
}
