//! The settings and their defaults. Mirrors the file, section by section; knows nothing of TOML.
use super::EventEntry;
use crate::domain::Secret;
use crate::mapping::Mapping;
use ipnet::IpNet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `[store]`
    pub store: Store,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[egress]`
    pub egress: Egress,
    /// `[admin]`
    pub admin: Admin,
    /// `[operations]`
    pub operations: Operations,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
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
            store: Store::default(),
            secrets: Secrets::default(),
            delivery: Delivery::default(),
            egress: Egress::default(),
            admin: Admin::default(),
            operations: Operations::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            events: Vec::new(),
            mapping: Mapping::default(),
        }
    }
    /// Relative paths are meant from the file's folder.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        self.store.path = folder.join(&self.store.path);
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

/// `[store]`
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Data folder.
    pub path: PathBuf,
    /// Finished deliveries are kept this long …
    pub history: Duration,
    /// … and at most this many.
    pub history_max: u64,
    /// Less free disk than this counts as full, in bytes.
    pub min_free: u64,
    /// The engine of the index.
    pub index: IndexEngine,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./tailhook-data"),
            history: Duration::from_secs(7 * 86_400),
            history_max: 1_000_000,
            min_free: 1 << 30,
            index: IndexEngine::Lsm,
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

/// `[delivery]`
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// One whole attempt.
    pub timeout: Duration,
    /// Attempts after the first.
    pub max_retries: u32,
    /// `User-Agent`.
    pub user_agent: String,
    /// `metadata.source`.
    pub source: String,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// A delivery older than this is abandoned.
    pub expire_after: Duration,
    /// Per endpoint; beyond it the oldest are abandoned.
    pub max_pending: u64,
    /// What is kept in commit order.
    pub ordering: Ordering,
    /// Largest body in bytes.
    pub max_payload: u64,
    /// Requests in flight, all endpoints.
    pub concurrency: u32,
    /// Limits of each endpoint.
    pub per_endpoint: PerEndpoint,
    /// When an endpoint is left alone.
    pub breaker: Breaker,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_retries: 3,
            user_agent: "GestiqCloud-Webhooks/1.0".to_owned(),
            source: "gestiqcloud".to_owned(),
            backoff: Backoff::default(),
            expire_after: Duration::from_secs(72 * 3600),
            max_pending: 1_000_000,
            ordering: Ordering::Resource,
            max_payload: 256 << 10,
            concurrency: 512,
            per_endpoint: PerEndpoint::default(),
            breaker: Breaker::default(),
        }
    }
}

/// `delivery.backoff`: retry n waits base·factorⁿ⁻¹, at most `max`, plus up to `jitter` of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// First wait.
    pub base: Duration,
    /// At least 1.
    pub factor: f64,
    /// Longest wait.
    pub max: Duration,
    /// Share of the wait that may be added, 0 to 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(2), factor: 2.0, max: Duration::from_secs(3600), jitter: 0.1 }
    }
}

/// `delivery.ordering`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// Of one subscription and resource.
    Resource,
    /// Of one endpoint.
    Endpoint,
    /// Nothing.
    None,
}

/// `delivery.per_endpoint`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerEndpoint {
    /// Requests in flight.
    pub concurrency: u32,
    /// Requests a second; 0: no limit.
    pub rate: u32,
    /// Requests at once while under the rate.
    pub burst: u32,
}

impl Default for PerEndpoint {
    fn default() -> Self {
        Self { concurrency: 16, rate: 0, burst: 100 }
    }
}

/// `delivery.breaker`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures that open it; 0: off.
    pub failures: u32,
    /// How long it refuses.
    pub open_for: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 4, open_for: Duration::from_secs(30) }
    }
}

/// `[egress]`
#[derive(Debug, Clone, PartialEq)]
pub struct Egress {
    /// Development only.
    pub allow_http: bool,
    /// Networks that would be refused.
    pub allow_networks: Vec<IpNet>,
    /// Ports outside `allow_networks`.
    pub ports: Vec<u16>,
    /// Extra trust anchors, PEM.
    pub ca_files: Vec<PathBuf>,
}

impl Default for Egress {
    fn default() -> Self {
        Self { allow_http: false, allow_networks: Vec::new(), ports: vec![443, 8443], ca_files: Vec::new() }
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// More names for the Host header.
    pub allowed_hosts: Vec<String>,
    /// `[[admin.token]]`
    pub tokens: Vec<AdminToken>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9400)),
            allowed_hosts: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

/// `[[admin.token]]`
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// For the audit.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// `*` or one tenant's id.
    pub tenant: String,
    /// What it may do.
    pub scope: Scope,
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminToken({:?}, {:?}, {:?})", self.name, self.tenant, self.scope)
    }
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// `[operations]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operations {
    /// Where system-wide events go.
    pub tenant: String,
}

impl Default for Operations {
    fn default() -> Self {
        Self { tenant: "operations".to_owned() }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Always false for now.
    pub tenant_label: bool,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
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
