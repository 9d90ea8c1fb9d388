//! The engines behind one small interface. All keep an index table (revision to key) and a value table.

use std::path::Path;

use anyhow::{Result, bail};

pub const NAMES: &[&str] = &[
    "log",
    #[cfg(feature = "heed")]
    "heed",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "fjall")]
    "fjall",
];

pub type Record = (u64, Vec<u8>, Vec<u8>);

pub trait Engine {
    /// Durable when it returns.
    fn write(&mut self, records: &[Record]) -> Result<()>;
    fn read(&self, revision: u64) -> Result<Vec<u8>>;
    /// Reads every index record; how many there are.
    fn index(&self) -> Result<usize>;
}

pub fn open(name: &str, dir: &Path) -> Result<Box<dyn Engine>> {
    Ok(match name {
        "log" => Box::new(log::Log::open(dir)?),
        #[cfg(feature = "heed")]
        "heed" => Box::new(lmdb::Lmdb::open(dir)?),
        #[cfg(feature = "redb")]
        "redb" => Box::new(btree::Redb::open(dir)?),
        #[cfg(feature = "fjall")]
        "fjall" => Box::new(lsm::Fjall::open(dir)?),
        _ => bail!("no engine {name}"),
    })
}

/// The baseline: a log of our own and an index in memory. What any engine costs above this is the price of not
/// having to write space reclamation, checksums and repair ourselves.
mod log {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    pub struct Log {
        file: File,
        end: u64,
        /// Offset and length of each value, by revision - 1.
        places: Vec<(u64, u32)>,
    }

    impl Log {
        pub fn open(dir: &Path) -> Result<Log> {
            let file = File::options()
                .create(true)
                .read(true)
                .append(true)
                .open(dir.join("log"))?;
            let (mut places, mut end, size) = (Vec::new(), 0, file.metadata()?.len());
            let mut header = [0; 16];
            while end < size {
                file.read_exact_at(&mut header, end)?;
                let key = u32::from_le_bytes(header[8..12].try_into()?);
                let value = u32::from_le_bytes(header[12..].try_into()?);
                let mut name = vec![0; key as usize];
                file.read_exact_at(&mut name, end + 16)?;
                places.push((end + 16 + u64::from(key), value));
                end += 16 + u64::from(key) + u64::from(value);
            }
            Ok(Log { file, end, places })
        }
    }

    impl Engine for Log {
        fn write(&mut self, records: &[Record]) -> Result<()> {
            let mut buffer = Vec::new();
            for (revision, key, value) in records {
                buffer.extend(revision.to_le_bytes());
                buffer.extend((key.len() as u32).to_le_bytes());
                buffer.extend((value.len() as u32).to_le_bytes());
                buffer.extend(key);
                self.places
                    .push((self.end + buffer.len() as u64, value.len() as u32));
                buffer.extend(value);
            }
            self.file.write_all(&buffer)?;
            self.end += buffer.len() as u64;
            Ok(self.file.sync_data()?)
        }

        fn read(&self, revision: u64) -> Result<Vec<u8>> {
            let (offset, length) = self.places[revision as usize - 1];
            let mut value = vec![0; length as usize];
            self.file.read_exact_at(&mut value, offset)?;
            Ok(value)
        }

        fn index(&self) -> Result<usize> {
            Ok(self.places.len())
        }
    }
}

#[cfg(feature = "heed")]
mod lmdb {
    use super::*;
    use heed::types::{Bytes, U64};
    use heed::{
        CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, WithoutTls, byteorder::BE,
    };

    type Table = Database<'static, U64<BE>, Bytes>;

    pub struct Lmdb {
        env: Env<WithoutTls>,
        index: Table,
        values: Table,
    }

