//! One mounted layer: its tree, its spans, and reads across both.

use crate::ahead::{Place, ReadAhead};
use crate::assemble::{Piece, assemble};
use crate::cache::{CHUNK, Cache, Presence};
use crate::decode::Decoder;
use crate::error::Error;
use crate::fetch::{Loader, Want};
use crate::first_reads::{FirstRead, FirstReads};
use crate::hints::Hints;
use crate::inode::Inode;
use crate::meter::Share;
use crate::options::Options;
use crate::source::Source;
use crate::spans::{Gap, gaps};
use crate::tree::Tree;
use crate::urgency::Urgency;
use crate::verify::{self, Verified};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci_spec::image::Digest;
use parking_lot::Mutex;
use soci::spans::{SpanId, SpanTable};
use soci::toc::{Entry, EntryId, Toc};
use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Which bytes, and the image they are read for.
#[derive(Clone, Debug)]
pub struct LayerId {
    /// Of the compressed blob.
    pub layer: Digest,
    /// None for a layer that was pulled whole.
    pub ztoc: Option<Digest>,
    /// For messages.
    pub image: String,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Bytes of the tar that are in the cache.
    pub resident: u64,
    pub total: u64,
    pub complete: bool,
}

pub enum Read {
    Ready(Bytes),
    Failed(Error),
    Pending(Pending),
}

