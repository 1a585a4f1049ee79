//! RocksDB behind the [`Table`] seam: the only file that knows the crate.
//!
//! The log is write-ahead logged and synced by [`Table::sync`] alone; a state table has no
//! write-ahead log, because the Raft log replays what a crash takes. Recycled log files stay off
//! (they lose data on crash, facebook/rocksdb#12918), and the manifest tracks the synced log files,
//! so that a missing one is an error at start instead of a silent cut.
//!
//! **Invariant:** nothing is opened for writing before [`Engine::inspect`] and the checks of its
//! callers found it whole: opening alone writes new files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use tokio::sync::oneshot;

use crate::files;

use super::{Batch, Engine, Op, Pending, Role, Row, StoreError, Table};

/// Bytes of block cache that all tables of a node share.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Bytes of a table's memtable before it is flushed; two may exist, so a node with ten groups stays
/// below 400 MiB of write buffers.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// The log's write-ahead files above which RocksDB flushes the oldest memtable.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// What a list of files takes ahead; RocksDB's own 4 MiB for each table are more than the reserve has.
const MANIFEST_AHEAD_BYTES: usize = 64 << 10;
/// Open files per table, so that ten groups stay far below the usual limit of 1,024.
const OPEN_FILES_MAX: i32 = 64;
/// Of each of them RocksDB keeps the index and the filter, in a cache of parts that are chosen by the file's number. With its
/// own 64 parts each had place for one file: two that are read again and again would take it from each other, and be opened
/// each time.
const OPEN_FILES_PART_BITS: i32 = 0;
/// Open files of a checkpoint, which is read once from its first row to its last: RocksDB takes no fewer.
const FROZEN_OPEN_FILES_MAX: i32 = 20;
/// How much larger files are with each level, so that a table of 10 GB has no more of them than may be open.
const FILE_SIZE_FACTOR: i32 = 2;

/// Tables in folders below one directory.
pub struct Rocks {
    dir: PathBuf,
    cache: Cache,
    mark: Mutex<Option<files::Mark>>,
    may_lose_power: bool,
}

/// Name of the file that says how far the log was written.
const MARK: &str = "log.mark";
/// The file that keeps room back, and its size: opening a table writes less than a MiB, beside what the log has not put
/// into sorted files yet.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: u64 = 16 << 20;
/// How the names of write-ahead files end.
const AHEAD: &str = ".log";

impl Rocks {
    /// Uses `dir`, which must exist and be writable.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        Self { dir: dir.into(), cache, mark: Mutex::default(), may_lose_power: false }
    }

    /// Whether logs note how long their files are behind each sync, so that [`Table::lose_unsynced`] can cut
    /// them there. It costs a look into the directory each time, so that nodes outside a lab have none.
    #[must_use]
    pub fn may_lose_power(self, may_lose_power: bool) -> Self {
        Self { may_lose_power, ..self }
    }

    fn options(&self, role: Role) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_table_cache_num_shard_bits(OPEN_FILES_PART_BITS);
        options.set_target_file_size_multiplier(FILE_SIZE_FACTOR);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_recycle_log_file_num(0);
        options.set_keep_log_file_num(2);
        options.set_manifest_preallocation_size(MANIFEST_AHEAD_BYTES);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_paranoid_checks(true);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&blocks);
        if role == Role::Log {
            // A torn last record was never acknowledged and may go; damage before it may not.
            options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
            options.set_max_total_wal_size(WAL_BYTES_MAX);
        }
        options
    }
}

