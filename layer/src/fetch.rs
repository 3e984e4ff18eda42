//! How bytes get in, whoever asks: one flight per span, one request per gap, cut into spans while they arrive.

use crate::assemble::Piece;
use crate::budget::Taken;
use crate::cache::{Cache, Presence, Store};
use crate::cut::Cut;
use crate::decode::Decoder;
use crate::error::Error;
use crate::flights::{Claim, Flight, Lead};
use crate::meter::Share;
use crate::pacer::Leave;
use crate::request::Request;
use crate::source::Source;
use crate::spans::{Gap, gaps};
use crate::urgency::{Urgency, Wanted};
use bytes::Bytes;
use futures_util::future::join_all;
use soci::spans::SpanId;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often a reader claims spans whose lead died under it.
const CLAIMS: usize = 3;

/// Between the attempts of a reader whose source cannot be reached; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What somebody wants of a layer.
pub(crate) struct Want<'a> {
    /// Ascending.
    pub(crate) spans: &'a [u32],
    /// The parts of the tar to be handed out.
    pub(crate) keep: &'a [Range<u64>],
    /// Also what can be read from the disk, checked again.
    pub(crate) thorough: bool,
    /// Spans right after the last one that come with it, in the same request; nobody waits for them.
    pub(crate) tail: Range<u32>,
    pub(crate) urgency: Urgency,
    /// Told what arrives.
    pub(crate) share: Option<Arc<Share>>,
}

impl<'a> Want<'a> {
    pub(crate) fn new(spans: &'a [u32], urgency: Urgency) -> Want<'a> {
        Want {
            spans,
            keep: &[],
            thorough: false,
            tail: 0..0,
            urgency,
            share: None,
        }
    }
}

/// Where the spans of one layer come from.
pub(crate) struct Loader {
    pub(crate) decoder: Arc<Decoder>,
    /// None for a layer that was pulled whole.
    pub(crate) source: Option<Arc<dyn Source>>,
    pub(crate) retries: u32,
    pub(crate) max_request: u64,
    pub(crate) outage: Duration,
}

/// A request of a reader, while it is under way.
struct Counted<'a>(Option<&'a AtomicUsize>);

