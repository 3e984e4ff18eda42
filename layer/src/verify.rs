//! Which files' tar headers have been compared with their entries.

use crate::error::Error;
use soci::toc::{Entry, EntryId};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A member's header blocks: three records of at most 1 MiB before it and some padding.
const MAX_HEADER: u64 = 4 << 20;

/// One bit per entry.
pub(crate) struct Verified(Box<[AtomicU64]>);

impl Verified {
    pub(crate) fn none(entries: u32) -> Verified {
        Verified(
            (0..entries.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.word(id)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit(id) != 0)
    }

    pub(crate) fn insert(&self, id: EntryId) {
        if let Some(word) = self.word(id) {
            word.fetch_or(bit(id), Ordering::Relaxed);
        }
    }

    fn word(&self, id: EntryId) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(id.0 / 64).ok()?)
    }
}

fn bit(id: EntryId) -> u64 {
    1 << (id.0 % 64)
}

/// Where the header lies in the tar.
pub(crate) fn header(layer: &Arc<str>, entry: &Entry<'_>) -> Result<Range<u64>, Error> {
    let range = entry.header_offset()..entry.offset();
    if range.end.saturating_sub(range.start) > MAX_HEADER {
        let what = format!(
            "tar header at {} is longer than {MAX_HEADER} bytes",
            range.start
        );
        return Err(Error::corrupt(layer, what));
    }
    Ok(range)
}

/// What the zTOC says of a file must be what the layer itself says.
pub(crate) fn check(layer: &Arc<str>, header: &[u8], entry: &Entry<'_>) -> Result<(), Error> {
    soci::tar::check_member(header, entry).map_err(|error| {
        let name = String::from_utf8_lossy(entry.name());
        Error::corrupt(layer, format_args!("{}: {error}", name.escape_debug()))
    })
}
