//! Which snapshots exist. What a method has returned from is on disk and outlives a power cut.
//!
//! Every method blocks: async code calls them on the blocking pool.

mod database;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use redb::ReadableTable;

use self::database::{CHILDREN, Database, IDS, META, SEQUENCE, SNAPSHOTS};
pub use self::record::{Backing, Kind, Record};
use crate::error::Error;
use crate::filter::Filter;
use crate::layers::{SnapshotId, Usage};

/// Longest key containerd's own store takes.
const KEY_BYTES: usize = 32 * 1024;
/// Far above what clients send; bounds what one snapshot can cost.
const LABEL_BYTES: usize = 1024 * 1024;

pub type Labels = BTreeMap<String, String>;

/// A snapshot and those below it, its parent first.
#[derive(Clone, Debug)]
pub struct Chain {
    pub top: Record,
    pub lowers: Vec<Record>,
}

/// What `commit` turns an active snapshot into.
#[derive(Clone, Debug)]
pub struct Committed<'a> {
    pub name: &'a str,
    /// Only for a snapshot that was prepared without one.
    pub parent: Option<&'a str>,
    /// Replace those of the active snapshot.
    pub labels: Labels,
    pub usage: Usage,
    pub backing: Backing,
}

pub struct Store {
    database: Database,
    next: AtomicU64,
}

impl Store {
    pub fn open(path: &Path) -> Result<Store, Error> {
        let database = Database::open(path)?;
        let last = database.read(|read| {
            let meta = read.open_table(META)?;
            Ok(meta.get(SEQUENCE)?.map_or(0, |last| last.value()))
        })?;
        Ok(Store {
            database,
            next: AtomicU64::new(last.saturating_add(1)),
        })
    }

    /// Keeps new snapshots clear of numbers that are in use outside the store.
    pub fn skip(&self, used: SnapshotId) {
        self.next
            .fetch_max(used.0.saturating_add(1), Ordering::Relaxed);
    }

