//! The checkpoint blob of a gzip layer while it is collected.

use crate::spans::WINDOW;

/// Bytes of the number of checkpoints.
const COUNT: usize = 4;
/// Bytes before the first record: the number and the span size.
const HEADER: usize = COUNT + 8;
/// Bytes of a record: offsets, bits and window.
const RECORD: usize = 17 + WINDOW;

/// Places where inflating can resume, in order, as the blob has them.
pub(super) struct Records {
    /// But for its header.
    blob: Vec<u8>,
    starts: Vec<Start>,
}

/// Where a span starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Of its record.
    pub(super) number: usize,
    /// Offset in the layer of its first byte, of which the span before may have the first bits.
    pub(super) compressed: u64,
    /// Offset in the tar.
    pub(super) uncompressed: u64,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            blob: vec![0; HEADER],
            starts: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, consumed: u64, at: u64, bits: u8, window: &[u8]) -> Start {
        self.blob.extend_from_slice(&consumed.to_le_bytes());
        self.blob.extend_from_slice(&at.to_le_bytes());
        self.blob.push(bits);
        self.blob.extend_from_slice(window);
        let start = Start {
            number: self.starts.len(),
            compressed: consumed - u64::from(bits != 0),
            uncompressed: at,
        };
        self.starts.push(start);
        start
    }

    pub(super) fn get(&self, number: usize) -> Option<Start> {
        self.starts.get(number).copied()
    }

    /// Takes back the last record; another stays.
    pub(super) fn remove_last(&mut self, number: usize) {
        if number + 1 == self.starts.len() {
            self.starts.pop();
            self.blob.truncate(HEADER + number * RECORD);
        }
    }

    /// One less than the shortest of the spans that start at these records; `None` for a single span. The
    /// last, whose end is that of the layer, does not count.
    pub(super) fn exceeded(&self, starts: &[usize]) -> Option<u64> {
        let offset = |number: &usize| Some(self.get(*number)?.uncompressed);
        let lengths = starts.windows(2).filter_map(|pair| {
            let (this, next) = (
                pair.first().and_then(offset)?,
                pair.last().and_then(offset)?,
            );
            next.checked_sub(this)?.checked_sub(1)
        });
        lengths.min()
    }

    /// The blob with these records only, which are in order.
    pub(super) fn only(mut self, kept: &[usize], span_size: u64) -> Vec<u8> {
        for (to, from) in kept.iter().enumerate().filter(|(to, from)| to != *from) {
            let at = HEADER + from * RECORD;
            if at + RECORD <= self.blob.len() && to < *from {
                self.blob.copy_within(at..at + RECORD, HEADER + to * RECORD);
            }
        }
        self.blob.truncate(HEADER + kept.len() * RECORD);
        self.blob.shrink_to_fit();
        let records = i32::try_from(kept.len()).unwrap_or(i32::MAX);
        let header = [&records.to_le_bytes()[..], &span_size.to_le_bytes()].concat();
        if let Some(place) = self.blob.get_mut(..HEADER) {
            place.copy_from_slice(&header);
        }
        self.blob
    }
}