    impl Lmdb {
        pub fn open(dir: &Path) -> Result<Lmdb> {
            let mut options = EnvOpenOptions::new().read_txn_without_tls();
            options.map_size(64 << 30).max_dbs(2);
            // SAFETY: the benchmark's own fresh directory, one process at a time.
            let env = unsafe { options.flags(EnvFlags::NO_READ_AHEAD).open(dir)? };
            let txn = env.write_txn()?;
            let created = env.create_databases_and_commit(txn, |opener, txn| {
                let index = opener.create_database(txn, Some("index"))?;
                let values = opener.create_database(txn, Some("values"))?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((index, values)))
            })?;
            let Some((index, values)) = created.commit() else {
                bail!("no tables")
            };
            Ok(Lmdb { env, index, values })
        }
    }

    impl Engine for Lmdb {
        fn write(&mut self, records: &[Record]) -> Result<()> {
            let mut txn = self.env.write_txn()?;
            for (revision, key, value) in records {
                self.index
                    .put_with_flags(&mut txn, PutFlags::APPEND, revision, key)?;
                self.values
                    .put_with_flags(&mut txn, PutFlags::APPEND, revision, value)?;
            }
            Ok(txn.commit()?)
        }

        fn read(&self, revision: u64) -> Result<Vec<u8>> {
            let txn = self.env.read_txn()?;
            Ok(self
                .values
                .get(&txn, &revision)?
                .unwrap_or_default()
                .to_vec())
        }

        fn index(&self) -> Result<usize> {
            let txn = self.env.read_txn()?;
            Ok(self.index.iter(&txn)?.filter_map(Result::ok).count())
        }
    }
}

#[cfg(feature = "redb")]
mod btree {
    use super::*;
    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

    const INDEX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("index");
    const VALUES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");

    pub struct Redb(Database);

    impl Redb {
        pub fn open(dir: &Path) -> Result<Redb> {
            let database = Database::builder()
                .set_cache_size(16 << 20)
                .create(dir.join("redb"))?;
            Ok(Redb(database))
        }
    }

    impl Engine for Redb {
        fn write(&mut self, records: &[Record]) -> Result<()> {
            let txn = self.0.begin_write()?;
            {
                let (mut index, mut values) = (txn.open_table(INDEX)?, txn.open_table(VALUES)?);
                for (revision, key, value) in records {
                    index.insert(revision, key.as_slice())?;
                    values.insert(revision, value.as_slice())?;
                }
            }
            Ok(txn.commit()?)
        }

        fn read(&self, revision: u64) -> Result<Vec<u8>> {
            let table = self.0.begin_read()?.open_table(VALUES)?;
            Ok(table
                .get(revision)?
                .map(|v| v.value().to_vec())
                .unwrap_or_default())
        }

        fn index(&self) -> Result<usize> {
            Ok(self
                .0
                .begin_read()?
                .open_table(INDEX)?
                .iter()?
                .filter_map(Result::ok)
                .count())
        }
    }
}

#[cfg(feature = "fjall")]
mod lsm {
    use super::*;
    use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

    pub struct Fjall {
        database: Database,
        index: Keyspace,
        values: Keyspace,
    }

    impl Fjall {
        pub fn open(dir: &Path) -> Result<Fjall> {
            let database = Database::builder(dir).cache_size(16 << 20).open()?;
            // 8 MiB in memory a table: the default of 64 MiB alone is above the budget of the whole control plane.
            let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
            let (index, values) = (
                database.keyspace("index", options)?,
                database.keyspace("values", options)?,
            );
            Ok(Fjall {
                database,
                index,
                values,
            })
        }
    }

    impl Engine for Fjall {
        fn write(&mut self, records: &[Record]) -> Result<()> {
            let mut batch = self
                .database
                .batch()
                .durability(Some(PersistMode::SyncData));
            for (revision, key, value) in records {
                batch.insert(&self.index, revision.to_be_bytes(), key.as_slice());
                batch.insert(&self.values, revision.to_be_bytes(), value.as_slice());
            }
            Ok(batch.commit()?)
        }

        fn read(&self, revision: u64) -> Result<Vec<u8>> {
            Ok(self
                .values
                .get(revision.to_be_bytes())?
                .map(|v| v.to_vec())
                .unwrap_or_default())
        }

        fn index(&self) -> Result<usize> {
            Ok(self
                .index
                .iter()
                .filter_map(|g| g.into_inner().ok())
                .count())
        }
    }
}