/// Bytes on their way. Dropping it ends this reader's wait, not the fetch that others may wait for.
/// Has to be polled in a tokio runtime.
pub struct Pending(BoxFuture<'static, Result<Bytes, Error>>);

impl Future for Pending {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

pub struct Layer {
    tree: Tree,
    loader: Arc<Loader>,
    verified: Option<Verified>,
    pub(crate) hints: Hints,
    ahead: ReadAhead,
    first_reads: FirstReads,
    /// Until when what its readers will want is known.
    foreseen: Mutex<Option<Instant>>,
}

impl Layer {
    /// `windows` is the zTOC blob: what precedes a span is read from it when it is needed. Blocks, but not on the network.
    pub fn open(
        cache: &Arc<Cache>,
        id: LayerId,
        toc: Toc,
        spans: SpanTable,
        windows: File,
        source: Arc<dyn Source>,
        options: &Options,
    ) -> Result<Arc<Layer>, Error> {
        Layer::assemble(cache, id, toc, spans, Some(windows), Some(source), options)
    }

    /// A layer whose whole tar a `LocalWriter` has put in the cache. Blocks.
    pub fn open_local(
        cache: &Arc<Cache>,
        id: LayerId,
        toc: Toc,
        options: &Options,
    ) -> Result<Arc<Layer>, Error> {
        let size = cache.local_size(&id.layer)?.ok_or_else(|| {
            let name = name(&id);
            Error::corrupt(
                &name,
                "its tar is not in the cache; remove the image and pull it again",
            )
        })?;
        let id = LayerId { ztoc: None, ..id };
        let spans = SpanTable::whole(size, CHUNK);
        Layer::assemble(cache, id, toc, spans, None, None, options)
    }

    fn assemble(
        cache: &Arc<Cache>,
        id: LayerId,
        toc: Toc,
        spans: SpanTable,
        windows: Option<File>,
        source: Option<Arc<dyn Source>>,
        options: &Options,
    ) -> Result<Arc<Layer>, Error> {
        let name = name(&id);
        let entries = toc.len();
        let tree = Tree::build(toc, &options.tree).map_err(|reason| Error::Unfit {
            layer: Arc::clone(&name),
            reason,
        })?;
        let table = Arc::new(spans);
        let first_reads = FirstReads::of(table.uncompressed_size());
        let store = cache.store(&id.layer, id.ztoc.as_ref(), &table)?;
        let decoder = Decoder {
            name,
            cache: Arc::clone(cache),
            store,
            table,
            windows,
        };
        let loader = Loader {
            decoder: Arc::new(decoder),
            source,
            retries: options.max_span_verification_retries,
            max_request: options.max_request,
            outage: options.outage,
        };
        Ok(Arc::new(Layer {
            tree,
            loader: Arc::new(loader),
            verified: (!options.disable_verification).then(|| Verified::none(entries)),
            hints: Hints::default(),
            ahead: ReadAhead::default(),
            first_reads,
            foreseen: Mutex::default(),
        }))
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Less than `size` bytes come only at the end of the file. Never waits: what is not here is `Pending`.
    pub fn read(self: &Arc<Self>, inode: Inode, offset: u64, size: u32) -> Read {
        let Some((id, entry)) = self.tree.data(inode) else {
            return Read::Failed(self.not_a_file(inode));
        };
        let end = offset.saturating_add(u64::from(size)).min(entry.size());
        if offset >= end {
            return Read::Ready(Bytes::new());
        }
        let start = entry.offset();
        let (Some(start), Some(end)) = (start.checked_add(offset), start.checked_add(end)) else {
            return Read::Failed(self.beyond(id));
        };
        let tar = start..end;
        if tar.end > self.loader.table().uncompressed_size() {
            return Read::Failed(self.beyond(id));
        }
        if let Ok(Some(header)) = self.unverified_header(id) {
            self.first_reads.note(&header);
        }
        self.first_reads.note(&tar);
        match self.resident(id, &tar, &[]) {
            Ok(Some(bytes)) => {
                self.loader.cache().metrics().hits.add(1);
                self.read_ahead(id, &entry, &tar, &(0..0));
                Read::Ready(bytes)
            }
            Ok(None) => {
                self.loader.cache().metrics().misses.add(1);
                let waiting = self.loader.cache().readers.enter();
                let tail = self.tail(&tar);
                // After this reader has entered: what comes next does not stand in its way.
                self.read_ahead(id, &entry, &tar, &tail);
                let layer = Arc::clone(self);
                Read::Pending(Pending(Box::pin(async move {
                    let _waiting = waiting;
                    layer.wait_for(id, tar, tail).await
                })))
            }
            Err(error) => Read::Failed(error),
        }
    }

    /// Hints at what follows a file that is read in order.
    fn read_ahead(&self, id: EntryId, entry: &Entry<'_>, tar: &Range<u64>, tail: &Range<u32>) {
        let table = self.loader.table();
        let (start, end) = (entry.offset(), entry.offset().saturating_add(entry.size()));
        let file = table.covering(start..end);
        if file.len() < 2 || self.loader.source.is_none() || self.is_starting() {
            return;
        }
        let missing = |span| self.loader.store().presence(span) == Presence::Absent;
        let place = Place {
            read: table.covering(tar.clone()),
            tail,
            file: &file,
            from_start: tar.start == start,
        };
        let next = self.ahead.read(id, &place, self.most_ahead(&file), missing);
        let metrics = self.loader.cache().metrics();
        metrics.read_ahead_hits.add(next.hits);
        let (Some(first), Some(last)) = (next.fetch.first(), next.fetch.last()) else {
            return;
        };
        metrics
            .read_ahead_spans
            .add(u64::try_from(next.fetch.len()).unwrap_or(0));
        tracing::trace!(target: "layer", layer = %self.loader.name(), entry = id.0, spans = ?next.fetch, "read ahead");
        self.hints.push_ahead(*first..last.saturating_add(1));
        self.loader.cache().work.notify_waiters();
    }

    /// What a reader's request brings beside what he waits for: a guess of what is read next, where nothing better is
    /// known. It takes the time in which the link would idle, from his answer to the bytes of his next request.
    fn tail(&self, tar: &Range<u64>) -> Range<u32> {
        let table = self.loader.table();
        let start = table.covering(tar.clone()).end;
        if self.is_starting() {
            return start..start;
        }
        let mut room = self.loader.cache().link.idle();
        let mut end = start;
        while end < table.len() && self.lacks(end) {
            let bytes = self.compressed(end);
            // With half of it under way, the next request has half as long to wait.
            if bytes / 2 > room {
                break;
            }
            room = room.saturating_sub(bytes);
            end = end.saturating_add(1);
        }
        start..end
    }

    /// So many spans of the file keep the link busy.
    fn most_ahead(&self, file: &Range<u32>) -> u32 {
        let compressed = self.compressed_range(file);
        let spans = u64::try_from(file.len()).unwrap_or(u64::MAX);
        let mean = compressed.end.saturating_sub(compressed.start) / spans.max(1);
        let most = self.loader.cache().link.window() / mean.max(1);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    fn compressed_range(&self, spans: &Range<u32>) -> Range<u64> {
        let of = |span| {
            self.loader
                .table()
                .compressed(SpanId(span))
                .unwrap_or_default()
        };
        of(spans.start).start..of(spans.end.saturating_sub(1)).end
    }

    async fn wait_for(
        &self,
        id: EntryId,
        tar: Range<u64>,
        tail: Range<u32>,
    ) -> Result<Bytes, Error> {
        let table = self.loader.table();
        let mut wanted: Vec<u32> = table.covering(tar.clone()).collect();
        let mut keep = vec![tar.clone()];
        if let Some(header) = self.unverified_header(id)? {
            wanted.extend(table.covering(header.clone()));
            wanted.sort_unstable();
            wanted.dedup();
            keep.push(header);
        }
        for thorough in [false, true] {
            let want = Want {
                keep: &keep,
                thorough,
                tail: tail.clone(),
                ..Want::new(&wanted, Urgency::Reader)
            };
            let brought = self.loader.bring_through_outage(&want).await?;
            // Missing only if the cache lost it meanwhile.
            if let Some(bytes) = self.resident(id, &tar, &brought)? {
                return Ok(bytes);
            }
        }
        Err(self.beyond(id))
    }

    /// The bytes, once the file's own header agrees with what the zTOC says of it.
    fn resident(
        &self,
        id: EntryId,
        tar: &Range<u64>,
        brought: &[Piece],
    ) -> Result<Option<Bytes>, Error> {
        let store = self.loader.store();
        if let Some(header) = self.unverified_header(id)? {
            let Some(bytes) = assemble(store, header, brought) else {
                return Ok(None);
            };
            if let (Some(entry), Some(verified)) = (self.tree.toc().entry(id), &self.verified) {
                verify::check(self.loader.name(), &bytes, &entry).inspect_err(|_| {
                    self.loader
                        .cache()
                        .metrics()
                        .header_verification_failures
                        .add(1);
                })?;
                verified.insert(id);
            }
        }
        let bytes = assemble(store, tar.clone(), brought);
        if let Some(bytes) = &bytes {
            let len = u64::try_from(bytes.len()).unwrap_or(0);
            self.loader.cache().metrics().read_bytes.add(len);
        }
        Ok(bytes)
    }

    fn unverified_header(&self, id: EntryId) -> Result<Option<Range<u64>>, Error> {
        if self
            .verified
            .as_ref()
            .is_none_or(|verified| verified.contains(id))
        {
            return Ok(None);
        }
        let entry = self.tree.toc().entry(id);
        entry
            .map(|entry| verify::header(self.loader.name(), &entry))
            .transpose()
    }

    /// These spans will be read soon: `Background` gets them before it fills.
    pub fn prefetch(&self, spans: Range<u32>) {
        self.hints
            .push_listed(spans.start..spans.end.min(self.loader.table().len()));
        self.loader.cache().work.notify_waiters();
    }

    /// What readers have asked for since it was opened, or since `record`: ranges of the tar in the order of their first use,
    /// disjoint and bounded in number.
    pub fn first_reads(&self) -> Vec<FirstRead> {
        self.first_reads.noted()
    }

    /// Forgets the first reads and notes what comes from now on.
    pub fn record(&self) {
        self.first_reads.record();
    }

    /// What was noted stays.
    pub fn stop_recording(&self) {
        self.first_reads.stop();
    }

    /// Whether a reader waits, for this layer or for another one of its cache.
    pub fn is_waited_for(&self) -> bool {
        self.loader.cache().readers.is_waited_for()
    }

    pub fn progress(&self) -> Progress {
        let total = self.loader.table().uncompressed_size();
        let store = self.loader.store();
        let resident = if store.has_disk() {
            store.resident()
        } else {
            let here = |span: &u32| store.presence(*span) != Presence::Absent;
            (0..self.loader.table().len())
                .filter(here)
                .map(|span| self.inflated(span))
                .sum()
        };
        Progress {
            resident,
            total,
            complete: resident >= total,
        }
    }

    /// What readers will want for so long is known, be it nothing.
    pub(crate) fn foresee(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        let mut foreseen = self.foreseen.lock();
        *foreseen = until.max(*foreseen);
    }

    pub(crate) fn is_foreseen(&self) -> bool {
        self.foreseen.lock().is_some()
    }

    /// A start is under way whose reads are known: guessing more would only delay them.
    fn is_starting(&self) -> bool {
        self.foreseen
            .lock()
            .is_some_and(|until| Instant::now() < until)
    }

    /// The spans that a range of the tar needs.
    pub(crate) fn covering(&self, tar: Range<u64>) -> Range<u32> {
        self.loader.table().covering(tar)
    }

    /// Whether a span has to be fetched.
    pub(crate) fn lacks(&self, span: u32) -> bool {
        self.loader.source.is_some() && self.loader.store().presence(span) == Presence::Absent
    }

    /// Compressed bytes of those of these spans that are neither here nor on their way.
    pub(crate) fn outstanding(&self, spans: Range<u32>) -> u64 {
        let flights = &self.loader.store().flights;
        spans
            .filter(|&span| self.lacks(span) && !flights.has(span))
            .map(|span| self.compressed(span))
            .sum()
    }

    pub(crate) fn compressed(&self, span: u32) -> u64 {
        let range = self.loader.table().compressed(SpanId(span));
        range.map_or(0, |range| range.end.saturating_sub(range.start))
    }

    /// Brings those of these spans that are missing.
    pub(crate) async fn bring(
        &self,
        spans: Range<u32>,
        share: Option<Arc<Share>>,
    ) -> Result<(), Error> {
        let missing: Vec<u32> = spans.filter(|span| self.lacks(*span)).collect();
        let want = Want {
            share,
            ..Want::new(&missing, Urgency::Soon)
        };
        self.loader.bring(&want).await.map(drop)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        self.loader.name()
    }

    pub(crate) fn spans(&self) -> u32 {
        self.loader.table().len()
    }

    /// Whether filling it makes sense: without a disk it would only push out what readers use.
    pub(crate) fn can_be_filled(&self) -> bool {
        self.loader.store().has_disk() && self.loader.source.is_some()
    }

    /// The first gap among these spans, of at most `limit` compressed bytes.
    pub(crate) fn next_gap(&self, spans: Range<u32>, limit: u64) -> Option<Gap> {
        let table = self.loader.table();
        let limit = limit.min(self.loader.max_request);
        let missing = spans.filter(|&span| self.inflated(span) > 0 && self.lacks(span));
        let mut bytes = 0_u64;
        // One more than the limit is enough to see where the gap ends.
        let few = missing.take_while(move |&span| {
            let goes_on = bytes <= limit;
            bytes = bytes.saturating_add(self.compressed(span));
            goes_on
        });
        gaps(few, limit, |span| table.compressed(SpanId(span)))
            .into_iter()
            .next()
    }

    /// Brings a gap when its turn comes.
    pub(crate) async fn fill(&self, gap: &Gap) -> Result<(), Error> {
        let wanted: Vec<u32> = gap.spans.clone().collect();
        let want = Want::new(&wanted, Urgency::Background);
        self.loader.bring(&want).await.map(drop)
    }

    fn inflated(&self, span: u32) -> u64 {
        let range = self
            .loader
            .table()
            .uncompressed(SpanId(span))
            .unwrap_or_default();
        range.end.saturating_sub(range.start)
    }

    fn not_a_file(&self, inode: Inode) -> Error {
        let layer = Arc::clone(self.loader.name());
        match self.tree.attr(inode) {
            Some(_) => Error::NotAFile { layer, inode },
            None => Error::NoEntry { layer, inode },
        }
    }

    fn beyond(&self, id: EntryId) -> Error {
        let what = format_args!("zTOC entry {} lies beyond the end of the layer", id.0);
        Error::corrupt(self.loader.name(), what)
    }
}

fn name(id: &LayerId) -> Arc<str> {
    format!("layer {} of {}", id.layer, id.image).into()
}
