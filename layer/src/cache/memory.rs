//! A bounded pool of inflated spans: those on their way to the disk, or all there are where there is no disk.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

/// A store's number and a span of it.
pub(crate) type SpanKey = (u64, u32);

pub(crate) struct Memory {
    budget: u64,
    pool: Mutex<Pool>,
}

struct Pool {
    spans: LruCache<SpanKey, Bytes>,
    bytes: u64,
}

impl Memory {
    pub(crate) fn new(budget: u64) -> Memory {
        Memory {
            budget,
            pool: Mutex::new(Pool {
                spans: LruCache::unbounded(),
                bytes: 0,
            }),
        }
    }

    pub(crate) fn usage(&self) -> u64 {
        self.pool.lock().bytes
    }

    pub(crate) fn get(&self, key: SpanKey) -> Option<Bytes> {
        self.pool.lock().spans.get(&key).cloned()
    }

    pub(crate) fn contains(&self, key: SpanKey) -> bool {
        self.pool.lock().spans.contains(&key)
    }

    pub(crate) fn insert(&self, key: SpanKey, span: Bytes) {
        let len = length(&span);
        if len > self.budget {
            return;
        }
        // Freed after the lock.
        let mut out = Vec::new();
        let mut pool = self.pool.lock();
        pool.bytes += len;
        out.extend(pool.spans.put(key, span));
        pool.bytes -= out.iter().map(length).sum::<u64>();
        while pool.bytes > self.budget {
            let Some((_, oldest)) = pool.spans.pop_lru() else {
                break;
            };
            pool.bytes -= length(&oldest);
            out.push(oldest);
        }
        drop(pool);
    }

    pub(crate) fn remove(&self, key: SpanKey) {
        let mut pool = self.pool.lock();
        if let Some(span) = pool.spans.pop(&key) {
            pool.bytes -= length(&span);
        }
    }

    pub(crate) fn remove_store(&self, store: u64) {
        let mut pool = self.pool.lock();
        let keys: Vec<SpanKey> = pool
            .spans
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| key.0 == store)
            .collect();
        for key in keys {
            if let Some(span) = pool.spans.pop(&key) {
                pool.bytes -= length(&span);
            }
        }
    }
}

fn length(span: &Bytes) -> u64 {
    u64::try_from(span.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memory: &Memory, present: &[u32], bytes: u64) {
        for span in 0..10 {
            assert_eq!(
                memory.contains((1, span)),
                present.contains(&span),
                "span {span}"
            );
        }
        assert_eq!(memory.usage(), bytes);
    }

    #[test]
    fn the_budget_holds_and_the_oldest_goes() {
        let memory = Memory::new(100);
        for span in 0..3 {
            memory.insert((1, span), Bytes::from(vec![0; 40]));
        }
        check(&memory, &[1, 2], 80);
        memory.get((1, 1));
        memory.insert((1, 3), Bytes::from(vec![0; 40]));
        check(&memory, &[1, 3], 80);
        memory.insert((1, 3), Bytes::from(vec![0; 10]));
        check(&memory, &[1, 3], 50);
        memory.insert((1, 4), Bytes::from(vec![0; 101]));
        check(&memory, &[1, 3], 50);
        memory.remove_store(1);
        check(&memory, &[], 0);
    }
}