impl<'a> Counted<'a> {
    fn new(cache: &'a Cache, urgency: Urgency) -> Counted<'a> {
        let counter = (urgency == Urgency::Reader).then_some(&cache.reader_requests);
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A gap on its way.
struct Landing<'a> {
    leads: VecDeque<Lead>,
    cut: Cut,
    share: Option<Arc<Share>>,
    /// For the span that is arriving.
    taken: Option<Taken>,
    end: u64,
    loader: &'a Arc<Loader>,
}

impl Loader {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.decoder.name
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.decoder.cache
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.decoder.store
    }

    pub(crate) fn table(&self) -> &soci::spans::SpanTable {
        &self.decoder.table
    }

    /// As `bring`, for a reader who waits while the source cannot be reached.
    pub(crate) async fn bring_through_outage(
        self: &Arc<Self>,
        want: &Want<'_>,
    ) -> Result<Vec<Piece>, Error> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.bring(want).await {
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

    /// Brings these spans. Returns what they hold of `keep`, but not what can be read from the disk.
    pub(crate) async fn bring(self: &Arc<Self>, want: &Want<'_>) -> Result<Vec<Piece>, Error> {
        let keep = want.keep;
        let mut brought = Vec::new();
        let mut wanted = want.spans.to_vec();
        for _ in 0..CLAIMS {
            let flights = &self.store().flights;
            let present = |span| self.present(span, want.thorough);
            let claims = flights.claim(&wanted, want.urgency, present);
            wanted.clear();
            let mut leads = Vec::new();
            let mut flights: Vec<(u32, Flight)> = Vec::new();
            for (span, claim) in claims {
                match claim {
                    Claim::Present(bytes) => {
                        let pieces = bytes.map(|bytes| self.pieces(span, &bytes, keep));
                        brought.extend(pieces.into_iter().flatten());
                    }
                    Claim::Flight(flight) => flights.push((span, flight)),
                    Claim::Lead(lead) => {
                        flights.push((span, lead.flight()));
                        leads.push(lead);
                    }
                }
            }
            leads.extend(self.tail(leads.last(), &want.tail));
            self.launch(leads, want.share.as_ref());
            // Each is let go of when it lands: no span waits in memory for another one that may need the memory.
            let landed = flights.into_iter().map(|(span, flight)| async move {
                let outcome = flight.wait().await;
                let pieces = outcome.map(|bytes| Ok(self.pieces(span, &bytes?, keep)));
                (span, pieces)
            });
            for (span, pieces) in join_all(landed).await {
                match pieces {
                    Some(pieces) => brought.extend(pieces?),
                    None => wanted.push(span),
                }
            }
            if wanted.is_empty() {
                return Ok(brought);
            }
        }
        Err(Error::Stopped {
            layer: Arc::clone(self.name()),
        })
    }

    /// The spans of the tail that can come in the same request as the one before them.
    fn tail(&self, last: Option<&Lead>, tail: &Range<u32>) -> Vec<Lead> {
        let follows = last.is_some_and(|last| last.span.checked_add(1) == Some(tail.start));
        if tail.is_empty() || !follows {
            return Vec::new();
        }
        let spans: Vec<u32> = tail.clone().collect();
        let flights = &self.store().flights;
        let absent = |span| (self.store().presence(span) != Presence::Absent).then_some(());
        let claims = flights.claim(&spans, Urgency::Soon, absent);
        let leads = claims.into_iter().map_while(|(_, claim)| match claim {
            Claim::Lead(lead) => Some(lead),
            Claim::Present(()) | Claim::Flight(_) => None,
        });
        leads.collect()
    }

    fn pieces(&self, span: u32, bytes: &Bytes, keep: &[Range<u64>]) -> Vec<Piece> {
        let start = self
            .table()
            .uncompressed(SpanId(span))
            .unwrap_or_default()
            .start;
        let copy = |wanted| Piece::copy(bytes, start, wanted);
        keep.iter().filter_map(copy).collect()
    }

    fn present(&self, span: u32, thorough: bool) -> Option<Option<Bytes>> {
        if let Some(bytes) = self.store().in_memory(span) {
            return Some(Some(bytes));
        }
        (!thorough && self.store().presence(span) == Presence::Resident).then_some(None)
    }

    /// Every flight is a task of its own: it lands even if the reader that started it goes away.
    fn launch(self: &Arc<Self>, leads: Vec<Lead>, share: Option<&Arc<Share>>) {
        let on_disk = |lead: &Lead| self.store().presence(lead.span) != Presence::Absent;
        let (old, missing): (Vec<Lead>, Vec<Lead>) = leads.into_iter().partition(on_disk);
        for lead in old {
            let loader = Arc::clone(self);
            tokio::spawn(async move { loader.reload(lead).await });
        }
        let found = gaps(
            missing.iter().map(|lead| lead.span),
            self.max_request,
            |span| self.table().compressed(SpanId(span)),
        );
        let mut missing = missing.into_iter();
        for gap in found {
            let leads = missing.by_ref().take(gap.spans.len()).collect();
            let (loader, share) = (Arc::clone(self), share.cloned());
            tokio::spawn(async move { loader.fly(gap, leads, share).await });
        }
    }

    /// A span that is on disk but has not been verified by this process, or could not be read just now.
    async fn reload(self: &Arc<Self>, lead: Lead) {
        let span = lead.span;
        let loaded = {
            let bytes = self.decoder.inflated(span);
            let _taken = self.take(bytes, &lead.wanted).await;
            let decoder = Arc::clone(&self.decoder);
            tokio::task::spawn_blocking(move || decoder.cache.load(&decoder.store, span)).await
        };
        if let Ok(Some(bytes)) = loaded {
            lead.announce(Ok(bytes));
            return;
        }
        if let Some(compressed) = self.table().compressed(SpanId(span)) {
            let gap = Gap {
                spans: span..span.saturating_add(1),
                compressed,
            };
            self.fly(gap, [lead].into(), None).await;
        }
    }

    /// Whoever holds what is waited for here may be standing back for somebody more urgent: nobody is made to wait with it.
    async fn take(&self, bytes: u64, wanted: &Wanted) -> Taken {
        loop {
            let urgency = wanted.urgency();
            tokio::select! {
                biased;
                () = wanted.above(urgency) => {}
                taken = self.cache().budget.take(bytes, urgency) => return taken,
            }
        }
    }

    async fn fly(self: &Arc<Self>, gap: Gap, leads: VecDeque<Lead>, share: Option<Arc<Share>>) {
        let mut landing = Landing {
            leads,
            cut: Cut::new(&gap, |span| self.table().compressed(SpanId(span))),
            share,
            taken: None,
            end: gap.compressed.end,
            loader: self,
        };
        if let Err(error) = landing.bring().await {
            for lead in landing.leads {
                lead.announce(Err(error.clone()));
            }
        }
    }

    fn request(&self, range: Range<u64>) -> Result<Request<'_>, Error> {
        let Some(source) = &self.source else {
            let what =
                "bytes pulled earlier are damaged on disk; remove the image and pull it again";
            return Err(Error::corrupt(self.name(), what));
        };
        Ok(Request::new(self.name(), self.cache(), &**source, range))
    }

    /// The waiters get their bytes before the cache does.
    async fn land(self: Arc<Self>, lead: Lead, compressed: Vec<u8>, taken: Option<Taken>) {
        let span = lead.span;
        let bytes = match self.decode(&lead, compressed).await {
            Ok(bytes) => bytes,
            Err(error) => return lead.announce(Err(error)),
        };
        let (cache, store) = (Arc::clone(self.cache()), Arc::clone(self.store()));
        let bytes = match taken {
            Some(taken) if store.has_disk() => taken.hold(bytes),
            // What memory keeps has a bound of its own.
            _ => bytes.into(),
        };
        store.remember(span, bytes.clone());
        lead.announce(Ok(bytes.clone()));
        if store.has_disk() {
            // The lead goes last: until then its outcome is there for whoever comes.
            let written = tokio::task::spawn_blocking(move || {
                cache.write(&store, span, &bytes);
                drop(lead);
            });
            let _ = written.await;
        }
    }

    async fn decode(&self, lead: &Lead, mut compressed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let span = lead.span;
        let mut retries = self.retries;
        loop {
            let decoded = self
                .decoder
                .verify_and_inflate(span, compressed, lead.wanted.urgency());
            match decoded.await? {
                Ok(bytes) => return Ok(bytes),
                Err(soci::Error::SpanDigest { .. }) if retries > 0 => {
                    retries -= 1;
                    let range = self.table().compressed(SpanId(span)).unwrap_or_default();
                    let mut again = Vec::new();
                    let mut request = self.request(range)?;
                    while let Some(piece) = request.next().await? {
                        again.extend_from_slice(&piece);
                    }
                    compressed = again;
                }
                Err(error) => return Err(Error::corrupt(self.name(), error)),
            }
        }
    }
}

impl<'a> Landing<'a> {
    async fn bring(&mut self) -> Result<(), Error> {
        let loader = self.loader;
        while let Some(span) = self.cut.span() {
            if self.cut.missing() == 0 {
                // A span without bytes.
                self.add(&[]).await;
                continue;
            }
            // No connection is held while memory is waited for.
            self.stand_back().await;
            self.make_room(span).await;
            let start = self.cut.position();
            let (end, mut leave) = self.turn().await;
            let counted = Counted::new(loader.cache(), self.urgency());
            let mut request = loader.request(start..end)?;
            while let Some(piece) = request.next().await? {
                let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                if let Some(leave) = &mut leave {
                    leave.arrived(bytes);
                }
                if let Some(share) = &self.share {
                    share.arrived(bytes);
                }
                self.add(&piece).await;
            }
            drop(counted);
        }
        Ok(())
    }

