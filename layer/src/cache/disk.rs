//! One layer's tar as a sparse file, and what is in it. Reading it takes no lock.

use super::records::{self, Checksum, Identity};
use bytes::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use soci::spans::{SpanId, SpanTable};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

const ABSENT: u8 = 0;
/// Left by an earlier process: checked against its checksum before its first use.
const UNVERIFIED: u8 = 1;
const RESIDENT: u8 = 2;
/// Being written or evicted.
const BUSY: u8 = 3;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    Absent,
    Unverified,
    Resident,
}

pub(crate) struct Disk {
    data: File,
    records: File,
    table: Arc<SpanTable>,
    spans: Box<[Slot]>,
    resident: AtomicU64,
    /// Counts evictions: each is counted after its span stops being resident and before its bytes go.
    /// A read that saw the span resident after it saw this number, and sees this number again, saw no hole.
    evictions: AtomicU64,
    pub(crate) pinned: bool,
}

struct Slot {
    state: AtomicU8,
    /// The cache's clock at the last use.
    used: AtomicU64,
}

pub(super) fn data_path(dir: &Path) -> PathBuf {
    dir.join("data")
}

pub(super) fn records_path(dir: &Path) -> PathBuf {
    dir.join("spans")
}

pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW);
    options
}

impl Disk {
    /// Takes over what is there if it is about the same bytes, else starts anew. Old files are unlinked, not truncated:
    /// somebody may still read them.
    pub(super) fn open(
        dir: &Path,
        table: &Arc<SpanTable>,
        names: u128,
        now: u64,
        pinned: bool,
    ) -> io::Result<Disk> {
        let identity = Identity {
            spans: table.len(),
            size: table.uncompressed_size(),
            names,
        };
        make_dir(dir)?;
        let (data, records, present) = match Self::reopen(dir, &identity)? {
            Some(files) => files,
            None if pinned => return Err(io::ErrorKind::NotFound.into()),
            None => Self::create(dir, &identity)?,
        };
        let mut resident = 0;
        let mut spans = Vec::with_capacity(present.len());
        for (span, present) in (0..).zip(present) {
            if present {
                resident += length(table, span);
            }
            let state = AtomicU8::new(if present { UNVERIFIED } else { ABSENT });
            spans.push(Slot {
                state,
                used: AtomicU64::new(now),
            });
        }
        Ok(Disk {
            data,
            records,
            table: Arc::clone(table),
            spans: spans.into_boxed_slice(),
            resident: AtomicU64::new(resident),
            evictions: AtomicU64::new(0),
            pinned,
        })
    }

