//! What a sidecar is given and asked from outside: its file, and its API. Knows no process, no Postgres, no receiver.
use crate::http;
use anyhow::bail;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
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
    /// Writes `tailhook.toml`, and beside it the authority's certificate.
    pub fn write(&self) -> anyhow::Result<()> {
        let authority = self.folder.join("authority.pem");
        std::fs::write(&authority, self.authority_pem)?;
        let hash = hash(self.token);
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
        Ok(std::fs::write(self.folder.join("tailhook.toml"), &file)?)
    }
}

/// A JSON string is a TOML string too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// What the file holds of a token (SPEC 6): its SHA-256 in hexadecimal digits.
fn hash(token: &str) -> String {
    Sha256::digest(token).iter().fold(String::new(), |mut digits, byte| {
        // Writing into a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
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
