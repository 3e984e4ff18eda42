//! How many bytes of one kind of request are asked for and not yet here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Meter {
    under_way: AtomicU64,
    /// Told whenever there is less under way.
    less: Notify,
}

/// The bytes of one request; what has not come when it is dropped is no longer waited for.
pub(crate) struct Share {
    meter: Arc<Meter>,
    missing: AtomicU64,
}

impl Meter {
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Arc<Share> {
        self.under_way.fetch_add(bytes, Ordering::AcqRel);
        Arc::new(Share {
            meter: Arc::clone(self),
            missing: AtomicU64::new(bytes),
        })
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Acquire)
    }

    /// To be awaited; told from the moment it was made, if it was enabled.
    pub(crate) fn less(&self) -> &Notify {
        &self.less
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.under_way.fetch_sub(bytes, Ordering::AcqRel);
            self.less.notify_waiters();
        }
    }
}

impl Share {
    /// More than was taken counts nothing.
    pub(crate) fn arrived(&self, bytes: u64) {
        let take = |missing: u64| Some(missing.saturating_sub(bytes));
        let before = self
            .missing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .unwrap_or_default();
        self.meter.give_back(before.min(bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.meter.give_back(*self.missing.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_never_will_is_not_under_way() {
        let meter = Arc::new(Meter::default());
        let (one, other) = (meter.take(10), meter.take(5));
        one.arrived(3);
        assert_eq!(meter.under_way(), 12);
        one.arrived(30);
        assert_eq!(meter.under_way(), 5);
        drop(one);
        assert_eq!(meter.under_way(), 5);
        drop(other);
        assert_eq!(meter.under_way(), 0);
    }
}
