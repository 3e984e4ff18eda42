//! The memory of spans on their way: compressed, inflated, and until everybody who was given one has let go of it.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counted in these.
const KIB: u64 = 1024;
const MAX_PERMITS: u32 = u32::MAX >> 4;

/// Half for what readers wait for and half for the rest, so that neither stands in the other's way.
pub(crate) struct Budget {
    readers: Arc<Semaphore>,
    others: Arc<Semaphore>,
    /// Of either half.
    permits: u32,
}

/// Memory that is taken; given back when dropped.
pub(crate) struct Taken(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);

struct Held {
    bytes: Vec<u8>,
    _taken: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Budget {
        let permits = u32::try_from(bytes / 2 / KIB).unwrap_or(u32::MAX);
        let permits = permits.clamp(1, MAX_PERMITS);
        let half = || {
            let permits = usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(permits))
        };
        Budget {
            readers: half(),
            others: half(),
            permits,
        }
    }

    /// What is larger than all there is goes alone.
    pub(crate) async fn take(&self, bytes: u64, for_reader: bool) -> Taken {
        let permits = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let half = if for_reader {
            &self.readers
        } else {
            &self.others
        };
        let permits = permits.clamp(1, self.permits);
        // Never closed.
        Taken(Arc::clone(half).acquire_many_owned(permits).await.ok())
    }
}

impl Taken {
    /// Bytes that count until the last of their clones and slices is gone.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> Bytes {
        let _taken = self;
        Bytes::from_owner(Held { bytes, _taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn memory_counts_until_the_last_reader_has_let_go_of_it() {
        let budget = Budget::new(200 * KIB);
        let taken = budget.take(100 * KIB, true).await;
        assert!(budget.take(1, false).now_or_never().is_some());
        assert!(budget.take(1, true).now_or_never().is_none());
        let bytes = taken.hold(vec![7; 10]);
        let slice = bytes.slice(3..4);
        drop(bytes);
        assert!(budget.take(1, true).now_or_never().is_none());
        drop(slice);
        assert!(budget.take(u64::MAX, true).now_or_never().is_some());
    }
}
