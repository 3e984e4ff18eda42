//! Reads that have just failed because their deadline passed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use layer::Inode;
use parking_lot::Mutex;

use crate::request::Window;

/// A page that readahead could not bring is at once asked for again, by the reader itself. That request
/// must not wait another deadline.
const AT_ONCE: Duration = Duration::from_millis(100);

/// As many as there can be readahead requests under way.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Overdue {
    reads: Mutex<VecDeque<Past>>,
}

#[derive(Debug)]
struct Past {
    at: Instant,
    inode: Inode,
    window: Window,
}

impl Overdue {
    pub(crate) fn record(&self, inode: Inode, window: Window) {
        let mut reads = self.reads.lock();
        if reads.len() >= MOST {
            reads.pop_front();
        }
        reads.push_back(Past {
            at: Instant::now(),
            inode,
            window,
        });
    }

    /// Whether this read repeats, at once, a part of one that failed.
    pub(crate) fn repeats(&self, inode: Inode, window: Window) -> bool {
        let mut reads = self.reads.lock();
        while reads
            .front()
            .is_some_and(|past| past.at.elapsed() > AT_ONCE)
        {
            reads.pop_front();
        }
        reads
            .iter()
            .any(|past| past.inode == inode && past.window.contains(window))
    }
}

impl Window {
    fn contains(self, other: Window) -> bool {
        let end = |window: Window| window.offset.saturating_add(u64::from(window.size));
        self.offset <= other.offset && end(other) <= end(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_what_failed_fails_at_once() {
        let overdue = Overdue::default();
        overdue.record(
            Inode(2),
            Window {
                offset: 4096,
                size: 8192,
            },
        );
        for (inode, offset, size, expect) in [
            (2, 4096, 4096, true),
            (2, 8192, 4096, true),
            (2, 0, 4096, false),
            (2, 8192, 8192, false),
            (3, 4096, 4096, false),
            (2, u64::MAX, u32::MAX, false),
        ] {
            let window = Window { offset, size };
            assert_eq!(
                overdue.repeats(Inode(inode), window),
                expect,
                "{inode} {window:?}"
            );
        }
        std::thread::sleep(AT_ONCE + Duration::from_millis(20));
        assert!(!overdue.repeats(
            Inode(2),
            Window {
                offset: 4096,
                size: 4096
            }
        ));
    }
}
