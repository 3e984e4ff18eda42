//! The redb file: its tables, its schema version, and reopening after an I/O error.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{
    Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::error::Error;

/// Records by key, as JSON.
pub(super) const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
/// Keys by number.
pub(super) const IDS: TableDefinition<'_, u64, &str> = TableDefinition::new("ids");
/// (number of the parent, number of the child).
pub(super) const CHILDREN: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("children");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// In `META`: the highest number ever used.
pub(super) const SEQUENCE: &str = "sequence";
/// In `META`: the version of this layout.
const SCHEMA: &str = "schema";
const VERSION: u64 = 1;

const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Why a transaction was given up: the request was wrong, or the database is in trouble.
pub(super) enum Failure {
    Refused(Error),
    Trouble(Box<redb::Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

macro_rules! trouble {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::Trouble(Box::new(error.into()))
            }
        }
    )*};
}
trouble!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

pub(super) struct Database {
    path: PathBuf,
    /// `None` after an I/O error: redb then wants to be opened anew.
    open: Mutex<Option<Arc<redb::Database>>>,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Database, Error> {
        let database = Database {
            path: path.to_owned(),
            open: Mutex::new(None),
        };
        database.handle()?;
        Ok(database)
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let database = self.handle()?;
        let result = database.begin_read().map_err(Failure::from);
        self.finish(&database, result.and_then(|read| work(&read)))
    }

    /// Returns after the change is durable, or was not made.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let database = self.handle()?;
        let result = database.begin_write().map_err(Failure::from);
        let result = result.and_then(|mut write| {
            write.set_durability(Durability::Immediate)?;
            let value = work(&write)?;
            write.commit()?;
            Ok(value)
        });
        self.finish(&database, result)
    }

    fn finish<T>(
        &self,
        used: &Arc<redb::Database>,
        result: Result<T, Failure>,
    ) -> Result<T, Error> {
        result.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Trouble(source) => {
                let mut open = self.open.lock();
                if open
                    .as_ref()
                    .is_some_and(|current| Arc::ptr_eq(current, used))
                {
                    *open = None;
                }
                self.trouble(*source)
            }
        })
    }

    fn handle(&self) -> Result<Arc<redb::Database>, Error> {
        let mut open = self.open.lock();
        if let Some(database) = open.as_ref() {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(self.open_file()?);
        *open = Some(Arc::clone(&database));
        Ok(database)
    }

    fn open_file(&self) -> Result<redb::Database, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(Error::io("open", &self.path))?;
        let database = FileBackend::new(file)
            .and_then(|file| {
                let mut builder = redb::Database::builder();
                builder
                    .set_cache_size(CACHE_BYTES)
                    .create_with_backend(file)
            })
            .map_err(|error| self.trouble(error.into()))?;
        match prepare(&database) {
            Ok(VERSION) => {}
            Ok(found) => {
                return Err(Error::Schema {
                    path: self.path.clone(),
                    found,
                    known: VERSION,
                });
            }
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Trouble(source)) => return Err(self.trouble(*source)),
        }
        // The file's name must survive a power cut as well as its content.
        if let Some(parent) = self.path.parent() {
            File::open(parent)
                .and_then(|directory| directory.sync_all())
                .map_err(Error::io("sync", parent))?;
        }
        Ok(database)
    }

    fn trouble(&self, source: redb::Error) -> Error {
        Error::Database {
            path: self.path.clone(),
            source: Box::new(source),
        }
    }
}

/// Makes the tables of a new file; tells the schema version of an old one and leaves it alone.
fn prepare(database: &redb::Database) -> Result<u64, Failure> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    let found = {
        let mut meta = write.open_table(META)?;
        let found = meta.get(SCHEMA)?.map(|version| version.value());
        if found.is_none() {
            meta.insert(SCHEMA, VERSION)?;
        }
        found
    };
    if let Some(found) = found {
        write.abort()?;
        return Ok(found);
    }
    write.open_table(SNAPSHOTS)?;
    write.open_table(IDS)?;
    write.open_table(CHILDREN)?;
    write.commit()?;
    Ok(VERSION)
}
