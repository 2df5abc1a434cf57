//! Tests that hold for both disks, and for what a crash of the one in memory loses.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory of its own for one test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weft-env-{}-{name}", std::process::id()));
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn behaves_as_a_disk(disk: &Disk, dir: &Path) {
    let (one, two) = (dir.join("keys/one"), dir.join("keys/two"));
    assert_eq!(disk.write(&one, b"x").unwrap_err().kind(), io::ErrorKind::NotFound, "no directory yet");
    disk.create_dir(&dir.join("keys")).unwrap();
    disk.create_dir(&dir.join("keys")).unwrap();
    assert!(!disk.exists(&one));
    disk.write(&one, b"first").unwrap();
    disk.write(&one, b"second").unwrap();
    assert_eq!(disk.read(&one).unwrap(), b"second");
    disk.rename(&one, &two).unwrap();
    assert!(disk.exists(&two) && !disk.exists(&one));
    disk.write(&one, b"again").unwrap();
    assert_eq!(disk.list(&dir.join("keys")).unwrap(), [one.clone(), two.clone()]);
    disk.remove(&one).unwrap();
    assert_eq!(disk.read(&one).unwrap_err().kind(), io::ErrorKind::NotFound);

    let lock = disk.lock(&dir.join("lock")).unwrap();
    assert_eq!(disk.lock(&dir.join("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    drop(disk.lock(&dir.join("lock")).unwrap());

    let file = disk.open_file(&dir.join("store")).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(3, b"abc").unwrap();
    assert_eq!(file.len().unwrap(), 6);
    let mut bytes = [9; 6];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0abc");
    assert_eq!(file.read_at(1, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    file.set_len(2).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read(&dir.join("store")).unwrap(), b"\0\0");
}

#[test]
fn the_machines_disk_and_the_one_in_memory_behave_alike() {
    let scratch = Scratch::new("alike");
    behaves_as_a_disk(&Disk::machine(), &scratch.0);
    behaves_as_a_disk(&Disk::memory(), &scratch.0);
}

#[test]
fn files_are_for_their_owner_only() {
    let scratch = Scratch::new("owner");
    let disk = Disk::machine();
    disk.create_dir(&scratch.0.join("keys")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0.join("keys")), 0o700);
    let key = scratch.0.join("keys/node.key");
    std::fs::write(&key, b"old").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    disk.write(&key, b"secret").unwrap();
    assert_eq!(mode(&key), 0o600);
    drop(disk.open_file(&scratch.0.join("store")).unwrap());
    assert_eq!(mode(&scratch.0.join("store")), 0o600);
    assert_eq!(disk.list(&scratch.0.join("keys")).unwrap(), [key], "no temporary file stays behind");
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let memory = MemoryDisk::new();
    let disk = Disk::from(memory.clone());
    let path = Path::new("store");
    let file = disk.open_file(path).unwrap();
    file.write_at(0, b"kept").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"lost").unwrap();
    memory.crash();
    assert_eq!(disk.read(path).unwrap(), b"kept");
    file.write_at(0, b"past").unwrap();
    assert_eq!(disk.read(path).unwrap(), b"kept", "a handle from before the crash reaches nothing");
}
