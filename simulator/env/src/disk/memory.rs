//! A disk in memory that can lose what was not synced, as a machine does when its power fails. Used by tests and the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::RandomAccess;

/// The whole of one simulated disk may not pass this, so that a runaway test ends with an error instead of the machine's memory.
const DISK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, Weak<()>>,
}

#[derive(Debug, Default, Clone)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine lost its power: writes in place that were not synced are gone. Files open before are handles to the past.
    pub fn crash(&self) {
        let mut state = locked(&self.state);
        for content in state.files.values_mut() {
            let synced = locked(content).synced.clone();
            *content = Arc::new(Mutex::new(Content { live: synced.clone(), synced }));
        }
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.file(path)?;
        let live = locked(&content).live.clone();
        Ok(live)
    }

    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        within_limit(bytes.len() as u64)?;
        let mut state = locked(&self.state);
        state.need_parent(path)?;
        let content = Content { live: bytes.to_vec(), synced: bytes.to_vec() };
        state.files.insert(path.to_owned(), Arc::new(Mutex::new(content)));
        Ok(())
    }

    pub(super) fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        if path.ancestors().any(|part| state.files.contains_key(part)) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file has this name"));
        }
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        let state = locked(&self.state);
        state.files.contains_key(path) || state.dirs.contains(path)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.state).files.remove(path).map(|_| ()).ok_or_else(missing)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = locked(&self.state);
        if !state.dirs.contains(path) {
            return Err(missing());
        }
        let within = |entry: &&PathBuf| entry.parent() == Some(path);
        let paths: BTreeSet<&PathBuf> = state.files.keys().chain(&state.dirs).filter(within).collect();
        Ok(paths.into_iter().cloned().collect())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.need_parent(to)?;
        let content = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    pub(super) fn open_file(&self, path: &Path) -> io::Result<Arc<dyn RandomAccess>> {
        let mut state = locked(&self.state);
        state.need_parent(path)?;
        let content = state.files.entry(path.to_owned()).or_default();
        Ok(Arc::new(MemoryFile { content: Arc::clone(content) }))
    }

    pub(super) fn lock(&self, path: &Path) -> io::Result<Arc<()>> {
        let mut state = locked(&self.state);
        state.need_parent(path)?;
        if state.locks.get(path).is_some_and(|held| held.strong_count() > 0) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        state.files.entry(path.to_owned()).or_default();
        let held = Arc::new(());
        state.locks.insert(path.to_owned(), Arc::downgrade(&held));
        Ok(held)
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        locked(&self.state).files.get(path).map(Arc::clone).ok_or_else(missing)
    }
}

impl State {
    fn need_parent(&self, path: &Path) -> io::Result<()> {
        let there = path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || self.dirs.contains(parent));
        if there { Ok(()) } else { Err(missing()) }
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn within_limit(len: u64) -> io::Result<()> {
    if len <= DISK_BYTES_MAX { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct MemoryFile {
    content: Arc<Mutex<Content>>,
}

impl MemoryFile {
    fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
        let end = offset.saturating_add(len as u64);
        within_limit(end)?;
        // Both lie below the limit, which fits in a usize.
        Ok(offset as usize..end as usize)
    }
}

impl RandomAccess for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.content).live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let range = Self::range(len, 0)?;
        locked(&self.content).live.resize(range.end, 0);
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let range = Self::range(offset, bytes.len())?;
        let content = locked(&self.content);
        let stored = content.live.get(range).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        bytes.copy_from_slice(stored);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = Self::range(offset, bytes.len())?;
        let live = &mut locked(&self.content).live;
        if live.len() < range.end {
            live.resize(range.end, 0);
        }
        live[range].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = locked(&self.content);
        content.synced = content.live.clone();
        Ok(())
    }
}
