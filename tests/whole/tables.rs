//! What people do to a mapped table under the running sidecar: a gap of that table, announced, and ended by itself (SPEC 5.7).
use crate::rig::{RULES, Rig, SECRET, TENANT};
use std::time::Duration;
use tailhook_demo::http;

/// The streaming role owns what it streams, so that it may put a table back.
const OWNED: &str = "
CREATE ROLE tailhook LOGIN REPLICATION BYPASSRLS PASSWORD 'pw';
GRANT CREATE ON DATABASE postgres TO tailhook; GRANT CREATE ON SCHEMA public TO tailhook; CREATE SCHEMA aside AUTHORIZATION tailhook;
SET ROLE tailhook;
CREATE TABLE invoices (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), number varchar, status varchar DEFAULT 'draft',
                       total float, notes text, tenant_id uuid NOT NULL);
RESET ROLE;";

/// A new table of the same form, whose rows are all sent already.
const SWAP: &str = "CREATE TABLE other (LIKE invoices INCLUDING ALL);
    INSERT INTO other (id, number, status, tenant_id) SELECT id, number, 'sent', tenant_id FROM invoices;";

/// Looks at the tables are due so often here.
const LOOK: (&str, &str) = ("TAILHOOK_LOOK_MS", "500");

async fn marker(rig: &Rig, number: &str) {
    let insert = format!("INSERT INTO invoices (number, tenant_id) VALUES ('{number}', '{TENANT}')");
    rig.erp.run(&insert).await.unwrap();
    rig.inbox
        .until(number, |inbox| inbox.events("invoice.created").iter().any(|b| b["data"]["number"] == number))
        .await;
}

/// Waits until the log has said this so often.
async fn said(rig: &Rig, what: &str, times: usize) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while rig.log().matches(what).count() < times {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "never {times} times: {what}\n{}", rig.log());
}

