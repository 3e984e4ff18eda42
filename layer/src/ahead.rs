//! Which spans a reader who goes through a file in order will want next. Never waits.

use lru::LruCache;
use parking_lot::Mutex;
use soci::toc::EntryId;
use std::num::NonZeroUsize;
use std::ops::Range;

/// Files that are read at the same time. One that is forgotten starts with a small window again.
const FILES: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// The most spans ahead of a reader, whatever the link can carry; and never fewer than a few, as a first guess.
const MOST: u32 = 64;
const FEW: u32 = 2;
/// Spans fetched ahead that a file's reader may still come to.
const MAX_UNREAD: usize = 128;

pub(crate) struct ReadAhead {
    runs: Mutex<LruCache<EntryId, Run>>,
}

struct Run {
    /// The furthest span of the reader.
    at: u32,
    /// How many spans ahead; none after a jump.
    window: u32,
    unread: Vec<u32>,
}

/// Spans around one read.
pub(crate) struct Place<'a> {
    pub(crate) read: Range<u32>,
    /// They come with it.
    pub(crate) tail: &'a Range<u32>,
    /// Those of the whole file.
    pub(crate) file: &'a Range<u32>,
    /// It begins with the file's first byte.
    pub(crate) from_start: bool,
}

/// What follows from one read.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Ahead {
    /// Ascending.
    pub(crate) fetch: Vec<u32>,
    /// Spans that were fetched ahead and are read now for the first time.
    pub(crate) hits: u64,
}

impl Default for ReadAhead {
    fn default() -> Self {
        ReadAhead {
            runs: Mutex::new(LruCache::new(FILES)),
        }
    }
}

impl ReadAhead {
    /// A read from the file's first byte is the beginning of
    /// a run; one that goes on into the next span continues it, and where that span had been fetched ahead the window doubles,
    /// up to `most` spans.
    pub(crate) fn read(
        &self,
        id: EntryId,
        place: &Place<'_>,
        most: u32,
        missing: impl Fn(u32) -> bool,
    ) -> Ahead {
        let Place {
            read, tail, file, ..
        } = place;
        let Some(last) = read.end.checked_sub(1).filter(|_| !read.is_empty()) else {
            return Ahead::default();
        };
        let mut runs = self.runs.lock();
        let (begins, run) = match runs.get_mut(&id) {
            Some(run) => (false, run),
            None => {
                let run = Run {
                    at: last,
                    window: 0,
                    unread: Vec::new(),
                };
                (place.from_start, runs.get_or_insert_mut(id, || run))
            }
        };
        let before = run.unread.len();
        run.unread.retain(|span| !read.contains(span));
        let hits = before.saturating_sub(run.unread.len());
        run.unread.extend(tail.start..tail.end.min(file.end));
        if begins {
            run.window = 1;
        } else if read.start <= run.at.saturating_add(1) && last > run.at {
            let doubled = if hits > 0 { run.window * 2 } else { 1 };
            run.window = doubled.clamp(1, most.clamp(FEW, MOST));
        } else {
            // The kernel asks for the pieces of one stretch in any order: a span back is no jump.
            if last > run.at || last.saturating_add(1) < run.at {
                run.window = 0;
                run.at = last;
            }
            run.forget();
            let hits = u64::try_from(hits).unwrap_or(0);
            return Ahead {
                fetch: Vec::new(),
                hits,
            };
        }
        run.at = last;
        let end = read.end.saturating_add(run.window).min(file.end);
        let fetch: Vec<u32> = (read.end..end)
            .filter(|span| !run.unread.contains(span) && missing(*span))
            .collect();
        run.unread.extend(&fetch);
        run.forget();
        Ahead {
            fetch,
            hits: u64::try_from(hits).unwrap_or(0),
        }
    }
}

impl Run {
    fn forget(&mut self) {
        let forgotten = self.unread.len().saturating_sub(MAX_UNREAD);
        self.unread.drain(..forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of one span each in a file of ten, of which `resident` is there; the spans fetched by each read.
    fn check(resident: Range<u32>, reads: &[u32], expected: &[&[u32]], hits: u64) {
        let ahead = ReadAhead::default();
        let mut found = Vec::new();
        let mut hit = 0;
        for &span in reads {
            let absent = |span| !resident.contains(&span);
            let place = Place {
                read: span..span + 1,
                tail: &(0..0),
                file: &(0..10),
                from_start: span == 0,
            };
            let next = ahead.read(EntryId(3), &place, 4, absent);
            hit += next.hits;
            found.push(next.fetch);
        }
        assert_eq!(found, expected, "{reads:?}");
        assert_eq!(hit, hits, "{reads:?}");
    }

    #[test]
    fn the_window_doubles_while_the_reader_comes_to_what_was_fetched() {
        check(0..0, &[0, 0, 0], &[&[1], &[], &[]], 0);
        check(
            0..0,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[
                &[1],
                &[2, 3],
                &[4, 5, 6],
                &[7],
                &[8],
                &[9],
                &[],
                &[],
                &[],
                &[],
            ],
            9,
        );
    }

    #[test]
    fn a_jump_fetches_nothing_and_a_new_run_starts_small() {
        check(0..0, &[5, 2, 7, 3], &[&[], &[], &[], &[]], 0);
        check(0..0, &[5, 6, 7], &[&[], &[7], &[8, 9]], 1);
        check(0..0, &[0, 5, 1], &[&[1], &[], &[]], 1);
    }

    #[test]
    fn pieces_in_any_order_are_one_stretch() {
        check(
            0..0,
            &[0, 1, 0, 1, 2],
            &[&[1], &[2, 3], &[], &[], &[4, 5, 6]],
            2,
        );
    }

    #[test]
    fn what_comes_with_a_read_is_not_fetched_again_and_counts_when_it_is_read() {
        let ahead = ReadAhead::default();
        let read = |span: u32, tail: Range<u32>| {
            let place = Place {
                read: span..span + 1,
                tail: &tail,
                file: &(0..10),
                from_start: span == 0,
            };
            let next = ahead.read(EntryId(3), &place, 4, |_| true);
            (next.fetch, next.hits)
        };
        assert_eq!(read(0, 1..3), (vec![], 0));
        assert_eq!(read(1, 0..0), (vec![3], 1));
        assert_eq!(read(2, 0..0), (vec![4, 5, 6], 1));
        // A jump; and what came with it begins a run.
        assert_eq!(read(8, 9..12), (vec![], 0));
        assert_eq!(read(9, 0..0), (vec![], 1));
    }

    #[test]
    fn nothing_is_fetched_that_is_here_or_beyond_the_file() {
        check(0..10, &[0, 1, 2], &[&[], &[], &[]], 0);
        check(0..0, &[8, 9], &[&[], &[]], 0);
        check(1..3, &[0, 1, 2], &[&[], &[], &[3]], 0);
    }
}
