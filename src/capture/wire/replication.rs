//! The real `Source`: one slot on one Postgres server. Knows the replication commands; ordinary SQL (the catalog, the
//! rows of the first snapshot) is lent to it, see `Lookups`. Judges nothing: `slot` does.
use crate::capture::source::{CatalogLook, FillRows, Refill};
use crate::capture::wire::connection::{Connection, ConnectionError, identifier, literal};
use crate::capture::wire::failure::{ConnectionStage, FailurePlace, explain, wal_level};
use crate::capture::wire::frames;
use crate::capture::wire::lookups::Lookups;
use crate::capture::wire::publications::Publications;
use crate::capture::{BoxFuture, Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
use crate::clock::SharedClock;
use crate::domain::{Lsn, ReplicaIdentity, Table};
use crate::mapping::rows::shadow::TablePlan;
use crate::postgres::url::Address;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// pgoutput's `messages` came with this version.
const OLDEST_SERVER: u32 = 14;
/// A message can be as large as a row, which is at most 1 GiB in Postgres; we take this much.
pub const DEFAULT_MAX_FRAME: usize = 256 << 20;
/// For looking around and for starting the stream.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so long without a word we ask for one; after as long again the server is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// A polite end takes no longer.
const STOP: Duration = Duration::from_secs(1);

/// Which slot on which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From `database.url`.
    pub address: Address,
    /// `database.slot`
    pub slot: String,
    /// `database.publication`
    pub publication: String,
    /// No larger message is taken, in bytes.
    pub max_frame: usize,
}

impl Settings {
    /// With the default limit.
    pub fn new(address: Address, slot: &str, publication: &str) -> Self {
        Self { address, slot: slot.into(), publication: publication.into(), max_frame: DEFAULT_MAX_FRAME }
    }
}

/// One slot on one server.
pub struct PostgresSource {
    settings: Settings,
    lookups: Lookups,
    clock: SharedClock,
    connection: Option<Connection>,
    publications: Publications,
    streaming: bool,
    /// The new slot's exported snapshot, until it was read or the connection did something else.
    snapshot: SnapshotState,
    /// What was told last, for the question whether the server is there.
    told: Feedback,
    quiet_until: Instant,
    asked: bool,
    /// Why a stream of the slot could not be read on: until it is made anew.
    unreadable: Option<String>,
}

enum SnapshotState {
    None,
    Exported(String, Vec<TablePlan>),
    Open(Box<dyn FillRows>),
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// Connects to nothing yet: `survey` does.
    pub fn new(settings: Settings, lookups: Lookups, clock: SharedClock) -> Self {
        Self {
            publications: Publications::new(&settings.publication),
            settings,
            lookups,
            clock,
            connection: None,
            streaming: false,
            snapshot: SnapshotState::None,
            told: Feedback::default(),
            quiet_until: Instant::now(),
            asked: false,
            unreadable: None,
        }
    }