    /// A number no snapshot has had.
    pub fn reserve(&self) -> SnapshotId {
        SnapshotId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn get(&self, key: &str) -> Result<Record, Error> {
        self.database.read(|read| {
            let snapshots = read.open_table(SNAPSHOTS)?;
            find(&snapshots, key)?.ok_or_else(|| Error::NotFound(key.to_owned()).into())
        })
    }

    pub fn chain(&self, key: &str) -> Result<Chain, Error> {
        self.database.read(|read| {
            let snapshots = read.open_table(SNAPSHOTS)?;
            let top = find(&snapshots, key)?.ok_or_else(|| Error::NotFound(key.to_owned()))?;
            let lowers = lowers(&snapshots, &top)?;
            Ok(Chain { top, lowers })
        })
    }

    /// The committed snapshot `parent` and those below it; empty for no parent.
    pub fn parents(&self, parent: Option<&str>) -> Result<Vec<Record>, Error> {
        let Some(parent) = parent else {
            return Ok(Vec::new());
        };
        self.database.read(|read| {
            let snapshots = read.open_table(SNAPSHOTS)?;
            let first = committed(&snapshots, parent)?;
            let mut chain = lowers(&snapshots, &first)?;
            chain.insert(0, first);
            Ok(chain)
        })
    }

    /// Records an active snapshot or a view whose directory exists already.
    pub fn create(
        &self,
        id: SnapshotId,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Chain, Error> {
        check_key(key)?;
        if kind == Kind::Committed {
            let text = format!("snapshot {key:?} cannot begin as a committed one");
            return Err(Error::Invalid(text));
        }
        let labels = check_labels(labels)?;
        self.database.write(|write| {
            let mut snapshots = write.open_table(SNAPSHOTS)?;
            let parent = parent
                .map(|parent| committed(&snapshots, parent))
                .transpose()?;
            if snapshots.get(key)?.is_some() {
                return Err(Error::Exists(key.to_owned()).into());
            }
            let now = SystemTime::now();
            let top = Record {
                id,
                key: key.to_owned(),
                kind,
                parent: parent.as_ref().map(|parent| parent.key.clone()),
                labels,
                created: now,
                updated: now,
                usage: Usage::default(),
                backing: Backing::Plain,
            };
            insert(&mut snapshots, &top)?;
            write.open_table(IDS)?.insert(id.0, key)?;
            if let Some(parent) = &parent {
                write
                    .open_table(CHILDREN)?
                    .insert((parent.id.0, id.0), ())?;
            }
            let mut meta = write.open_table(META)?;
            let last = meta.get(SEQUENCE)?.map_or(0, |last| last.value());
            meta.insert(SEQUENCE, last.max(id.0))?;
            let lowers = lowers(&snapshots, &top)?;
            Ok(Chain { top, lowers })
        })
    }

    /// Makes an active snapshot permanent under its name; its key becomes free.
    pub fn commit(&self, key: &str, committed: Committed<'_>) -> Result<Record, Error> {
        let Committed {
            name,
            parent,
            labels,
            usage,
            backing,
        } = committed;
        check_key(name)?;
        let labels = check_labels(labels)?;
        self.database.write(|write| {
            let mut snapshots = write.open_table(SNAPSHOTS)?;
            if snapshots.get(name)?.is_some() {
                return Err(Error::Exists(name.to_owned()).into());
            }
            let mut record =
                find(&snapshots, key)?.ok_or_else(|| Error::NotFound(key.to_owned()))?;
            if record.kind != Kind::Active {
                return Err(Error::NotActive(key.to_owned()).into());
            }
            match (&record.parent, parent) {
                (None, Some(parent)) => record.parent = Some(parent.to_owned()),
                (Some(old), Some(other)) if old != other => {
                    return Err(Error::ParentFixed {
                        key: key.to_owned(),
                        parent: old.clone(),
                        other: other.to_owned(),
                    }
                    .into());
                }
                _ => {}
            }
            if let Some(parent) = &record.parent {
                let parent = find(&snapshots, parent)?
                    .ok_or_else(|| Error::ParentNotFound(parent.clone()))?;
                if parent.kind != Kind::Committed {
                    return Err(Error::BaseNotCommitted(parent.key).into());
                }
                write
                    .open_table(CHILDREN)?
                    .insert((parent.id.0, record.id.0), ())?;
            }
            let now = SystemTime::now();
            record.key = name.to_owned();
            record.kind = Kind::Committed;
            record.labels = labels;
            record.created = now;
            record.updated = now;
            record.usage = usage;
            record.backing = backing;
            snapshots.remove(key)?;
            insert(&mut snapshots, &record)?;
            write.open_table(IDS)?.insert(record.id.0, name)?;
            Ok(record)
        })
    }

    /// Forgets a snapshot that has no children.
    pub fn remove(&self, key: &str) -> Result<Record, Error> {
        self.database.write(|write| {
            let mut snapshots = write.open_table(SNAPSHOTS)?;
            let record = find(&snapshots, key)?.ok_or_else(|| Error::NotFound(key.to_owned()))?;
            let mut children = write.open_table(CHILDREN)?;
            let id = record.id.0;
            if children.range((id, 0)..=(id, u64::MAX))?.next().is_some() {
                return Err(Error::HasChildren(key.to_owned()).into());
            }
            if let Some(parent) = &record.parent
                && let Some(parent) = find(&snapshots, parent)?
            {
                children.remove((parent.id.0, id))?;
            }
            write.open_table(IDS)?.remove(id)?;
            snapshots.remove(key)?;
            Ok(record)
        })
    }

    /// Changes labels: those that `paths` name (`labels`, `labels.KEY`), or all without a path.
    /// A named label that `labels` lacks is removed.
    pub fn update(&self, key: &str, labels: &Labels, paths: &[String]) -> Result<Record, Error> {
        self.database.write(|write| {
            let mut snapshots = write.open_table(SNAPSHOTS)?;
            let mut record =
                find(&snapshots, key)?.ok_or_else(|| Error::NotFound(key.to_owned()))?;
            if paths.is_empty() {
                record.labels = labels.clone();
            }
            for path in paths {
                if path == "labels" {
                    record.labels = labels.clone();
                } else if let Some(label) = path.strip_prefix("labels.") {
                    let value = labels.get(label).cloned().unwrap_or_default();
                    record.labels.insert(label.to_owned(), value);
                } else {
                    let (field, key) = (path.clone(), key.to_owned());
                    return Err(Error::Immutable { field, key }.into());
                }
            }
            record.labels = check_labels(std::mem::take(&mut record.labels))?;
            record.updated = SystemTime::now();
            insert(&mut snapshots, &record)?;
            Ok(record)
        })
    }

    /// The snapshots a filter matches, all as of one moment.
    pub fn select(&self, filter: &Filter) -> Result<Vec<Record>, Error> {
        self.database.read(|read| {
            let snapshots = read.open_table(SNAPSHOTS)?;
            let mut selected = Vec::new();
            for row in snapshots.iter()? {
                let (key, value) = row?;
                let record = Record::decode(key.value(), value.value())?;
                if filter.matches(&record) {
                    selected.push(record);
                }
            }
            Ok(selected)
        })
    }

    pub fn ids(&self) -> Result<BTreeSet<SnapshotId>, Error> {
        self.database.read(|read| {
            let ids = read.open_table(IDS)?;
            let mut found = BTreeSet::new();
            for row in ids.iter()? {
                found.insert(SnapshotId(row?.0.value()));
            }
            Ok(found)
        })
    }
}

fn find(
    snapshots: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Record>, database::Failure> {
    let row = snapshots.get(key)?;
    let record = row
        .map(|row| Record::decode(key, row.value()))
        .transpose()?;
    Ok(record)
}

fn committed(
    snapshots: &impl ReadableTable<&'static str, &'static [u8]>,
    parent: &str,
) -> Result<Record, database::Failure> {
    match find(snapshots, parent)? {
        None => Err(Error::ParentNotFound(parent.to_owned()).into()),
        Some(record) if record.kind != Kind::Committed => {
            Err(Error::ParentNotCommitted(parent.to_owned()).into())
        }
        Some(record) => Ok(record),
    }
}

fn lowers(
    snapshots: &impl ReadableTable<&'static str, &'static [u8]>,
    top: &Record,
) -> Result<Vec<Record>, database::Failure> {
    let mut lowers: Vec<Record> = Vec::new();
    let mut next = top.parent.clone();
    while let Some(parent) = next {
        let lower = committed(snapshots, &parent)?;
        // Only a damaged store has a ring; without this check it would fill the memory.
        if lower.id == top.id || lowers.iter().any(|seen| seen.id == lower.id) {
            let reason = "its parents form a ring".to_owned();
            return Err(Error::Damaged {
                key: top.key.clone(),
                reason,
            }
            .into());
        }
        next = lower.parent.clone();
        lowers.push(lower);
    }
    Ok(lowers)
}

fn insert(
    snapshots: &mut redb::Table<'_, &'static str, &'static [u8]>,
    record: &Record,
) -> Result<(), database::Failure> {
    snapshots.insert(record.key.as_str(), record.encode()?.as_slice())?;
    Ok(())
}

fn check_key(key: &str) -> Result<(), Error> {
    let text = match key.len() {
        0 => "a snapshot needs a key".to_owned(),
        1..=KEY_BYTES => return Ok(()),
        length => format!("a snapshot key of {length} bytes is too long; {KEY_BYTES} is the limit"),
    };
    Err(Error::Invalid(text))
}

/// As in containerd's store, an empty value is no label.
fn check_labels(mut labels: Labels) -> Result<Labels, Error> {
    labels.retain(|_, value| !value.is_empty());
    let sizes = labels
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()));
    let bytes = sizes.fold(0, usize::saturating_add);
    if bytes > LABEL_BYTES {
        let text = format!("labels of {bytes} bytes are too much; {LABEL_BYTES} is the limit");
        return Err(Error::Invalid(text));
    }
    Ok(labels)
}
