//! Files: the machine's, or a disk in memory that can lose what was not synced. Called by the store and by the state directory.

mod machine;
mod memory;

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use memory::MemoryDisk;

/// A file that is read and written in place.
pub trait RandomAccess: Send + Sync + Debug {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Cuts it, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills all of `bytes` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; extends the file where it must.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written survives a crash.
    fn sync(&self) -> io::Result<()>;
}

/// The disk of one node. Cheap to clone. All methods block; a node's files are small.
#[derive(Debug, Clone)]
pub struct Disk {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Machine,
    Memory(MemoryDisk),
}

impl Disk {
    /// The machine's file system.
    pub fn machine() -> Self {
        Self { kind: Kind::Machine }
    }

    /// An empty disk in memory.
    pub fn memory() -> Self {
        MemoryDisk::new().into()
    }

    /// A whole file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.kind {
            Kind::Machine => machine::read(path),
            Kind::Memory(disk) => disk.read(path),
        }
    }

    /// Replaces a file as a whole, readable by its owner only (0600): after a crash there is the old content or the new,
    /// and once this returns, the new.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match &self.kind {
            Kind::Machine => machine::write(path, bytes),
            Kind::Memory(disk) => disk.write(path, bytes),
        }
    }

    /// Makes a directory, and its parents where they are missing, entered by its owner only (0700). One that exists stays.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        match &self.kind {
            Kind::Machine => machine::create_dir(path),
            Kind::Memory(disk) => disk.create_dir(path),
        }
    }

    /// Whether a file or directory is there.
    pub fn exists(&self, path: &Path) -> bool {
        match &self.kind {
            Kind::Machine => path.exists(),
            Kind::Memory(disk) => disk.exists(path),
        }
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match &self.kind {
            Kind::Machine => machine::remove(path),
            Kind::Memory(disk) => disk.remove(path),
        }
    }

    /// The paths of what lies in a directory, sorted.
    pub fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        match &self.kind {
            Kind::Machine => machine::list(path),
            Kind::Memory(disk) => disk.list(path),
        }
    }

    /// Moves a file over another, at once and durably.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.kind {
            Kind::Machine => machine::rename(from, to),
            Kind::Memory(disk) => disk.rename(from, to),
        }
    }

    /// Takes a file as a lock that nobody else holds; makes it if it is missing. It is free again once the lock is dropped or its
    /// process ends, however that ends.
    ///
    /// # Errors
    /// `WouldBlock` if somebody holds it.
    pub fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let kind = match &self.kind {
            Kind::Machine => LockKind::Machine { _file: machine::lock(path)? },
            Kind::Memory(disk) => LockKind::Memory { _held: disk.lock(path)? },
        };
        Ok(DiskLock { _kind: kind })
    }

    /// Opens a file for reading and writing in place; makes it (0600) if it is missing.
    pub fn open_file(&self, path: &Path) -> io::Result<Arc<dyn RandomAccess>> {
        match &self.kind {
            Kind::Machine => machine::open_file(path),
            Kind::Memory(disk) => disk.open_file(path),
        }
    }
}

/// A lock on a path, held until it is dropped.
#[derive(Debug)]
pub struct DiskLock {
    _kind: LockKind,
}

#[derive(Debug)]
enum LockKind {
    Machine { _file: File },
    Memory { _held: Arc<()> },
}

impl From<MemoryDisk> for Disk {
    fn from(disk: MemoryDisk) -> Self {
        Self { kind: Kind::Memory(disk) }
    }
}

#[cfg(test)]
mod tests;