impl Engine for Rocks {
    fn inspect(&self, table: &str, role: Role) -> Result<Option<Arc<dyn Table>>, StoreError> {
        let path = self.dir.join(table);
        if files::is_empty_dir(&path) || is_unmade(&path) {
            return Ok(None);
        }
        let mut options = self.options(role);
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, &path, false);
        let db = db.map_err(|error| open_error(table, &path, error))?;
        Ok(Some(Arc::new(RocksTable { shared: Shared::of(db, path, table, role, None) })))
    }

    fn open(&self, table: &str, role: Role) -> Result<Arc<dyn Table>, StoreError> {
        let path = self.dir.join(table);
        let db = DB::open(&self.options(role), &path);
        let db = db.map_err(|error| open_error(table, &path, error))?;
        remove_checkpoints(&path);
        let notes = self.may_lose_power && role == Role::Log;
        let synced = notes.then(Mutex::default);
        let shared = Shared::of(db, path, table, role, synced);
        shared.note_synced()?;
        Ok(Arc::new(RocksTable { shared }))
    }

    fn discard(&self, table: &str) -> Result<(), StoreError> {
        let path = self.dir.join(table);
        match files::remove_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Write {
                table: table.to_owned(),
                reason: format!("{}: {error}", path.display()),
            }),
            _ => Ok(()),
        }
    }

    fn mark(&self) -> Option<u64> {
        files::read_mark(&self.dir.join(MARK))
    }

    fn set_mark(&self, number: u64) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.is_none() {
            *mark = files::Mark::open(&self.dir.join(MARK)).ok();
        }
        // Without a mark a cut log is noticed only by what refers to the part that is gone.
        if mark.as_mut().is_none_or(|mark| mark.set(number).is_err()) {
            metrics::counter!("fieldmesh_log_mark_failures_total").increment(1);
        }
    }

    fn room(&self) -> Option<u64> {
        files::room(&self.dir).ok()
    }

    fn keep_reserve(&self, is_kept: bool) {
        let path = self.dir.join(RESERVE);
        let done = match is_kept {
            true => files::reserve(&path, RESERVE_BYTES),
            false => files::remove(&path),
        };
        if let Err(error) = done {
            tracing::warn!(%error, path = %path.display(), "the reserve of room is not as it should be");
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the log's writer blocks in fsync: a thread of its own"
    )]
    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()> {
        let thread = std::thread::Builder::new().name("log-writer".into());
        let handle = tokio::runtime::Handle::current();
        let (tell, ended) = oneshot::channel();
        let write = move || {
            // A writer that is gone looks like a disk that never answers: end the process instead.
            let abort = AbortOnUnwind;
            handle.block_on(task);
            std::mem::forget(abort);
            // Whoever stops the node may wait for this, or not.
            let _ = tell.send(());
        };
        if let Err(error) = thread.spawn(write) {
            // Without the writer nothing is ever acknowledged: say why, loudly, and end.
            tracing::error!(%error, "cannot start the log writer");
            std::process::abort();
        }
        ended
    }
}

struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        tracing::error!("the log writer panicked");
        std::process::abort();
    }
}

struct Shared {
    db: DB,
    path: PathBuf,
    name: String,
    role: Role,
    checkpoints: AtomicU64,
    /// Where it is noted: how long each write-ahead file was when the last sync had ended.
    synced: Option<Mutex<BTreeMap<PathBuf, u64>>>,
}

impl Shared {
    fn of(
        db: DB,
        path: PathBuf,
        name: &str,
        role: Role,
        synced: Option<Mutex<BTreeMap<PathBuf, u64>>>,
    ) -> Arc<Self> {
        let (name, checkpoints) = (name.to_owned(), AtomicU64::new(0));
        Arc::new(Self { db, path, name, role, checkpoints, synced })
    }

    fn ahead(&self) -> Result<BTreeMap<PathBuf, u64>, StoreError> {
        files::lengths(&self.path, AHEAD).map_err(|error| write_error(self, &error))
    }

    /// What others than the log's writer write between a sync and this is called synced, too: a disk may have it. It
    /// is looked at under the lock, so that nothing that was called synced is not any more.
    fn note_synced(&self) -> Result<(), StoreError> {
        if let Some(synced) = &self.synced {
            let mut synced = synced.lock().unwrap_or_else(PoisonError::into_inner);
            *synced = self.ahead()?;
        }
        Ok(())
    }

    /// Sorted files are synced before anything refers to them; what is lost is at the ends of write-ahead files, and
    /// all of those that were begun since.
    fn lose_unsynced(&self) -> Result<(), StoreError> {
        let Some(synced) = &self.synced else {
            return Err(write_error(self, &"it is not noted what is synced"));
        };
        let synced = synced.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, bytes) in self.ahead()? {
            let kept = synced.get(&path).copied().unwrap_or(0);
            if kept < bytes {
                files::cut(&path, kept).map_err(|error| write_error(self, &error))?;
            }
        }
        Ok(())
    }
}

/// Whether a process ended while it made this table: there is nothing but what RocksDB writes before it names
/// the first list of files in `CURRENT`, and before that no row. Opening makes the table anew.
fn is_unmade(table: &Path) -> bool {
    let is_before = |name: &str| {
        matches!(name, "LOG" | "LOCK" | "IDENTITY" | "MANIFEST-000001")
            || name.starts_with("LOG.old.")
            || name.ends_with(".dbtmp")
    };
    files::names(table).is_some_and(|names| names.iter().all(|name| is_before(name)))
}

fn open_error(table: &str, path: &Path, error: rocksdb::Error) -> StoreError {
    StoreError::Open {
        table: table.to_owned(),
        place: path.display().to_string(),
        reason: error.into_string(),
    }
}

struct RocksTable {
    shared: Arc<Shared>,
}

