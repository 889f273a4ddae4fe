//! The state that lasts: functions, versions, ENIs with their addresses, roles, failed zones, and the
//! machine's time, in one file.
//!
//! # Theory of operation
//!
//! The file is a redb database: copy-on-write B-trees, of which a commit puts another root in force
//! in one write. Whatever a command changes is one transaction, and it is committed before anybody is
//! told and before the engine does it. So the file is always as the machine was between two inputs,
//! and an answer that was given is in it.
//!
//! **What survives what.** redb has a durability that writes nothing until a later commit and one
//! that waits for the disk, and none between. Here every commit is of the second kind, on a storage
//! that leaves the waiting out ([`StateFile`]) unless `--sync` asks for it: all writes reach the kernel, in their
//! order, before the commit returns, and the kernel keeps them when the process dies. When the
//! machine dies without `--sync`, the file may be damaged, and is then refused. Commits are in two
//! phases and a file is checked whole when it is opened, so that damage is found, not passed over by
//! going back to an older commit.
//!
//! **Format.** A table for each kind of record, each row a key and a record, both as JSON: what is in
//! the file can be read without this program, and a record can get another field that old files lack. One more row
//! tells the number of the format. A number that is not [`FORMAT`], a row that is not understood or a
//! file that is no database is refused with what to do, and nothing is ever emptied: a file that is
//! to be forgotten is put aside.
//!
//! **Birth.** A new file is filled under another name and gets its own when it is whole. From then
//! on it stays the same file and is locked (`flock`) as long as the daemon lives, so that no second
//! daemon writes it.
//!
//! **Failure.** After a failed write redb wants to be opened again, which the next write does. Until
//! one succeeds the machine stands still: what it decided is neither done nor answered, and nothing
//! new is taken (`functions`). Packets are forwarded meanwhile.
//!
//! Writing may wait for the disk, so it is never done on the control side's own thread while the
//! daemon serves, and no packet thread waits for it.

mod batch;
mod file;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle,
};
use serde::de::DeserializeOwned;
use viaduct_control_plane::lifecycle::{EniSet, Function, Records, Role, RoleName, Time};

pub(crate) use self::batch::Batch;
use self::file::StateFile;
use crate::{
    error::Error,
    fail_point::{self, Point},
};

/// The format of the file. Another number for whatever an older program would misunderstand.
const FORMAT: u64 = 1;

/// `format` and `now`, milliseconds of the machine's time.
const ABOUT: Table<u64> = TableDefinition::new("about");
/// By account and name.
const FUNCTIONS: Table<&str> = TableDefinition::new("functions");
/// By account, subnet and groups.
const SETS: Table<&str> = TableDefinition::new("eni_sets");
/// By name.
const ROLES: Table<&str> = TableDefinition::new("roles");
/// By name.
const FAILED_ZONES: Table<()> = TableDefinition::new("failed_zones");

type Table<Value> = TableDefinition<'static, &'static str, Value>;

/// Bytes of the file that redb remembers. All of it is read once, at the start.
const CACHE: usize = 1 << 20;

/// The state file, open and this daemon's alone.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: StateFile,
    /// None after a write that failed.
    database: Mutex<Option<Database>>,
}

impl Store {
    /// Opens the file and reads what it remembers. None if there is no file.
    pub(crate) fn open(path: &Path, sync: bool) -> Result<Option<(Self, Records)>, Error> {
        let Some(file) = StateFile::open(path, sync)? else { return Ok(None) };
        let damaged = |what: String| Error::StateDamaged { path: path.to_owned(), what };
        if file.length().map_err(failed("read", path))? == 0 {
            return Err(damaged("it is empty".to_owned()));
        }
        let database = database(&file).map_err(|error| damaged(error.to_string()))?;
        let records = match read(&database) {
            Ok(records) => records,
            Err(Unreadable::Format(found)) => {
                return Err(Error::StateFormat { path: path.to_owned(), found, known: FORMAT });
            }
            Err(Unreadable::Database(error)) => return Err(damaged(error.to_string())),
            Err(Unreadable::Row(what)) => return Err(damaged(what)),
        };
        let store = Self { path: path.to_owned(), file, database: Mutex::new(Some(database)) };
        Ok(Some((store, records)))
    }

    /// Makes a file that remembers this, where there is none.
    pub(crate) fn create(path: &Path, sync: bool, batch: &Batch) -> Result<Self, Error> {
        let unnamed = beside(path, ".new");
        let file = StateFile::create(&unnamed, sync)?;
        let database = database(&file).map_err(|error| unwritten(&unnamed, error))?;
        commit(&database, batch).map_err(|error| unwritten(&unnamed, error))?;
        fail_point::pass(Point::Filled);
        file::name(&unnamed, path)?;
        file.sync_name(path)?;
        Ok(Self { path: path.to_owned(), file, database: Mutex::new(Some(database)) })
    }

