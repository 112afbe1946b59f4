//! A client of the API that never gives up: it repeats a request under the same Idempotency-Key until it is answered, and
//! writes down what the answer promises. Knows no SQL but that.
use super::{REFUSED, TENANTS, WISHES, World};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tailhook_demo::database::Database;
use tailhook_demo::http::{self, Answer};
use tokio::time::sleep;

const BASE: &str = "/api/v1/tenant/webhooks";
/// Gone after that many looks: retention was faster.
const LOOKS: usize = 20;

/// The client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: SocketAddr,
    token: String,
    /// Of the receiver that nobody's events go to.
    url: String,
}

impl Client {
    pub(super) fn of(world: &World) -> Self {
        let url = format!("https://{}/none", world.hosts[0]);
        Self { address: world.rig.api.address, token: world.rig.api.token.clone(), url }
    }

    /// One of everything: an event, a subscription that comes and goes, a delivery that fails and is retried.
    pub(super) async fn round(&self, erp: &Database, turn: u32) {
        self.post(TENANTS[0], "note.posted", turn).await;
        owe(erp, "note.posted", TENANTS[0], turn, 1).await;
        let wish = json!({ "event": "nobody.asks", "url": self.url, "secret": "long enough" });
        let made = self.insist(TENANTS[0], "POST", "/subscriptions", &format!("s{turn}"), &wish).await;
        let mut made: Value = serde_json::from_str(&made.body).expect("JSON");
        // its answer was lost; the stream may not have brought the row yet
        while made["code"] == "already_exists" || made.is_null() {
            let path = "/subscriptions?event=nobody.asks";
            let found = self.insist(TENANTS[0], "GET", path, "", &json!({})).await;
            made = serde_json::from_str::<Value>(&found.body).expect("JSON")[0].clone();
        }
        let path = format!("/subscriptions/{}", made["id"].as_str().expect("an id"));
        self.insist(TENANTS[0], "DELETE", &path, &format!("d{turn}"), &json!({})).await;
        let tenant = WISHES[REFUSED].tenant;
        let event = self.post(tenant, "probe.refused", turn).await;
        let mut times = 1;
        for _ in 0..LOOKS {
            let failed =
                self.list(tenant, "status=failed&event=probe.refused&limit=100").await.unwrap_or_default();
            if let Some(found) = failed.iter().find(|delivery| delivery["event_id"] == event) {
                let path = format!("/deliveries/{}/retry", found["id"].as_str().expect("an id"));
                let answer = self.insist(tenant, "POST", &path, &format!("r{turn}"), &json!({})).await;
                times += i32::from(answer.status == 202);
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        owe(erp, "probe.refused", tenant, turn, times).await;
    }

    /// Deliveries of a tenant; `None`: no answer, or a refusal.
    pub(super) async fn list(&self, tenant: &str, query: &str) -> Option<Vec<Value>> {
        let answer = self.ask(tenant, "GET", &format!("/deliveries?{query}"), "", &json!({})).await.ok()?;
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok()).flatten()
    }

    /// Posts an event; gives its id.
    async fn post(&self, tenant: &str, event: &str, turn: u32) -> Value {
        let payload = json!({
            "event": event, "data": { "nth": turn }, "resource_type": "turn", "resource_id": turn.to_string()
        });
        let body = json!({ "event": event, "payload": payload });
        let answer = self.insist(tenant, "POST", "/deliveries", &format!("{event}{turn}"), &body).await;
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["event_id"].clone()
    }

    /// Until it is done. 404 is an answer where what was asked for may have had its time.
    async fn insist(&self, tenant: &str, method: &str, path: &str, key: &str, body: &Value) -> Answer {
        loop {
            match self.ask(tenant, method, path, key, body).await {
                Ok(answer) if answer.status < 300 => return answer,
                Ok(answer) if answer.body.contains("already_exists") => return answer,
                Ok(answer) if answer.status == 404 && (method == "DELETE" || path.ends_with("/retry")) => {
                    return answer;
                }
                Ok(answer) => {
                    let for_now = [409, 429].contains(&answer.status) || answer.status >= 500;
                    assert!(for_now, "{method} {path}: {} {}", answer.status, answer.body);
                }
                Err(_) => {}
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask(
        &self,
        tenant: &str,
        method: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let mut headers =
            vec![format!("Authorization: Bearer {}", self.token), format!("X-Tenant-Id: {tenant}")];
        if !key.is_empty() {
            headers.push(format!("Idempotency-Key: {key}"));
        }
        http::request(self.address, method, &format!("{BASE}{path}"), &headers, &body.to_string()).await
    }
}

async fn owe(erp: &Database, event: &str, tenant: &str, turn: u32, times: i32) {
    let sql = format!(
        "INSERT INTO audit.owed (event, tenant, resource, turn, state, times)
         VALUES ('{event}', '{tenant}', '{turn}', {turn}, '{{\"nth\": {turn}}}', {times})"
    );
    erp.run(&sql).await.expect("the audit table");
}