    fn explained(&self, stage: ConnectionStage) -> impl Fn(ConnectionError) -> SourceError + '_ {
        let Settings { address, slot, publication, .. } = &self.settings;
        move |error| explain(&error, FailurePlace { stage, address, slot, publication })
    }

    /// One command, with a limit in time if there is one.
    async fn command(
        &mut self,
        stage: ConnectionStage,
        limit: Option<Duration>,
        command: &str,
    ) -> Result<Vec<frames::AnswerRow>, SourceError> {
        self.snapshot = SnapshotState::None;
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let answer = match limit {
            Some(limit) => timeout(limit, connection.query(command))
                .await
                .unwrap_or(Err(ConnectionError::Timeout(limit))),
            None => connection.query(command).await,
        };
        if matches!(
            answer,
            Err(ConnectionError::Io(_) | ConnectionError::Timeout(_) | ConnectionError::Protocol(_))
        ) {
            self.connection = None;
        }
        answer.map_err(self.explained(stage))
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        let Settings { address, max_frame, .. } = &self.settings;
        let connection =
            Connection::open(address, *max_frame).await.map_err(self.explained(ConnectionStage::Connect))?;
        let version = connection.major_version();
        if version < OLDEST_SERVER {
            return Err(SourceError::Operator(format!(
                "the server is PostgreSQL {version}: Tailhook needs {OLDEST_SERVER} or newer"
            )));
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn history(&mut self, timeline: u32) -> Result<Vec<(u32, Lsn)>, SourceError> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let rows = self
            .command(ConnectionStage::Survey, Some(PATIENCE), &format!("TIMELINE_HISTORY {timeline}"))
            .await?;
        let content = rows.into_iter().next().and_then(|row| row.into_iter().nth(1).flatten());
        Ok(frames::timeline_history(&content.ok_or_else(|| strange("TIMELINE_HISTORY"))?))
    }

    /// Our slot, and whether the second publication has tables.
    async fn slot_state(&mut self) -> Result<(Option<SlotState>, bool), SourceError> {
        let query = format!(
            "SELECT pg_catalog.current_setting('wal_level'), s.slot_name, s.plugin, s.database, s.confirmed_flush_lsn, \
             s.restart_lsn, s.wal_status, s.active_pid, EXISTS (SELECT FROM pg_catalog.pg_publication p \
             JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = {}) FROM (VALUES (1)) AS one \
             LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = {}",
            sql_literal(self.publications.insert()),
            sql_literal(&self.settings.slot)
        );
        let rows = self.command(ConnectionStage::Survey, Some(PATIENCE), &query).await?;
        let row: [Option<String>; 9] = rows
            .into_iter()
            .next()
            .and_then(|row| row.try_into().ok())
            .ok_or_else(|| strange("pg_replication_slots"))?;
        let [level, name, plugin, database, confirmed, restart, wal_status, active_pid, inserts] = row;
        let level = level.unwrap_or_default();
        if level != "logical" {
            return Err(wal_level(&level));
        }
        let position = |text: Option<String>| text.and_then(|text| text.parse::<Lsn>().ok());
        let slot = name.map(|_| SlotState {
            plugin: plugin.unwrap_or_else(|| "none (a physical slot)".into()),
            database: database.unwrap_or_default(),
            confirmed: position(confirmed).unwrap_or_default(),
            restart: position(restart),
            wal_status: wal_status.unwrap_or_default(),
            active_pid: active_pid.and_then(|pid| pid.parse().ok()),
        });
        Ok((slot, inserts.as_deref() == Some("t")))
    }

    async fn exporting_slot(&mut self, slot: &str) -> Result<(Lsn, String), SourceError> {
        let modern = self.connection.as_ref().is_some_and(|connection| connection.major_version() >= 15);
        let export = if modern { "(SNAPSHOT 'export')" } else { "EXPORT_SNAPSHOT" };
        let command = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput {export}");
        tracing::info!("making replication slot {slot}: this waits for the transactions that are open now");
        let rows = self.command(ConnectionStage::Slot, None, &command).await?;
        let row: Option<[Option<String>; 4]> = rows.into_iter().next().and_then(|row| row.try_into().ok());
        let [_, point, snapshot, _] = row.ok_or_else(|| strange("CREATE_REPLICATION_SLOT"))?;
        number(point).zip(snapshot).ok_or_else(|| strange("CREATE_REPLICATION_SLOT"))
    }

    /// A consistent point and its rows, by a temporary slot: its name is the process's, so that one which still waits is not joined by others.
    async fn exported(&mut self, tables: Vec<TablePlan>) -> Result<(Lsn, Box<dyn FillRows>), SourceError> {
        let name = identifier(&format!("{}_fill_{}", self.settings.slot, std::process::id()));
        let (point, snapshot) = self.exporting_slot(&format!("{name} TEMPORARY")).await?;
        // opened while the exporting connection is alive; from then on it stands by itself
        let rows = (self.lookups.open_snapshot)(snapshot, tables).await?;
        Ok((point, rows))
    }

    async fn tell(&mut self, reply: bool) -> Result<(), SourceError> {
        let status = frames::status(self.told, self.clock.now_us(), reply);
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let sent = connection.send(&status).await;
        sent.map_err(self.explained(ConnectionStage::Stream))
    }
}

fn not_connected() -> SourceError {
    SourceError::Retry("there is no connection to the database".into())
}

fn strange(command: &str) -> SourceError {
    SourceError::Malformed(format!("the server's answer to {command} has another form than was expected"))
}

/// For SQL, where `standard_conforming_strings` may be off.
fn sql_literal(text: &str) -> String {
    if text.contains('\\') { format!("E{}", literal(&text.replace('\\', "\\\\"))) } else { literal(text) }
}

fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}

impl Source for PostgresSource {
    async fn survey(&mut self) -> Result<Survey, SourceError> {
        self.stop().await;
        self.connect().await?;
        let rows = self.command(ConnectionStage::Survey, Some(PATIENCE), "IDENTIFY_SYSTEM").await?;
        let system: Option<[Option<String>; 4]> = rows.into_iter().next().and_then(|row| row.try_into().ok());
        let [Some(system_id), timeline, wal_end, Some(database)] =
            system.ok_or_else(|| strange("IDENTIFY_SYSTEM"))?
        else {
            return Err(strange("IDENTIFY_SYSTEM"));
        };
        let (Some(timeline), Some(wal_end)) = (number(timeline), number(wal_end)) else {
            return Err(strange("IDENTIFY_SYSTEM"));
        };
        let history = self.history(timeline).await?;
        let (slot, inserts) = self.slot_state().await?;
        self.publications.surveyed(inserts, wal_end);
        let unreadable = self.unreadable.clone();
        Ok(Survey { system_id, timeline, wal_end, database, slot, history, unreadable })
    }

    /// Waits for the transactions that are open now, however long they take.
    async fn create_slot(&mut self, tables: &[TablePlan]) -> Result<Lsn, SourceError> {
        let (point, snapshot) = self.exporting_slot(&identifier(&self.settings.slot)).await?;
        self.unreadable = None;
        self.snapshot = SnapshotState::Exported(snapshot, tables.to_vec());
        Ok(point)
    }

