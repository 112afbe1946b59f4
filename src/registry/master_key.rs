//! Where the master key comes from: the environment, or a file that is made at the first run. Knows no rows.
use super::seal::{SealError, Sealer};
use crate::fault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest file that is read; a key is 44 characters.
const LONGEST: u64 = 4096;

/// Why there is no key. Each says the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key, but there are secrets that were sealed with one.
    #[error(
        "the master key {0} is missing, but there are secrets sealed with it: put the file back, or set TAILHOOK_MASTER_KEY"
    )]
    Missing(PathBuf),
    /// Others may read the file.
    #[error("the master key {0} may be read by others (mode {1:04o}): chmod 600 {0}")]
    Exposed(PathBuf, u32),
    /// Not a key.
    #[error("the master key {0}: {1}")]
    Bad(String, SealError),
    /// The file cannot be read or made.
    #[error("the master key {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The sealer of `TAILHOOK_MASTER_KEY` (`environment`), else of the file; the file is made (0600) with `random` bytes
/// if it is missing and nothing is sealed yet. Blocks; for start-up only.
pub fn load(
    file: &Path,
    environment: Option<&str>,
    sealed_exist: bool,
    random: [u8; 32],
) -> Result<Sealer, KeyError> {
    if let Some(text) = environment.filter(|text| !text.trim().is_empty()) {
        return Sealer::from_base64(text).map_err(|e| KeyError::Bad("TAILHOOK_MASTER_KEY".into(), e));
    }
    match File::open(file) {
        Ok(open) => read(file, open),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !sealed_exist => make(file, random),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyError::Missing(file.into())),
        Err(error) => Err(KeyError::Io(file.into(), error)),
    }
}

fn read(file: &Path, open: File) -> Result<Sealer, KeyError> {
    let io = |error| KeyError::Io(file.into(), error);
    let mode = open.metadata().map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed(file.into(), mode));
    }
    let mut text = String::new();
    open.take(LONGEST).read_to_string(&mut text).map_err(io)?;
    Sealer::from_base64(&text).map_err(|e| KeyError::Bad(file.display().to_string(), e))
}

/// Written beside, synced and linked into place: a crash leaves a whole key or none, and two first runs agree on one.
fn make(file: &Path, random: [u8; 32]) -> Result<Sealer, KeyError> {
    let io = |error| KeyError::Io(file.into(), error);
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    let text = STANDARD.encode(random);
    let mut open =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(io)?;
    open.write_all(text.as_bytes()).and_then(|()| open.write_all(b"\n")).map_err(io)?;
    open.sync_all().map_err(io)?;
    fault::crash_point("key.written");
    let linked = std::fs::hard_link(&beside, file);
    fault::crash_point("key.linked");
    std::fs::remove_file(&beside).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io(error)),
        _ => read(file, File::open(file).map_err(io)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Secret, SubscriptionId};
    use crate::registry::seal::Field;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let (id, secret) = (SubscriptionId(uuid::Uuid::nil()), Secret::new("12345678"));
        let sealed = load(&file, None, false, [3; 32]).unwrap().seal_row(id, Field::Secret, &secret);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let again = load(&file, Some(" "), true, [4; 32]).unwrap();
        assert_eq!(again.open(id, Field::Secret, &sealed), Ok(secret));
    }

    #[test]
    fn a_lost_an_exposed_and_a_bad_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        assert!(matches!(load(&file, None, true, [3; 32]), Err(KeyError::Missing(_))));
        assert!(!file.exists());
        load(&file, None, false, [3; 32]).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(load(&file, None, true, [3; 32]), Err(KeyError::Exposed(_, 0o640))));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&file, "nonsense").unwrap();
        assert!(matches!(load(&file, None, true, [3; 32]), Err(KeyError::Bad(..))));
        assert!(matches!(load(&file, Some("x"), true, [3; 32]), Err(KeyError::Bad(..))));
        assert!(load(&file, Some(&STANDARD.encode([1; 32])), true, [3; 32]).is_ok());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("a file");
        std::fs::write(&no_folder, "").unwrap();
        for sealed_exist in [false, true] {
            let refused = load(&no_folder.join("master.key"), None, sealed_exist, [3; 32]);
            assert!(matches!(refused, Err(KeyError::Io(..))), "{sealed_exist}");
        }
    }

    #[test]
    fn of_two_first_runs_the_second_takes_the_first_ones_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let (id, secret) = (SubscriptionId(uuid::Uuid::nil()), Secret::new("12345678"));
        let sealed = make(&file, [3; 32]).unwrap().seal_row(id, Field::Secret, &secret);
        assert_eq!(make(&file, [4; 32]).unwrap().open(id, Field::Secret, &sealed), Ok(secret));
    }

    /// The default is `master.key` in the working directory.
    #[test]
    fn a_name_alone_is_made_in_the_working_directory() {
        let file = PathBuf::from(format!("master.key.of-a-test.{}", std::process::id()));
        let made = load(&file, None, false, [3; 32]).map(drop);
        assert!(std::fs::remove_file(&file).is_ok() && made.is_ok(), "{made:?}");
    }
}
