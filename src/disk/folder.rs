//! The real data folder: locked, private, its blocking calls on the blocking pool. Knows no frames.
use crate::disk::Disk;
use crate::fault;
use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock, statvfs};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const LOCK: &str = "lock";
/// Open files that are kept for the next call; the journal writes one and reads few.
const KEPT_OPEN: usize = 16;

/// The real folder.
#[derive(Debug)]
pub struct RealDisk {
    files: Arc<OpenFiles>,
    /// Held while we live; the kernel lets go of it when the process dies, however it dies.
    _lock: File,
}

#[derive(Debug)]
struct OpenFiles {
    folder: PathBuf,
    open: Mutex<BTreeMap<String, Arc<File>>>,
}

impl RealDisk {
    /// Opens (makes, mode 0700) and locks the folder; a second process is refused.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let path = folder.join(LOCK);
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                let text = format!("{} is in use by another tailhook", folder.display());
                io::Error::new(io::ErrorKind::ResourceBusy, text)
            } else {
                errno.into()
            }
        })?;
        let files = OpenFiles { folder: folder.to_owned(), open: Mutex::default() };
        Ok(Self { files: Arc::new(files), _lock: lock })
    }

    async fn hop<T: Send + 'static>(
        &self,
        call: impl FnOnce(&OpenFiles) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || call(&files)).await.map_err(io::Error::other)?
    }
}

/// Makes the folder, and those above it that are missing, durable in the one above.
fn make(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sync = || File::open(above)?.sync_all();
    if folder.is_dir() {
        // made before: perhaps by a life that ended before this; or by somebody who lets us write only here
        let _ = sync();
        return Ok(());
    }
    make(above)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    sync()
}

impl OpenFiles {
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("'{name}' is no plain file name"),
            ));
        }
        Ok(self.folder.join(name))
    }
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// An open handle that reads at offsets and writes at the end.
    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut kept = self.kept();
        if let Some(file) = kept.get(name) {
            return Ok(file.clone());
        }
        let file = Arc::new(OpenOptions::new().read(true).append(true).open(self.path(name)?)?);
        while kept.len() >= KEPT_OPEN {
            // names grow with time, so the first is the oldest
            kept.pop_first();
        }
        kept.insert(name.to_owned(), file.clone());
        Ok(file)
    }
    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        (&*self.file(name)?).write_all(bytes)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        // the length may come from a damaged file: ask before allocating
        if file.metadata()?.len().saturating_sub(offset) < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

#[async_trait]
impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.files.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.files.file(name)?.metadata()?.len())
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.files.read(name, offset, len)
    }
    async fn fetch(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let name = name.to_owned();
        self.hop(move |files| files.read(&name, offset, len)).await
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.hop(move |files| {
            let path = files.path(&name)?;
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.sync_all()?;
            fault::crash_point("disk.created");
            files.sync_folder()
        })
        .await
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let name = name.to_owned();
        self.hop(move |files| files.append(&name, &bytes)).await
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.hop(move |files| files.sync(&name)).await
    }
    async fn append_durably(&self, name: &str, bytes: Vec<u8>) -> io::Result<Duration> {
        let name = name.to_owned();
        self.hop(move |files| {
            files.append(&name, &bytes)?;
            fault::crash_point("disk.appended");
            let began = Instant::now();
            files.sync(&name)?;
            Ok(began.elapsed())
        })
        .await
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let name = name.to_owned();
        self.hop(move |files| {
            let file = files.file(&name)?;
            file.set_len(len)?;
            file.sync_all()
        })
        .await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.hop(move |files| {
            {
                let mut kept = files.kept();
                kept.remove(&from);
                kept.remove(&to);
            }
            fs::rename(files.path(&from)?, files.path(&to)?)?;
            fault::crash_point("disk.renamed");
            files.sync_folder()
        })
        .await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.hop(move |files| {
            // a handle left open would keep the space
            files.kept().remove(&name);
            fs::remove_file(files.path(&name)?)?;
            files.sync_folder()
        })
        .await
    }
    fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(&self.files.folder)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_private_locked_and_what_was_appended() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("data");
        let disk = RealDisk::open(&folder).unwrap();
        assert_eq!(RealDisk::open(&folder).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        disk.create("b").await.unwrap();
        disk.create("a").await.unwrap();
        disk.append_durably("b", b"hello ".to_vec()).await.unwrap();
        disk.append("b", b"world".to_vec()).await.unwrap();
        assert_eq!(disk.read("b", 6, 5).unwrap(), b"world");
        assert_eq!(disk.read("b", 6, 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disk.read("b", 0, usize::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        disk.truncate("b", 5).await.unwrap();
        disk.append_durably("b", b"!".to_vec()).await.unwrap();
        assert_eq!(disk.read("b", 0, 6).unwrap(), b"hello!");
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        disk.rename("b", "a").await.unwrap();
        assert_eq!((disk.list().unwrap(), disk.len("a").unwrap()), (vec!["a".to_owned()], 6));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("a"))), (0o700, 0o600));
        disk.remove("a").await.unwrap();
        assert!(disk.list().unwrap().is_empty());
        assert!(disk.read("../a", 0, 1).is_err());
        assert!(disk.free_bytes().unwrap() > 0);
        drop(disk);
        RealDisk::open(&folder).unwrap();
    }
}