impl RocksTable {
    fn read_error(&self, error: &rocksdb::Error) -> StoreError {
        StoreError::Read { table: self.shared.name.clone(), reason: error.to_string() }
    }

    fn rows(
        &self,
        mode: IteratorMode<'_>,
        from: &[u8],
        until: &[u8],
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut range = ReadOptions::default();
        range.set_iterate_lower_bound(from.to_vec());
        range.set_iterate_upper_bound(until.to_vec());
        let (mut rows, mut read) = (Vec::new(), 0);
        for row in self.shared.db.iterator_opt(mode, range).take(limit) {
            let (key, value) = row.map_err(|error| self.read_error(&error))?;
            read += key.len() + value.len();
            rows.push((key.into_vec(), value.into_vec()));
            if read >= bytes {
                break;
            }
        }
        Ok(rows)
    }
}

impl Table for RocksTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.db.get(key).map_err(|error| self.read_error(&error))
    }

    fn page(
        &self,
        from: &[u8],
        until: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(IteratorMode::From(from, Direction::Forward), from, until, rows, bytes)
    }

    fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(IteratorMode::End, from, until, 1, usize::MAX)?.pop())
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut native = WriteBatch::default();
        for op in &batch.ops {
            match op {
                Op::Put(key, value) => native.put(key, value),
                Op::Delete(key) => native.delete(key),
                Op::DeleteRange(from, until) => native.delete_range(from, until),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(self.shared.role == Role::State);
        self.shared
            .db
            .write_opt(native, &options)
            .map_err(|error| write_error(&self.shared, &error))
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let done = match shared.role {
                Role::Log => shared.db.flush_wal(true),
                Role::State => shared.db.flush(),
            };
            done.map_err(|error| write_error(&shared, &error))?;
            shared.note_synced()
        })
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        let number = self.shared.checkpoints.fetch_add(1, Ordering::Relaxed);
        let path = checkpoint_path(&self.shared.path, number);
        let made =
            Checkpoint::new(&self.shared.db).and_then(|point| point.create_checkpoint(&path));
        made.map_err(|error| write_error(&self.shared, &error))?;
        let name = self.shared.name.clone();
        Ok(Arc::new(Frozen { path, name, table: OnceLock::new() }))
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        self.shared.lose_unsynced()
    }
}

fn write_error(shared: &Shared, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Write { table: shared.name.clone(), reason: error.to_string() }
}

fn checkpoint_path(table: &Path, number: u64) -> PathBuf {
    table.with_extension(format!("checkpoint-{number}"))
}

/// Checkpoints are hard links that only the running process can use: those of an earlier one go.
#[expect(clippy::disallowed_methods, reason = "this file is the disk seam")]
fn remove_checkpoints(table: &Path) {
    let (Some(dir), Some(name)) = (table.parent(), table.file_name()) else { return };
    let prefix = format!("{}.checkpoint-", name.to_string_lossy());
    // Some may be gone and later ones not: what was in use at the crash is any of them.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "an old checkpoint stays");
        }
    }
}

/// A checkpoint on disk, opened by the first who reads it: most are never read.
struct Frozen {
    path: PathBuf,
    name: String,
    table: OnceLock<RocksTable>,
}

impl Frozen {
    fn table(&self) -> Result<&RocksTable, StoreError> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let mut options = Options::default();
        options.set_max_open_files(FROZEN_OPEN_FILES_MAX);
        options.set_table_cache_num_shard_bits(OPEN_FILES_PART_BITS);
        let db = DB::open_for_read_only(&options, &self.path, false);
        let db = db.map_err(|error| open_error(&self.name, &self.path, error))?;
        let shared = Shared::of(db, self.path.clone(), &self.name, Role::State, None);
        // Where two were first, one of them closes again what it opened.
        Ok(self.table.get_or_init(|| RocksTable { shared }))
    }

    fn frozen(&self) -> StoreError {
        StoreError::Write { table: self.name.clone(), reason: "a checkpoint is read-only".into() }
    }
}

impl Drop for Frozen {
    #[expect(clippy::disallowed_methods, reason = "this file is the disk seam")]
    fn drop(&mut self) {
        drop(self.table.take());
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a checkpoint stays on disk until the next start");
        }
    }
}

impl Table for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.table()?.get(key)
    }

    fn page(
        &self,
        from: &[u8],
        until: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.table()?.page(from, until, rows, bytes)
    }

    fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Row>, StoreError> {
        self.table()?.last(from, until)
    }

    fn write(&self, _batch: Batch) -> Result<(), StoreError> {
        Err(self.frozen())
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let error = self.frozen();
        Box::pin(async move { Err(error) })
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        Err(self.frozen())
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        Err(self.frozen())
    }
}