async fn readyz(rig: &Rig) -> (u16, serde_json::Value) {
    let answer = http::request(rig.api.address, "GET", "/readyz", &[], "").await.expect("an answer");
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

fn sent(rig: &Rig) -> Vec<String> {
    let number = |body: serde_json::Value| body["data"]["number"].as_str().unwrap_or_default().to_owned();
    let mut numbers: Vec<String> = rig.inbox.events("invoice.sent").into_iter().map(number).collect();
    numbers.sort();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_a_table_no_row_of_before_judges_one_of_now() {
    let mut rig = Rig::with(OWNED, RULES).await;
    rig.erp.run("ALTER PUBLICATION tailhook OWNER TO tailhook; ALTER TABLE tailhook.webhook_subscriptions OWNER TO tailhook;
                 GRANT USAGE, CREATE ON SCHEMA tailhook TO tailhook").await.unwrap();
    rig.environment.push((LOOK.0, LOOK.1.to_owned()));
    rig.start(&[]);
    rig.ready().await;
    rig.api.subscribe(TENANT, "*", &rig.hook, SECRET).await.expect("a subscription");
    rig.api.subscribe("operations", "error.occurred", &rig.hook, SECRET).await.expect("a subscription");
    rig.erp.run("SET ROLE tailhook; SET search_path = public").await.unwrap();
    let unseen = "UPDATE invoices SET status = 'sent';";
    let ways = [
        ("swap", format!("{SWAP} DROP TABLE invoices; ALTER TABLE other RENAME TO invoices")),
        ("rename", format!("{SWAP} ALTER TABLE invoices RENAME TO of_before; ALTER TABLE other RENAME TO invoices")),
        ("made anew", format!("CREATE TEMP TABLE kept AS SELECT * FROM invoices; DROP TABLE invoices;
             {}; INSERT INTO invoices SELECT * FROM kept; DROP TABLE kept; {unseen}", OWNED.lines().skip(4).take(2).collect::<String>().trim_end_matches(';'))),
        ("schema", "ALTER TABLE invoices SET SCHEMA aside; UPDATE aside.invoices SET status = 'sent'; ALTER TABLE aside.invoices SET SCHEMA public".to_owned()),
        ("taken out", format!("ALTER PUBLICATION tailhook DROP TABLE invoices; {unseen}")),
        ("out and back", format!("ALTER PUBLICATION tailhook DROP TABLE invoices; {unseen} ALTER PUBLICATION tailhook ADD TABLE ONLY invoices")),
        ("options", format!("ALTER PUBLICATION tailhook SET (publish = 'insert'); {unseen}")),
        ("key", "ALTER TABLE invoices DROP CONSTRAINT invoices_pkey, ADD CONSTRAINT invoices_pkey PRIMARY KEY (tenant_id, id); UPDATE invoices SET status = 'sent'".to_owned()),
        ("type", "ALTER TABLE invoices ALTER COLUMN status TYPE text USING 'sent'".to_owned()),
    ];
    for (done, (way, sql)) in ways.iter().enumerate() {
        let (old, new) = (format!("old {way}"), format!("new {way}"));
        marker(&rig, &old).await;
        rig.erp.run(&format!("BEGIN; {sql}; COMMIT")).await.unwrap_or_else(|why| panic!("{way}: {why:#}"));
        said(&rig, "gap of the table public.invoices", done + 1).await;
        said(&rig, "gap ended: public.invoices", done + 1).await;
        marker(&rig, &new).await;
        rig.erp.run("UPDATE invoices SET notes = coalesce(notes, '') || 'x'").await.unwrap();
        rig.erp.run(&format!("UPDATE invoices SET status = 'sent' WHERE number = '{new}'")).await.unwrap();
        rig.inbox
            .until(&new, |inbox| inbox.events("invoice.sent").iter().any(|b| b["data"]["number"] == *new))
            .await;
        marker(&rig, &format!("end of {way}")).await;
        let expected = ways[..=done].iter().map(|(way, _)| format!("new {way}"));
        let mut expected: Vec<String> = expected.collect();
        expected.sort();
        assert_eq!(sent(&rig), expected, "{way}\n{}", rig.log());
        let (status, body) = readyz(&rig).await;
        assert!(status == 200 && body.get("degraded").is_none(), "{way}: {body}");
    }
    rig.inbox.until("the announcements", |inbox| inbox.events("error.occurred").len() == ways.len()).await;
    let said = rig.inbox.events("error.occurred");
    assert!(
        said.iter()
            .all(|body| body["data"]["table"] == "public.invoices" && body["resource_type"] == "table"),
        "{said:?}"
    );
    // and through a restart
    assert!(rig.stop().await.success());
    rig.start(&[]);
    marker(&rig, "last").await;
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number IN ('last', 'new type')").await.unwrap();
    rig.inbox.until("last", |inbox| inbox.events("invoice.sent").len() == ways.len() + 1).await;
    assert_eq!(rig.log().matches("gap of the table").count(), ways.len(), "{}", rig.log());
}

/// The README's role owns nothing: what it cannot do itself is said with its SQL, and found to be done.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_mend_is_said_with_its_sql() {
    let mut rig = Rig::subscribed(RULES).await;
    marker(&rig, "before").await;
    rig.erp
        .run(&format!("BEGIN; {SWAP} DROP TABLE invoices; ALTER TABLE other RENAME TO invoices; GRANT SELECT ON invoices TO tailhook; COMMIT"))
        .await
        .unwrap();
    said(&rig, "a gap of a table cannot be ended yet", 1).await;
    let (status, body) = readyz(&rig).await;
    let degraded = body["degraded"][0].as_str().unwrap_or_default().to_owned();
    assert!(status == 200 && degraded.contains("public.invoices has no events from"), "{body}");
    assert!(degraded.contains("ALTER PUBLICATION tailhook ADD TABLE ONLY public.invoices"), "{degraded}");
    // others go on, a restart changes nothing, and what the old table remembered judges nothing
    rig.kill();
    rig.start(&[]);
    said(&rig, "a gap of a table cannot be ended yet", 2).await;
    rig.erp.run("ALTER PUBLICATION tailhook ADD TABLE ONLY public.invoices").await.unwrap();
    rig.erp.run("UPDATE invoices SET notes = 'x'").await.unwrap();
    said(&rig, "gap ended: public.invoices", 1).await;
    marker(&rig, "after").await;
    rig.erp.run("UPDATE invoices SET notes = 'y'").await.unwrap();
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number = 'after'").await.unwrap();
    marker(&rig, "end").await;
    assert_eq!(sent(&rig), ["after"], "{}", rig.log());
    assert_eq!(rig.log().matches("gap of the table").count(), 1, "{}", rig.log());
}

/// A transaction that was open when the table came back holds the snapshot up, and nothing else; what is done meanwhile is neither sent nor forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_filled_beside_the_stream_of_the_others() {
    const OTHER: &str = "
[[event]]
name = \"payment.received\"
table = \"public.payments\"
on = \"insert\"
tenant = \"tenant_id\"
";
    let schema = format!("{OWNED} CREATE TABLE payments (id serial PRIMARY KEY, tenant_id uuid); GRANT SELECT ON payments TO tailhook;
        INSERT INTO invoices (number, tenant_id) SELECT 'F-' || n, '{TENANT}' FROM generate_series(1, 5000) AS n");
    let mut rig = Rig::with(&schema, &format!("{RULES}{OTHER}")).await;
    rig.environment.push((LOOK.0, LOOK.1.to_owned()));
    rig.start(&[]);
    rig.ready().await;
    rig.api.subscribe(TENANT, "*", &rig.hook, SECRET).await.expect("a subscription");
    let (slow, paid) = (rig.another().await, format!("INSERT INTO payments (tenant_id) VALUES ('{TENANT}')"));
    slow.run("BEGIN; UPDATE invoices SET notes = 'slow' WHERE number = 'F-1'").await.unwrap();
    let lapse = "BEGIN; ALTER PUBLICATION tailhook DROP TABLE invoices; ALTER PUBLICATION tailhook ADD TABLE ONLY invoices; COMMIT";
    rig.erp.run(lapse).await.unwrap();
    said(&rig, "gap of the table public.invoices", 1).await;
    // in the gap: sent by one that the snapshot waits for, sent beside it, and gone
    slow.run("UPDATE invoices SET status = 'sent' WHERE number = 'F-1'").await.unwrap();
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number = 'F-2'; DELETE FROM invoices WHERE number = 'F-3'").await.unwrap();
    for count in 1..=20 {
        rig.erp.run(&paid).await.unwrap();
        rig.inbox.until("a payment", |inbox| inbox.events("payment.received").len() == count).await;
    }
    assert_eq!(readyz(&rig).await.1["degraded"].as_array().map(Vec::len), Some(1), "{}", rig.log());
    slow.run("COMMIT").await.unwrap();
    // while its rows are read
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number IN ('F-4', 'F-5000')").await.unwrap();
    said(&rig, "gap ended: public.invoices", 1).await;
    rig.erp.run("UPDATE invoices SET notes = 'all'").await.unwrap();
    rig.erp.run("UPDATE invoices SET status = 'draft' WHERE number IN ('F-2', 'F-5000')").await.unwrap();
    rig.erp
        .run("UPDATE invoices SET status = 'sent' WHERE number IN ('F-2', 'F-6', 'F-5000')")
        .await
        .unwrap();
    // another resource's event may overtake these
    let all = |sent: &[serde_json::Value]| {
        ["F-2", "F-6", "F-5000"].iter().all(|n| sent.iter().any(|b| b["data"]["number"] == **n))
    };
    rig.inbox.until("those after the gap", |inbox| all(&inbox.events("invoice.sent"))).await;
    marker(&rig, "end").await;
    let mut expected = vec!["F-2".to_owned(), "F-5000".to_owned(), "F-6".to_owned()];
    // one of these may have been sent before the gap was noticed, or after it was ended
    let seen = sent(&rig);
    expected.extend(seen.iter().filter(|number| ["F-4"].contains(&number.as_str())).cloned());
    expected.sort();
    assert_eq!(seen, expected, "{}", rig.log());
}
