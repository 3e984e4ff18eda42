//! One layer's place in the cache, shared by all images that have the layer with the same index.

use super::disk::{Disk, Presence};
use super::key::Key;
use super::memory::Memory;
use super::shelves::Shelves;
use crate::flights::Flights;
use bytes::Bytes;
use soci::spans::SpanTable;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Store {
    /// Of this process; keeps the spans of different stores apart in memory.
    pub(super) number: u64,
    pub(super) key: Key,
    pub(crate) table: Arc<SpanTable>,
    /// None where the disk is off or cannot be used.
    pub(super) disk: Option<Disk>,
    pub(crate) flights: Arc<Flights>,
    pub(super) memory: Arc<Memory>,
    /// Moves with every span that comes in: the time by which the least recently used is found.
    pub(super) clock: Arc<AtomicU64>,
    pub(super) shelves: Arc<Shelves<Store>>,
}

impl Store {
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn presence(&self, span: u32) -> Presence {
        let on_disk = self
            .disk
            .as_ref()
            .map_or(Presence::Absent, |disk| disk.presence(span));
        if on_disk != Presence::Resident && self.memory.contains((self.number, span)) {
            return Presence::Resident;
        }
        on_disk
    }

    /// Fills `buffer` from the disk if all of these spans are there.
    pub(crate) fn read(
        &self,
        spans: Range<u32>,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        match &self.disk {
            Some(disk) => disk.read(spans, offset, buffer, self.now()),
            None => Ok(false),
        }
    }

    pub(crate) fn all_on_disk(&self, mut spans: Range<u32>) -> bool {
        self.disk
            .as_ref()
            .is_some_and(|disk| spans.all(|span| disk.presence(span) == Presence::Resident))
    }

    pub(crate) fn in_memory(&self, span: u32) -> Option<Bytes> {
        self.memory.get((self.number, span))
    }

    pub(crate) fn remember(&self, span: u32, bytes: Bytes) {
        self.clock.fetch_add(1, Ordering::Relaxed);
        self.memory.insert((self.number, span), bytes);
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Bytes on disk.
    pub(crate) fn resident(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::resident)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.memory.remove_store(self.number);
        if let Some(disk) = &self.disk {
            disk.touch();
            self.shelves.close(&self.key, disk.resident());
        }
    }
}