    /// By a temporary slot on this connection: it is gone when the stream's connection, opened next, takes its place.
    async fn snapshot(&mut self, tables: &[TablePlan]) -> Result<Lsn, SourceError> {
        let (point, rows) = self.exported(tables.to_vec()).await?;
        self.stop().await;
        self.connect().await?;
        self.snapshot = SnapshotState::Open(rows);
        Ok(point)
    }

    async fn drop_slot(&mut self) -> Result<(), SourceError> {
        let command = format!("DROP_REPLICATION_SLOT {}", identifier(&self.settings.slot));
        self.command(ConnectionStage::Slot, Some(PATIENCE), &command).await.map(drop)
    }

    async fn fill(&mut self) -> Result<Vec<FillRow>, SourceError> {
        if let SnapshotState::Exported(name, tables) = &self.snapshot {
            let rows = (self.lookups.open_snapshot)(name.clone(), tables.clone()).await?;
            self.snapshot = SnapshotState::Open(rows);
        }
        let SnapshotState::Open(rows) = &mut self.snapshot else {
            return Err(SourceError::Retry("the slot's snapshot is gone".into()));
        };
        let rows = rows.next_rows().await?;
        if rows.is_empty() {
            self.snapshot = SnapshotState::None;
        }
        Ok(rows)
    }

    async fn start(&mut self, from: Lsn) -> Result<(), SourceError> {
        if matches!(self.snapshot, SnapshotState::Exported(..)) {
            self.snapshot = SnapshotState::None;
        }
        let names: Vec<String> = self.publications.names().into_iter().map(identifier).collect();
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}, messages 'true')",
            identifier(&self.settings.slot),
            literal(&names.join(","))
        );
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let started = timeout(PATIENCE, connection.start_copy(&command)).await;
        let started = started.unwrap_or(Err(ConnectionError::Timeout(PATIENCE)));
        started.map_err(self.explained(ConnectionStage::Start))?;
        self.streaming = true;
        self.told = Feedback { written: from, flushed: from };
        self.quiet_until = Instant::now() + SILENCE;
        self.asked = false;
        Ok(())
    }

    async fn next(&mut self) -> Result<Frame, SourceError> {
        if let Some(at) = self.publications.reopens_at() {
            if self.told.flushed < at {
                // asked again when more is durable
                return std::future::pending().await;
            }
            let name = self.publications.reopened();
            return Err(SourceError::Retry(format!(
                "publication \"{name}\" exists from {at} on and is read too now"
            )));
        }
        loop {
            let quiet_until = self.quiet_until;
            let connection = self.connection.as_mut().filter(|_| self.streaming).ok_or_else(not_connected)?;
            match timeout_at(quiet_until, connection.copy_data()).await {
                Ok(Err(ConnectionError::Server(error)))
                    if error.code == "42704" && self.publications.missed(&error.message) =>
                {
                    return Err(SourceError::Retry(error.to_string()));
                }
                Ok(heard) => {
                    let heard = heard.map_err(self.explained(ConnectionStage::Stream));
                    if let Err(SourceError::Gap(why)) = &heard {
                        self.unreadable = Some(why.clone());
                    }
                    let body = heard?;
                    self.quiet_until = Instant::now() + SILENCE;
                    self.asked = false;
                    let frame = frames::frame(body).map_err(SourceError::Malformed)?;
                    self.publications.passes(&frame);
                    return Ok(frame);
                }
                Err(_) if self.asked => {
                    let waited = SILENCE.as_secs() * 2;
                    return Err(SourceError::Retry(format!("the server said nothing for {waited} seconds")));
                }
                Err(_) => {
                    self.asked = true;
                    self.quiet_until = Instant::now() + SILENCE;
                    self.tell(true).await?;
                }
            }
        }
    }

    async fn feedback(&mut self, feedback: Feedback) -> Result<(), SourceError> {
        self.told = feedback;
        self.tell(false).await
    }

    fn look(&self) -> BoxFuture<'static, Result<CatalogLook, SourceError>> {
        (self.lookups.look)()
    }

    fn refill(&self, tables: Vec<TablePlan>) -> BoxFuture<'static, Result<Refill, SourceError>> {
        let mut aside = Self::new(self.settings.clone(), self.lookups.clone(), self.clock.clone());
        Box::pin(async move {
            (aside.lookups.restore)().await?;
            let look = (aside.lookups.look)().await?;
            aside.connect().await?;
            let (at, rows) = aside.exported(tables).await?;
            // the stream passes the point at once, also beside an idle ERP
            (aside.lookups.heartbeat)().await?;
            Ok(Refill { at, look, rows })
        })
    }

    async fn describe(&mut self, relation: u32) -> Result<Table, SourceError> {
        let table = (self.lookups.describe)(relation).await?;
        // a table that is gone has no columns: its Relation message is all that is left (`relation`)
        Ok(table.unwrap_or_else(|| Table {
            oid: relation,
            schema: String::new(),
            name: String::new(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            replica_identity: ReplicaIdentity::Default,
        }))
    }

    async fn stop(&mut self) {
        self.snapshot = SnapshotState::None;
        let streaming = std::mem::take(&mut self.streaming);
        if let Some(connection) = self.connection.take() {
            let _late = timeout(STOP, connection.close(streaming)).await;
        }
    }
}
