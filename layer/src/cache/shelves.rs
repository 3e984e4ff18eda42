//! Which layers' files exist, which of them are in use, and how much they hold together.

use super::key::Key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// `S` is a layer's files while they are in use; it knows its shelf, the shelf knows nothing of it.
pub(crate) struct Shelves<S> {
    used: AtomicU64,
    state: Mutex<State<S>>,
}

struct State<S> {
    open: HashMap<Key, Weak<S>>,
    closed: HashMap<Key, Closed>,
}

struct Closed {
    bytes: u64,
    since: SystemTime,
}

impl<S> Default for Shelves<S> {
    fn default() -> Self {
        let state = State {
            open: HashMap::new(),
            closed: HashMap::new(),
        };
        Shelves {
            used: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }
}

impl<S> Shelves<S> {
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: u64) {
        // Never below zero: an estimate of an earlier process may have been low.
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(bytes))
            });
    }

    pub(super) fn find(&self, key: &Key) -> Option<Arc<S>> {
        self.state.lock().open.get(key).and_then(Weak::upgrade)
    }

    /// The store that others see: this one, unless somebody was faster.
    pub(super) fn open(&self, key: &Key, resident: u64, store: S) -> Arc<S> {
        let mut state = self.state.lock();
        if let Some(other) = state.open.get(key).and_then(Weak::upgrade) {
            drop(state);
            // Its drop would subtract what was never added.
            self.add(resident);
            return other;
        }
        if let Some(closed) = state.closed.remove(key) {
            self.subtract(closed.bytes);
        }
        self.add(resident);
        let store = Arc::new(store);
        state.open.insert(key.clone(), Arc::downgrade(&store));
        store
    }

    /// The last user of a store is gone. Its bytes stay, unless its files were removed or opened anew meanwhile.
    pub(super) fn close(&self, key: &Key, bytes: u64) {
        let mut state = self.state.lock();
        if state
            .open
            .get(key)
            .is_some_and(|store| store.strong_count() == 0)
        {
            state.open.remove(key);
            state.closed.insert(
                key.clone(),
                Closed {
                    bytes,
                    since: SystemTime::now(),
                },
            );
        } else {
            self.subtract(bytes);
        }
    }

    /// Files that an earlier process or a local pull left.
    pub(super) fn put(&self, key: Key, bytes: u64, since: SystemTime) {
        let mut state = self.state.lock();
        self.add(bytes);
        // Files still open under this name have been replaced.
        state.open.remove(&key);
        if let Some(before) = state.closed.insert(key, Closed { bytes, since }) {
            self.subtract(before.bytes);
        }
    }

    /// Forgets the key; what is open stays readable. Its directory is the caller's to remove.
    pub(super) fn take(&self, key: &Key) {
        let mut state = self.state.lock();
        state.open.remove(key);
        if let Some(closed) = state.closed.remove(key) {
            self.subtract(closed.bytes);
        }
    }

    /// Forgets the layer that nobody has used for longest. Also returns its bytes.
    pub(super) fn take_oldest(&self) -> Option<(Key, u64)> {
        let mut state = self.state.lock();
        let oldest = state.closed.iter().filter(|(key, _)| !key.is_local());
        let key = oldest
            .min_by_key(|(_, closed)| closed.since)
            .map(|(key, _)| key.clone())?;
        let closed = state.closed.remove(&key)?;
        self.subtract(closed.bytes);
        Some((key, closed.bytes))
    }

    pub(super) fn in_use(&self) -> Vec<Arc<S>> {
        self.state
            .lock()
            .open
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}
