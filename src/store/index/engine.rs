//! Purpose: which engine holds the index, where its folder is, and how a folder that does not fit is put away.
//! Must not: read or write a key; name a vendor crate.
//!
//! Both engines use the folder `index`, one at a time, so a data folder cannot hold two indexes. A folder of the other engine
//! is not opened: the store rebuilds the index from the journal, as it does with a damaged one.
use crate::fault;
use crate::store::index::lsm::{LsmIndex, MEMORY_BYTES};
use crate::store::index::sled::SledIndex;
use crate::store::index::{Index, IndexError, IndexFactory, Reset};
use std::any::Any;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// `store.index`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// lsm-tree.
    Lsm,
    /// sled 0.34.7.
    Sled,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::Lsm, Self::Sled];

    /// As the setting names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Sled => "sled",
        }
    }
    /// The engine of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.as_str() == name)
    }
    /// The engine whose files a folder holds.
    pub fn of(folder: &Path) -> Option<Self> {
        let telltale = |engine| match engine {
            Self::Lsm => LsmIndex::is_in(folder),
            Self::Sled => SledIndex::is_in(folder),
        };
        Self::ALL.into_iter().find(|engine| telltale(*engine))
    }
    /// Opens or makes the index in a folder of its own. Writes are gathered in memory up to `memory_bytes`.
    pub fn open(self, folder: &Path, memory_bytes: u64) -> Result<Arc<dyn Index>, IndexError> {
        if let Some(other) = Self::of(folder).filter(|found| *found != self) {
            let why = format!("its engine is {}, and store.index is \"{}\"", other.as_str(), self.as_str());
            return Err(IndexError::Broken(why));
        }
        Ok(match self {
            Self::Lsm => Arc::new(LsmIndex::open(folder, memory_bytes)?),
            Self::Sled => Arc::new(SledIndex::open(folder, memory_bytes)?),
        })
    }
    /// For `Store::open`.
    pub fn factory(self, folder: PathBuf, memory_bytes: u64) -> IndexFactory {
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                self.put_away(&folder)
                    .map_err(|e| IndexError::Broken(format!("cannot be moved aside: {e}")))?;
            }
            self.open(&folder, memory_bytes)
        })
    }
    /// What did not fit stands beside the index as `<folder>.bad`, one generation of it. A sound index of the other engine
    /// proves nothing about a fault, so it is removed: it may have gigabytes.
    fn put_away(self, folder: &Path) -> io::Result<()> {
        if !folder.try_exists()? {
            return Ok(());
        }
        let aside = aside(folder);
        discard(&aside)?;
        fault::crash_point("rebuild.before-aside");
        fs::rename(folder, &aside)?;
        if Self::of(&aside).is_some_and(|other| other != self) {
            discard(&aside)?;
        }
        Ok(())
    }
}

/// Where an index that cannot be used is moved to.
pub fn aside(folder: &Path) -> PathBuf {
    let mut aside = folder.as_os_str().to_owned();
    aside.push(".bad");
    PathBuf::from(aside)
}

/// Removes a closed index.
pub fn discard(folder: &Path) -> io::Result<()> {
    if folder.try_exists()? {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Does any file of a closed index hold these bytes? Both engines keep values in their files as they are, also those that were
/// replaced and not merged away yet. A missing index holds nothing.
pub fn holds(folder: &Path, bytes: &[u8]) -> io::Result<bool> {
    if !folder.try_exists()? {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() { holds(&path, bytes)? } else { file_holds(&path, bytes)? };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks through a file in pieces that overlap.
fn file_holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut window = Vec::new();
    loop {
        let kept = window.len().min(bytes.len().saturating_sub(1));
        window.drain(..window.len() - kept);
        if file.by_ref().take(1 << 20).read_to_end(&mut window)? == 0 {
            return Ok(false);
        }
        if window.windows(bytes.len().max(1)).any(|part| part == bytes) {
            return Ok(true);
        }
    }
}

/// How much `Engine::open` may gather, unless a test wants less.
pub fn memory_bytes() -> u64 {
    fault::instead("TAILHOOK_INDEX_BYTES", MEMORY_BYTES)
}

/// A folder that only this user may read.
pub(in crate::store) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// An engine's answer. A panic means the same as damage: the index must be rebuilt.
pub(in crate::store) fn guarded<T, E>(
    judge: impl FnOnce(E) -> IndexError,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(judge),
        Err(panic) => Err(IndexError::Broken(panic_text(panic.as_ref()))),
    }
}

/// Held while a generation is taken, and where a flush divides what was taken from what comes. A panic in the middle of a generation
/// poisons it: what lies in memory then is never made durable. `None`: a planted fault.
pub(in crate::store) fn whole(taking: &Mutex<()>) -> Result<Option<MutexGuard<'_, ()>>, IndexError> {
    let whole = (!fault::planted("half-a-generation")).then(|| taking.lock()).transpose();
    whole.map_err(|_| IndexError::Broken("a generation was not taken whole".to_owned()))
}

/// A file that is gone or too short does not come back when the disk is well.
pub(in crate::store) fn judge_io(error: &io::Error) -> IndexError {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match error.kind() {
        AlreadyExists | InvalidData | InvalidInput | NotFound | UnexpectedEof => {
            IndexError::Broken(error.to_string())
        }
        _ => IndexError::Disk(error.to_string()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}
