//! The memory of spans on their way: compressed, inflated, and until everybody who was given one has let go of it.

use crate::urgency::Urgency;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counted in these.
const KIB: u64 = 1024;
const MAX_PERMITS: u32 = u32::MAX >> 4;

/// Three eighths for what readers wait for, so that nothing else stands in their way. Of the rest the background never has so much
/// that nothing is left for what is read soon, but enough to fill a link while spans are inflated and written.
pub(crate) struct Budget {
    readers: Part,
    others: Part,
    background: Part,
    taken: Arc<AtomicU64>,
}

struct Part {
    semaphore: Arc<Semaphore>,
    permits: u32,
}

/// Memory that is taken; given back when dropped.
pub(crate) struct Taken {
    bytes: u64,
    all: Arc<AtomicU64>,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    bytes: Vec<u8>,
    _taken: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Part {
    fn new(bytes: u64) -> Part {
        let permits = u32::try_from(bytes / KIB).unwrap_or(u32::MAX);
        let permits = permits.clamp(1, MAX_PERMITS);
        Part {
            semaphore: Arc::new(Semaphore::new(
                usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            permits,
        }
    }

    async fn take(&self, bytes: u64, most: u32) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let permits = permits.clamp(1, most.max(1));
        // Never closed.
        let semaphore = Arc::clone(&self.semaphore);
        semaphore.acquire_many_owned(permits).await.ok()
    }
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Budget {
        let sixteenth = bytes / 16;
        Budget {
            readers: Part::new(sixteenth.saturating_mul(6)),
            others: Part::new(sixteenth.saturating_mul(10)),
            background: Part::new(sixteenth.saturating_mul(7)),
            taken: Arc::default(),
        }
    }

    /// Bytes that are taken now.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What is larger than all there is goes alone. What is read soon never needs what the background has: the background
    /// may be standing back for it.
    pub(crate) async fn take(&self, bytes: u64, urgency: Urgency) -> Taken {
        let (others, background) = (&self.others, &self.background);
        let reserve = others.permits.saturating_sub(background.permits);
        let permits = match urgency {
            Urgency::Reader => [self.readers.take(bytes, self.readers.permits).await, None],
            Urgency::Soon => [others.take(bytes, reserve).await, None],
            Urgency::Background => {
                let own = background.take(bytes, background.permits).await;
                [own, others.take(bytes, background.permits).await]
            }
        };
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Taken {
            bytes,
            all: Arc::clone(&self.taken),
            _permits: permits,
        }
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

    fn is_left(budget: &Budget, kib: u64, urgency: Urgency) -> bool {
        budget.take(kib * KIB, urgency).now_or_never().is_some()
    }

    #[tokio::test]
    async fn memory_counts_until_the_last_reader_has_let_go_of_it() {
        let budget = Budget::new(160 * KIB);
        let taken = budget.take(60 * KIB, Urgency::Reader).await;
        assert!(is_left(&budget, 1, Urgency::Soon));
        assert!(!is_left(&budget, 1, Urgency::Reader));
        let bytes = taken.hold(vec![7; 10]);
        let slice = bytes.slice(3..4);
        drop(bytes);
        assert!(!is_left(&budget, 1, Urgency::Reader));
        assert_eq!(budget.taken(), 60 * KIB);
        drop(slice);
        assert_eq!(budget.taken(), 0);
        assert!(is_left(&budget, 1 << 40, Urgency::Reader));
    }

    #[tokio::test]
    async fn the_background_leaves_something_for_what_is_read_soon() {
        let budget = Budget::new(160 * KIB);
        let background = budget.take(1 << 40, Urgency::Background).await;
        assert!(!is_left(&budget, 1, Urgency::Background));
        // However large it is.
        assert!(is_left(&budget, 1 << 30, Urgency::Soon));
        let soon = budget.take(30 * KIB, Urgency::Soon).await;
        assert!(!is_left(&budget, 1, Urgency::Soon));
        drop(background);
        let all = budget.take(70 * KIB, Urgency::Background).await;
        assert!(!is_left(&budget, 1, Urgency::Background));
        drop((soon, all));
        assert_eq!(budget.taken(), 0);
    }
}
