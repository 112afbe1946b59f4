//! Sets the stage: cluster, ERP, ground truth, sidecar, receiver, subscriptions; and strikes it. Knows no arrival.
use crate::certificates::Certificates;
use crate::child::{self, Sidecar};
use crate::cluster::{self, Cluster};
use crate::database::Database;
use crate::day::{self, Ended};
use crate::inbox::Inbox;
use crate::random;
use crate::receiver::{Received, Receiver};
use crate::scratch::Scratch;
use crate::screen;
use crate::shop::Shop;
use crate::sidecar::{Api, Settings};
use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const SCHEMA: &str = include_str!("schema.sql");
const AUDIT: &str = include_str!("audit.sql");
const PACK: &str = include_str!("../../config/gestiqcloud.toml");
const SHOPS: [&str; 3] = ["Panadería Sol", "Ferretería Norte", "Café Central"];
const DATABASE: &str = "erp";

/// Everything that runs. Dropped in this order: the server stops before its folder goes.
pub(crate) struct Stage {
    sidecar: Sidecar,
    receiver: JoinSet<Infallible>,
    workers: JoinSet<anyhow::Result<()>>,
    shops: Vec<Shop>,
    secrets: HashMap<String, String>,
    erp_url: String,
    superuser_url: String,
    _cluster: Cluster,
    _folder: Scratch,
}

impl Stage {
    /// Sets it all up on a fresh cluster, with `program` as the sidecar; requests go to `sink`.
    pub(crate) async fn set(
        program: &Path,
        cluster: Cluster,
        sink: mpsc::Sender<Received>,
    ) -> anyhow::Result<Self> {
        let folder = Scratch::new("tailhook-demo")?;
        let passwords = [cluster::password()?, cluster::password()?];
        let erp_url = cluster.url("erp", &passwords[0], DATABASE);
        let streaming_url = cluster.url("tailhook", &passwords[1], DATABASE);
        let superuser_url = cluster.superuser_url(DATABASE);
        make_roles(&cluster, &passwords).await?;
        let shops = make_erp(&erp_url, &superuser_url).await?;

        let certificates = Certificates::new()?;
        let receiver = Receiver::bind(certificates.server.clone()).await?;
        let receives = receiver.address();
        let token = cluster::password()?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster::free_port()?));
        let settings = Settings {
            database: &streaming_url,
            folder: folder.path(),
            listen,
            authority_pem: &certificates.authority_pem,
            token: &token,
            rest: PACK,
        };
        settings.write()?;
        child::run(program, &["migrate", "--url", &superuser_url], folder.path()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(receiver.run(sink));
        let mut stage = Self {
            sidecar: Sidecar::start(program, folder.path())?,
            receiver: tasks,
            workers: JoinSet::new(),
            shops,
            secrets: HashMap::new(),
            erp_url,
            superuser_url,
            _cluster: cluster,
            _folder: folder,
        };
        stage.subscribe(&Api { address: listen, token }, receives).await?;
        screen::print(&format!("sidecar on http://{listen}, receiver on https://{receives}\n"))?;
        Ok(stage)
    }
    async fn subscribe(&mut self, api: &Api, receiver: SocketAddr) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            fault = self.sidecar.ended() => return Err(fault),
            ready = api.ready() => ready?,
        }
        for (at, shop) in self.shops.iter().enumerate() {
            let tenant = shop.tenant.to_string();
            let path = format!("/hooks/{tenant}");
            // Both kinds of secret: Standard Webhooks' own, and any text as the old module's clients have it.
            let secret = if at == 0 { format!("old-{}", cluster::password()?) } else { whsec()? };
            api.subscribe(&tenant, "*", &format!("https://{receiver}{path}"), &secret).await?;
            self.secrets.insert(path, secret);
        }
        Ok(())
    }
    /// Names of the tenants by id.
    pub(crate) fn tenant_names(&self) -> HashMap<String, String> {
        self.shops.iter().map(|shop| (shop.tenant.to_string(), shop.name.to_owned())).collect()
    }
    /// What reads the requests.
    pub(crate) fn inbox(&self) -> Inbox {
        Inbox::new(self.secrets.clone())
    }
    /// The day begins.
    pub(crate) async fn open_shops(
        &mut self,
        sink: &mpsc::Sender<Ended>,
        closing: &watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        for shop in self.shops.drain(..) {
            let database = Database::connect(&self.erp_url).await?;
            self.workers.spawn(day::work(database, shop, sink.clone(), closing.clone()));
        }
        Ok(())
    }
    /// The day has ended; a shop that broke down says why.
    pub(crate) async fn shops_closed(&mut self) -> anyhow::Result<()> {
        while let Some(worker) = self.workers.join_next().await {
            worker.context("a shop broke down")??;
        }
        Ok(())
    }
    /// Ends only when something breaks.
    pub(crate) async fn fault(&mut self) -> anyhow::Error {
        tokio::select! {
            biased;
            fault = self.sidecar.ended() => fault,
            _ = self.receiver.join_next() => anyhow::anyhow!("the receiver broke down"),
        }
    }
    /// How many events the audit table holds.
    pub(crate) async fn facts_in_all(&self) -> anyhow::Result<usize> {
        let database = Database::connect(&self.superuser_url).await?;
        let row = database.client().query_one("SELECT count(*) FROM audit.facts", &[]).await?;
        Ok(usize::try_from(row.try_get::<_, i64>(0)?)?)
    }
    /// The sidecar stops in good order, then the rest goes.
    pub(crate) async fn strike(self, patience: Duration) -> anyhow::Result<()> {
        self.sidecar.stop(patience).await
    }
}

async fn make_roles(cluster: &Cluster, passwords: &[String; 2]) -> anyhow::Result<()> {
    let database = Database::connect(&cluster.superuser_url("postgres")).await?;
    database.run(&format!("CREATE ROLE erp LOGIN PASSWORD '{}'", passwords[0])).await?;
    let rights = "LOGIN REPLICATION BYPASSRLS";
    database.run(&format!("CREATE ROLE tailhook {rights} PASSWORD '{}'", passwords[1])).await?;
    database.run(&format!("CREATE DATABASE {DATABASE} OWNER erp")).await
}

/// Tables with some rows that were there before, and only then the ground truth: no event is due for those rows.
async fn make_erp(erp_url: &str, superuser_url: &str) -> anyhow::Result<Vec<Shop>> {
    let erp = Database::connect(erp_url).await?;
    erp.run(SCHEMA).await?;
    let mut shops = Vec::new();
    for name in SHOPS {
        let (shop, statements) = Shop::open(name, u64::from_ne_bytes(random::from_system()?));
        let tenant = shop.tenant;
        erp.run(&format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'; {}; COMMIT", statements.join(";")))
            .await?;
        shops.push(shop);
    }
    let superuser = Database::connect(superuser_url).await?;
    superuser.run(AUDIT).await?;
    superuser.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO tailhook").await?;
    Ok(shops)
}

fn whsec() -> anyhow::Result<String> {
    Ok(format!("whsec_{}", STANDARD.encode(random::from_system::<32>()?)))
}
