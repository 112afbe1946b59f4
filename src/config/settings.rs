//! The whole file, read: each stage's settings (`settings`), and the sections that only `app` and `cli` use. Must not depend on TOML.
use super::EventEntry;
use crate::domain::Secret;
use crate::mapping::Mapping;
use crate::settings::{AdminSettings, DispatchSettings, EgressSettings, EnvelopeSettings, StoreSettings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `store.path`: the data folder.
    pub data_folder: PathBuf,
    /// `store.index`: the engine of the index.
    pub index: IndexEngine,
    /// `[store]`
    pub store: StoreSettings,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[delivery]`
    pub dispatch: DispatchSettings,
    /// Of `[delivery]` and `[operations]` what stands in every event.
    pub envelope: EnvelopeSettings,
    /// `[egress]`, and `delivery.user_agent`.
    pub egress: EgressSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[metrics]`
    pub metrics: MetricsSection,
    /// `[log]`
    pub log: LogSection,
    /// `[[event]]`, in the order of the file.
    pub events: Vec<EventEntry>,
    /// The same, compiled.
    pub mapping: Mapping,
}

impl Config {
    /// Everything at its default; only the database has none.
    pub fn defaults(url: Secret) -> Self {
        Self {
            database: Database::defaults(url),
            data_folder: PathBuf::from("./tailhook-data"),
            index: IndexEngine::Lsm,
            store: StoreSettings::default(),
            secrets: Secrets::default(),
            dispatch: DispatchSettings::default(),
            envelope: EnvelopeSettings::default(),
            egress: EgressSettings::default(),
            admin: AdminSettings::default(),
            metrics: MetricsSection::default(),
            log: LogSection::default(),
            events: Vec::new(),
            mapping: Mapping::default(),
        }
    }
    /// Relative paths are meant from the file's folder.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        self.data_folder = folder.join(&self.data_folder);
        self.secrets.master_key_file = folder.join(&self.secrets.master_key_file);
        for file in &mut self.egress.ca_files {
            *file = folder.join(&file);
        }
    }
}

/// `[database]`. The URLs hold passwords and cannot be printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// The streaming role.
    pub url: Secret,
    /// The API's role; `None`: `url`.
    pub api_url: Option<Secret>,
    /// Replication slot.
    pub slot: String,
    /// Publication.
    pub publication: String,
    /// Where our two tables live.
    pub schema: String,
    /// How often a message is written that moves the slot on in an idle database.
    pub heartbeat: Duration,
}

impl Database {
    fn defaults(url: Secret) -> Self {
        let tailhook = || "tailhook".to_owned();
        Self {
            url,
            api_url: None,
            slot: tailhook(),
            publication: tailhook(),
            schema: tailhook(),
            heartbeat: Duration::from_secs(30),
        }
    }
}

/// `store.index`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexEngine {
    /// An LSM tree.
    Lsm,
    /// sled.
    Sled,
}

/// `[secrets]`
#[derive(Debug, Clone, PartialEq)]
pub struct Secrets {
    /// Holds the master key; `TAILHOOK_MASTER_KEY` goes before it.
    pub master_key_file: PathBuf,
    /// Do without a master key.
    pub insecure_plaintext: bool,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { master_key_file: PathBuf::from("./master.key"), insecure_plaintext: false }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricsSection {
    /// Always false for now.
    pub tenant_label: bool,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSection {
    /// How lines look.
    pub format: LogFormat,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}
