//! What is nobody's business but the receiver's stands in no log line, at any level. Knows words, not who logs them.
use crate::rig::{RULES, Rig, TENANT};
use serde_json::json;
use tailhook_demo::http;

/// Part of every header value, secret and payload below.
const CANARY: &str = "canary-7c1f";

#[tokio::test(flavor = "multi_thread")]
async fn no_header_secret_or_payload_is_logged() {
    let mut rig = Rig::new(RULES).await;
    rig.environment.push(("TAILHOOK_LOG", "trace".to_owned()));
    rig.start(&[]);
    rig.ready().await;
    let sign_in = [format!("Authorization: Bearer {}", rig.api.token), format!("X-Tenant-Id: {TENANT}")];
    let post = async |path: &str, body: serde_json::Value| {
        let path = format!("/api/v1/tenant/webhooks{path}");
        http::request(rig.api.address, "POST", &path, &sign_in, &body.to_string()).await.unwrap()
    };
    // one that is delivered, one that nobody takes, one that is refused
    let headers = |extra: &str| json!({"X-Api-Key": format!("{CANARY}-header{extra}")});
    let secret = format!("{CANARY}-secret");
    let dead = format!("https://127.0.0.1:{}/hook", tailhook_demo::cluster::free_port().unwrap());
    for (url, extra, status) in [(&rig.hook, "", 201), (&dead, "", 201), (&rig.hook, "\n", 400)] {
        let event = if url == &dead { "invoice.*" } else { "*" };
        let wish = json!({"event": event, "url": url, "secret": secret, "headers": headers(extra)});
        let answer = post("/subscriptions", wish).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    // the same by SQL, in the clear, and rows that are not routed
    for (event, options) in [
        ("invoice.created", json!({"headers": headers("")})),
        ("Not An Event", json!({"headers": headers("")})),
        ("invoice.sent", json!({"headers": headers(""), "colour": CANARY})),
        ("invoice.sent", json!({"headers": {"X-Api-Key": [CANARY]}})),
    ] {
        let insert = format!(
            "INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url, secret, options)
             VALUES ('{TENANT}', '{event}', '{}', '{secret}', '{options}')",
            rig.hook
        );
        rig.erp.run(&insert).await.unwrap();
    }
    let insert = format!(
        "INSERT INTO invoices (number, notes, tenant_id) VALUES ('{CANARY}-1', '{CANARY}', '{TENANT}')"
    );
    rig.erp.run(&insert).await.unwrap();
    let event = json!({"event": "payment.failed", "payload": {"why": format!("{CANARY}-payload")}});
    assert_eq!(post("/deliveries", event).await.status, 202);
    rig.inbox.until("three requests", |inbox| inbox.look(|all| all.len() >= 3)).await;
    let carried = rig.inbox.look(|all| all.iter().filter(|r| r.header("x-api-key").contains(CANARY)).count());
    assert!(carried >= 3, "what is looked for was on its way: {carried}");
    assert!(rig.stop().await.success());
    let log = rig.log();
    assert!(log.contains("a subscription was created") && log.contains("is not routed"), "{log}");
    let token = &rig.api.token;
    for line in log.lines() {
        assert!(!line.contains(CANARY) && !line.contains(token.as_str()), "{line}");
    }
}
