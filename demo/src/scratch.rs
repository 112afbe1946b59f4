//! A temporary folder that goes when it is dropped, however the program ends. Knows nothing of what is in it.
use crate::random;
use anyhow::Context;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of our own, readable by nobody else.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one in the system's temporary folder.
    pub fn new(prefix: &str) -> anyhow::Result<Self> {
        let name = format!("{prefix}-{:016x}", u64::from_ne_bytes(random::from_system()?));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).with_context(|| {
            format!("{} cannot be made; free the folder or set TMPDIR to another one", path.display())
        })?;
        Ok(Self { path })
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A thread that is being stopped may still write: what it has made since is removed by the next try.
        for tries in (0..20).rev() {
            match fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                Err(error) if tries == 0 => {
                    eprintln!("tailhook: {} is left behind: {error}", self.path.display());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}