    fn reopen(dir: &Path, identity: &Identity) -> io::Result<Option<(File, File, Vec<bool>)>> {
        let (data, records) = match (
            options().open(data_path(dir)),
            options().open(records_path(dir)),
        ) {
            (Ok(data), Ok(records)) => (data, records),
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error);
            }
            _ => return Ok(None),
        };
        if records::identity(&records)? != Some(*identity)
            || data.metadata()?.len() != identity.size
        {
            return Ok(None);
        }
        let present = records::present(&records, identity.spans)?;
        Ok(present.map(|present| (data, records, present)))
    }

    fn create(dir: &Path, identity: &Identity) -> io::Result<(File, File, Vec<bool>)> {
        for path in [records_path(dir), data_path(dir)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let data = options().create(true).open(data_path(dir))?;
        data.set_len(identity.size)?;
        let records = options().create(true).open(records_path(dir))?;
        records::write_identity(&records, identity)?;
        let spans = usize::try_from(identity.spans).unwrap_or(usize::MAX);
        Ok((data, records, vec![false; spans]))
    }

    /// The records' time tells a later process when the layer was last used.
    pub(super) fn touch(&self) {
        let _ = self.records.set_modified(std::time::SystemTime::now());
    }

    pub(crate) fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    pub(crate) fn presence(&self, span: u32) -> Presence {
        match self.state(span) {
            RESIDENT => Presence::Resident,
            UNVERIFIED => Presence::Unverified,
            _ => Presence::Absent,
        }
    }

    /// Fills `buffer` with the tar from `offset` on, all of it in these spans. False if they are not all resident.
    pub(crate) fn read(
        &self,
        spans: Range<u32>,
        offset: u64,
        buffer: &mut [u8],
        now: u64,
    ) -> io::Result<bool> {
        let evictions = self.evictions.load(Ordering::SeqCst);
        if !spans.clone().all(|span| self.state(span) == RESIDENT) {
            return Ok(false);
        }
        self.data.read_exact_at(buffer, offset)?;
        fence(Ordering::SeqCst);
        if self.evictions.load(Ordering::SeqCst) != evictions {
            return Ok(false);
        }
        for slot in spans.filter_map(|span| self.slot(span)) {
            if slot.used.load(Ordering::Relaxed) != now {
                slot.used.store(now, Ordering::Relaxed);
            }
        }
        Ok(true)
    }

    /// The whole span, checked against its checksum. None: it is not here, or was damaged and is now gone. Blocks.
    pub(crate) fn load(&self, span: u32) -> io::Result<Loaded> {
        let before = self.state(span);
        if before != UNVERIFIED && before != RESIDENT {
            return Ok(Loaded::Absent);
        }
        let Some(range) = self.table.uncompressed(SpanId(span)) else {
            return Ok(Loaded::Absent);
        };
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let read = self.data.read_exact_at(&mut bytes, range.start);
        let expected = records::read(&self.records, span);
        let good = read.is_ok() && matches!(expected, Ok(Some(sum)) if sum == Checksum::of(&bytes));
        if good {
            if before == UNVERIFIED {
                self.change(span, UNVERIFIED, RESIDENT);
            }
            return Ok(Loaded::Here(bytes.into()));
        }
        if before == RESIDENT && self.state(span) != RESIDENT {
            // Evicted while it was read.
            return Ok(Loaded::Absent);
        }
        let freed = self.evict(span);
        read.and(expected.map(|_| Loaded::Damaged { freed }))
    }

    /// Puts a span that was absent. False if another one has. Blocks.
    pub(crate) fn write(&self, span: u32, bytes: &[u8], now: u64) -> io::Result<bool> {
        let Some(range) = self.table.uncompressed(SpanId(span)) else {
            return Ok(false);
        };
        if !self.change(span, ABSENT, BUSY) {
            return Ok(false);
        }
        // The checksum after the bytes, the state after the checksum: whoever finds one finds the other.
        let written = self
            .data
            .write_all_at(bytes, range.start)
            .and_then(|()| records::write(&self.records, span, Checksum::of(bytes)));
        if let Err(error) = written {
            // Best effort: a record without its bytes is noticed by its checksum.
            let _ = records::erase(&self.records, span);
            let _ = self.punch(&range);
            self.change(span, BUSY, ABSENT);
            return Err(error);
        }
        if let Some(slot) = self.slot(span) {
            slot.used.store(now, Ordering::Relaxed);
        }
        self.resident
            .fetch_add(range.end - range.start, Ordering::Relaxed);
        self.change(span, BUSY, RESIDENT);
        Ok(true)
    }

    /// The spans that could go, each with its last use and length.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (u64, u32, u64)> {
        (0..).zip(&self.spans).filter_map(|(span, slot)| {
            let state = slot.state.load(Ordering::Relaxed);
            let here = state == RESIDENT || state == UNVERIFIED;
            (here && !self.pinned).then(|| {
                (
                    slot.used.load(Ordering::Relaxed),
                    span,
                    length(&self.table, span),
                )
            })
        })
    }

    /// Returns the bytes given back. Blocks.
    pub(super) fn evict(&self, span: u32) -> u64 {
        if !self.change(span, RESIDENT, BUSY) && !self.change(span, UNVERIFIED, BUSY) {
            return 0;
        }
        self.evictions.fetch_add(1, Ordering::SeqCst);
        // If either fails, the checksum tells after a restart, and a new write replaces both.
        let _ = records::erase(&self.records, span);
        let range = self.table.uncompressed(SpanId(span)).unwrap_or_default();
        let _ = self.punch(&range);
        let len = range.end - range.start;
        self.resident.fetch_sub(len, Ordering::Relaxed);
        self.change(span, BUSY, ABSENT);
        len
    }

    fn punch(&self, range: &Range<u64>) -> io::Result<()> {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let start = i64::try_from(range.start).map_err(io::Error::other)?;
        let len = i64::try_from(range.end - range.start).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(());
        }
        Ok(fallocate(&self.data, hole, start, len)?)
    }

    fn slot(&self, span: u32) -> Option<&Slot> {
        self.spans.get(usize::try_from(span).ok()?)
    }

    fn state(&self, span: u32) -> u8 {
        self.slot(span)
            .map_or(ABSENT, |slot| slot.state.load(Ordering::SeqCst))
    }

    fn change(&self, span: u32, from: u8, to: u8) -> bool {
        self.slot(span).is_some_and(|slot| {
            slot.state
                .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        })
    }
}

pub(crate) enum Loaded {
    Here(Bytes),
    Absent,
    /// It was here, but not as it had been written.
    Damaged {
        freed: u64,
    },
}

fn length(table: &SpanTable, span: u32) -> u64 {
    table
        .uncompressed(SpanId(span))
        .map_or(0, |range| range.end.saturating_sub(range.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    /// Reading it takes long enough for an eviction in between.
    const LEN: usize = 4 << 20;

    fn open(dir: &Path) -> Disk {
        let table = Arc::new(SpanTable::whole(LEN as u64, LEN as u64));
        Disk::open(dir, &table, 1, 0, false).unwrap()
    }

    #[test]
    fn a_reader_never_sees_the_hole_of_an_eviction() {
        // On tmpfs a hole can open under a read; on ext4 this was never seen to happen.
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::tempdir_in(root).unwrap();
        let disk = open(dir.path());
        let done = AtomicBool::new(false);
        let hits = AtomicU64::new(0);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut buffer, whole) = (vec![0; LEN], vec![7; LEN]);
                while !done.load(Ordering::Relaxed) {
                    if disk.read(0..1, 0, &mut buffer, 0).unwrap() {
                        assert!(buffer == whole, "a hole");
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            for round in 0..300 {
                assert!(disk.write(0, &vec![7; LEN], 0).unwrap());
                // Somewhere in the middle of a read, elsewhere each time.
                thread::sleep(Duration::from_micros(round * 37 % 2000));
                assert_eq!(disk.evict(0), LEN as u64);
                if reader.is_finished() {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(hits.into_inner() > 0);
    }

    #[test]
    fn an_evicted_span_gives_its_blocks_back() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path());
        disk.write(0, &[7; LEN], 0).unwrap();
        disk.data.sync_all().unwrap();
        assert!(disk.data.metadata().unwrap().blocks() > 0);
        disk.evict(0);
        assert_eq!(disk.data.metadata().unwrap().blocks(), 0);
        assert_eq!(disk.resident(), 0);
        drop(disk);
        assert_eq!(open(dir.path()).presence(0), Presence::Absent);
    }
}
