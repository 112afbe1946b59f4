//! The sidecar inside this process: its settings as a file would hold them, and its API. Knows no Postgres, no receiver.
use super::http;
use crate::app;
use crate::cli::token;
use crate::config::{self, Config};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const BASE: &str = "/api/v1/tenant/webhooks";
const START: Duration = Duration::from_secs(60);

/// What is particular to a throw-away sidecar.
#[derive(Debug)]
pub struct Settings<'s> {
    /// The streaming role's URL.
    pub database: &'s str,
    /// A folder of our own.
    pub folder: &'s Path,
    /// Where the API shall listen.
    pub listen: SocketAddr,
    /// The authority that the receiver's certificate is of.
    pub authority_pem: &'s str,
    /// The API's token.
    pub token: &'s str,
    /// More of the file: delivery settings and events.
    pub rest: &'s str,
}

impl Settings<'_> {
    /// The file, and beside it the authority's certificate.
    pub fn write(&self) -> anyhow::Result<String> {
        let authority = self.folder.join("authority.pem");
        std::fs::write(&authority, self.authority_pem)?;
        let hash = token::hash(self.token);
        let file = format!(
            "[database]\nurl = {url}\n[store]\npath = \"data\"\nmin_free = \"64MiB\"\n\
             [egress]\nallow_networks = [\"127.0.0.0/8\"]\nca_files = [{authority}]\n\
             [admin]\nlisten = \"{listen}\"\n\
             [[admin.token]]\nname = \"demo\"\nsha256 = \"{hash}\"\ntenant = \"*\"\nscope = \"write\"\n{rest}",
            url = quoted(self.database),
            authority = quoted(&authority.display().to_string()),
            listen = self.listen,
            rest = self.rest,
        );
        std::fs::write(self.folder.join("tailhook.toml"), &file)?;
        Ok(file)
    }
    /// The same, read back.
    pub fn config(&self) -> anyhow::Result<Config> {
        let file = self.write()?;
        Ok(config::parse("tailhook.toml", self.folder, &file, &|_| None)?)
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A sidecar that runs in this process.
#[derive(Debug)]
pub struct Sidecar {
    task: JoinSet<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Sidecar {
    /// Starts it.
    pub fn start(config: Config) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(app::run(config, app::Options::default(), stopped));
        Self { task, stop }
    }
    /// Ends only when the sidecar does, which it should not.
    pub async fn ended(&mut self) -> anyhow::Error {
        let ended = self.task.join_next().await;
        match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::Error::new(error).context("the sidecar broke down"),
            _ => anyhow::anyhow!("the sidecar ended by itself"),
        }
    }
    /// Asks it to stop and waits for its end.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        // Without a receiver it has ended already, and says why below.
        let _ = self.stop.send(true);
        let ended = timeout(patience, self.task.join_next()).await.context("the sidecar does not stop")?;
        ended.unwrap_or(Ok(Ok(()))).context("the sidecar broke down")?
    }
}

/// The sidecar's API, as a client uses it.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token.
    pub token: String,
}

impl Api {
    /// Waits until it streams.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut last = String::from("nothing");
        let waited = timeout(START, async {
            loop {
                match http::request(self.address, "GET", "/readyz", &[], "").await {
                    Ok(answer) if answer.status == 200 => return,
                    Ok(answer) => last = answer.body,
                    Err(_) => {}
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        if waited.await.is_err() {
            bail!("the sidecar is not ready after {START:?}; its last answer: {last}");
        }
        Ok(())
    }
    /// Subscribes a tenant.
    pub async fn subscribe(&self, tenant: &str, event: &str, url: &str, secret: &str) -> anyhow::Result<()> {
        let headers = [format!("Authorization: Bearer {}", self.token), format!("X-Tenant-Id: {tenant}")];
        let body = json!({ "event": event, "url": url, "secret": secret }).to_string();
        let path = format!("{BASE}/subscriptions");
        let answer = http::request(self.address, "POST", &path, &headers, &body).await?;
        let object: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status != 201 || object.get("effective") == Some(&Value::Bool(false)) {
            bail!("the API does not take a subscription: {} {}", answer.status, answer.body);
        }
        Ok(())
    }
    /// The exposition of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let headers = [format!("Authorization: Bearer {}", self.token)];
        Ok(http::request(self.address, "GET", "/metrics", &headers, "").await?.body)
    }
}