    /// Puts a file aside, if there is one and no daemon uses it. Returns what it is called now.
    pub(crate) fn forget(path: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(_locked) = StateFile::open(path, false)? else { return Ok(None) };
        let aside = (1..).map(|number| beside(path, &format!(".forgotten-{number}")));
        let aside = aside.into_iter().find(|aside| !aside.exists());
        let aside = aside.expect("numbers do not end");
        fs::rename(path, &aside).map_err(failed("put aside", path))?;
        Ok(Some(aside))
    }

    /// Writes all of a batch, or nothing. It may wait for the disk.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), Error> {
        let mut open = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match open.take() {
            Some(database) => Ok(database),
            None => database(&self.file),
        }
        .and_then(|database| {
            commit(&database, batch)?;
            Ok(database)
        });
        *open = Some(written.map_err(|error| unwritten(&self.path, error))?);
        fail_point::pass(Point::Committed);
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Has writes fail from now on, or succeed again.
    pub(crate) fn fill_disk(&self, full: bool) {
        self.file.full.store(full, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Opens the database in a file; an empty file becomes an empty one.
fn database(file: &StateFile) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(file.clone())?)
}

fn commit(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    for (table, rows) in [(FUNCTIONS, &batch.functions), (SETS, &batch.sets), (ROLES, &batch.roles)]
    {
        if rows.is_empty() {
            continue;
        }
        let mut table = transaction.open_table(table)?;
        for (key, record) in rows {
            match record {
                Some(record) => table.insert(key.as_str(), record.as_str())?,
                None => table.remove(key.as_str())?,
            };
        }
    }
    if let Some(failed) = &batch.failed_zones {
        transaction.delete_table(FAILED_ZONES)?;
        let mut zones = transaction.open_table(FAILED_ZONES)?;
        for zone in failed {
            zones.insert(zone.as_str(), ())?;
        }
    }
    let mut about = transaction.open_table(ABOUT)?;
    about.insert("format", FORMAT)?;
    about.insert("now", batch.now.as_millis())?;
    drop(about);
    transaction.commit()?;
    Ok(())
}

/// Why a database is none of ours.
enum Unreadable {
    Database(redb::Error),
    Format(u64),
    Row(String),
}

impl<E: Into<redb::Error>> From<E> for Unreadable {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

fn read(database: &Database) -> Result<Records, Unreadable> {
    let transaction = database.begin_read()?;
    let about = transaction.open_table(ABOUT)?;
    let number = |name: &str| match about.get(name)? {
        Some(number) => Ok(number.value()),
        None => Err(Unreadable::Row(format!("the row `{name}` of table `about` is missing"))),
    };
    let format = number("format")?;
    if format != FORMAT {
        return Err(Unreadable::Format(format));
    }
    let mut failed_zones = BTreeSet::new();
    match transaction.open_table(FAILED_ZONES) {
        Ok(table) => {
            for row in table.iter()? {
                failed_zones.insert(row?.0.value().to_owned());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Records {
        functions: rows(&transaction, FUNCTIONS, |it: &Function| batch::key(&it.name))?,
        sets: rows(&transaction, SETS, |it: &EniSet| batch::key(&it.key))?,
        roles: rows(&transaction, ROLES, |(name, _): &(RoleName, Role)| batch::key(name))?
            .into_iter()
            .collect(),
        failed_zones,
        now: Time::from_millis(number("now")?),
    })
}

/// All records of a table, each under the key that it must have.
fn rows<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    definition: Table<&str>,
    key: impl Fn(&T) -> String,
) -> Result<Vec<T>, Unreadable> {
    let table = match transaction.open_table(definition) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let name = definition.name();
    let mut records = Vec::new();
    for row in table.iter()? {
        let (found, text) = row?;
        let (found, text) = (found.value(), text.value());
        let record: T = serde_json::from_str(text)
            .map_err(|error| Unreadable::Row(format!("{found} of table `{name}`: {error}")))?;
        if key(&record) != found {
            let what = format!("{found} of table `{name}` has the record of {}", key(&record));
            return Err(Unreadable::Row(what));
        }
        records.push(record);
    }
    Ok(records)
}

/// The path with something more at its end.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn unwritten(path: &Path, source: redb::Error) -> Error {
    Error::StateUnwritten { path: path.to_owned(), source: Box::new(source) }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