    fn urgency(&self) -> Urgency {
        let lead = self.leads.front();
        lead.map_or(Urgency::Background, |lead| lead.wanted.urgency())
    }

    /// What nobody wants yet takes no memory while others come first.
    async fn stand_back(&self) {
        let (Some(lead), None) = (self.leads.front(), &self.taken) else {
            return;
        };
        tokio::select! {
            biased;
            () = lead.wanted.above(Urgency::Background) => {}
            () = self.loader.cache().pacer.comes_next() => {}
        }
    }

    /// Up to where to ask now.
    async fn turn(&self) -> (u64, Option<Leave<'a>>) {
        let Some(lead) = self.leads.front() else {
            return (self.end, None);
        };
        let cache = self.loader.cache();
        let start = self.cut.position();
        let missing = self.end.saturating_sub(start);
        let leave = tokio::select! {
            biased;
            () = lead.wanted.above(Urgency::Background) => return (self.end, None),
            leave = cache.pacer.leave(missing, &cache.link) => leave,
        };
        (start.saturating_add(leave.bytes).min(self.end), Some(leave))
    }

    async fn make_room(&mut self, span: u32) {
        let (None, Some(lead)) = (&self.taken, self.leads.front()) else {
            return;
        };
        let bytes = self.loader.decoder.weight(span);
        let taken = self.loader.take(bytes, &lead.wanted).await;
        self.taken = Some(taken);
    }

    /// Lands each span as soon as its last byte is here.
    async fn add(&mut self, mut piece: &[u8]) {
        loop {
            if let Some((span, bytes)) = self.cut.take(&mut piece) {
                let taken = self.taken.take();
                let lead = self.leads.pop_front().filter(|lead| lead.span == span);
                if let Some(lead) = lead {
                    let loader = Arc::clone(self.loader);
                    tokio::spawn(loader.land(lead, bytes, taken));
                }
            }
            match self.cut.span() {
                Some(next) if !piece.is_empty() => self.make_room(next).await,
                _ => return,
            }
        }
    }
}
