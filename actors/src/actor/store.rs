//! The Store actor: the embedded database.
//!
//! - Owns: `store.redb` in the state directory; it is the only writer.
//! - Receives: writes and reads of small rows from every other actor.
//! - Publishes: nothing.
//! - A crash loses: writes that were not answered; what was answered is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::Serialize;
use weft_env::{Disk, RandomAccess};
use weft_identity::wire::{self, Kind};
use weft_identity::{Code, Failure};
use weft_ledger::{Row, Table};

use crate::message::store::Message;
use crate::shell::Role;

/// One table for all: a handful of rows, each with its owner's name.
const ROWS: TableDefinition<&str, &[u8]> = TableDefinition::new("rows");
/// The tables of the ledger.
const LEDGER_TABLES: [Table; 4] = [Table::ChangeSets, Table::Documents, Table::JournalEntries, Table::JournalWriters];
/// The cache of the database: every row of a node fits, and an idle node stays small.
const CACHE_BYTES: usize = 1 << 20;
/// Longest row: the last view of 1,000 members of 48 KB each.
const ROW_LEN_MAX: usize = 64 << 20;

/// What the Store is made from.
#[derive(Clone)]
pub(crate) struct Seed {
    pub(crate) disk: Disk,
    pub(crate) path: PathBuf,
}

/// The Store's state.
pub(crate) struct Store(Database);

impl Role for Store {
    type Message = Message;
    type Seed = Seed;

    async fn start(seed: Seed) -> Result<Self, Failure> {
        Self::open(&seed.disk, &seed.path)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Write(key, value, reply) => drop(reply.send(self.write(key, &value).map_err(failed))),
            Message::Append(rows, reply) => drop(reply.send(self.append(&rows).map_err(failed))),
            Message::Rows(reply) => drop(reply.send(self.rows().map_err(failed))),
            Message::Read(key, reply) => drop(reply.send(self.read(key).map_err(failed))),
        }
        Ok(())
    }
}

impl Store {
    /// Opens the database; the actor does, and what runs before it.
    pub(crate) fn open(disk: &Disk, path: &Path) -> Result<Self, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::new(Code::StateBroken, format!("open {}: {error}", path.display()))
        };
        let file = disk.open_file(path).map_err(|error| broken(&error))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder.create_with_backend(Backend(file)).map(Self).map_err(|error| broken(&error))
    }

    /// Writes a row before the actor runs.
    pub(crate) fn keep_row<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Failure> {
        let bytes =
            wire::encode(Kind::State, value).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        self.write(key, &bytes).map_err(failed)
    }

    fn write(&self, key: &str, value: &[u8]) -> Result<(), redb::Error> {
        if value.len() > ROW_LEN_MAX {
            return Err(redb::StorageError::ValueTooLarge(value.len()).into());
        }
        let mut transaction = self.0.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.open_table(ROWS)?.insert(key, value)?;
        transaction.commit()?;
        Ok(())
    }

    fn append(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_two_phase_commit(true);
        for row in rows {
            transaction.open_table(table_of(row.table))?.insert(row.key.as_slice(), row.value.as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn rows(&self) -> Result<Vec<Row>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let mut rows = Vec::new();
        for table in LEDGER_TABLES {
            let open = match transaction.open_table(table_of(table)) {
                Ok(open) => open,
                Err(redb::TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in open.iter()? {
                let (key, value) = entry?;
                rows.push(Row { table, key: key.value().to_vec(), value: value.value().to_vec() });
            }
        }
        Ok(rows)
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        match self.0.begin_read()?.open_table(ROWS) {
            Ok(table) => Ok(table.get(key)?.map(|row| row.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn table_of(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match table {
        Table::ChangeSets => "ledger change sets",
        Table::Documents => "ledger documents",
        Table::JournalEntries => "journal entries",
        Table::JournalWriters => "journal writers",
    })
}

fn failed(error: redb::Error) -> Failure {
    Failure::new(Code::StateBroken, format!("the store in the state directory: {error}"))
}

/// The seam's file as redb takes it.
#[derive(Debug)]
struct Backend(Arc<dyn RandomAccess>);

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write_at(offset, data)
    }
}
