//! What `check` finds, one clear line each, with what mends it.
use crate::cluster::{Cluster, Options};
use crate::migrate::{plan, session};
use tailhook::postgres::TableName;
use tailhook::postgres::checks::{Expectation, Finding, Needed, Severity, api, check};
use tailhook::postgres::migrate::migrate;

fn expectation(tables: &[&str]) -> Expectation {
    let needed = |name: &&str| Needed {
        table: TableName::parse(name),
        optional: name.starts_with("optional"),
        shadow: true,
        insert_only: false,
    };
    Expectation {
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        schema: "tailhook".into(),
        tables: tables.iter().map(needed).collect(),
    }
}

fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| f.severity == Severity::Error).collect()
}

#[track_caller]
fn has(findings: &[Finding], what: &str, remedy: &str) {
    let fits =
        |f: &Finding| f.what.contains(what) && f.remedy_sql.as_deref().unwrap_or_default().contains(remedy);
    assert!(findings.iter().any(fits), "{what}: {findings:#?}");
    assert!(findings.iter().all(|f| !f.what.contains('\n')));
}

#[tokio::test]
async fn a_fit_database_has_no_errors_and_an_unfit_one_says_the_sql() {
    let cluster = Cluster::start();
    cluster.sql("CREATE TABLE invoices (id int PRIMARY KEY, status text); CREATE ROLE streaming LOGIN REPLICATION; CREATE ROLE weak LOGIN");
    cluster.sql("GRANT SELECT ON invoices TO streaming; CREATE TABLE bare (id int, stat text); CREATE TABLE hidden (id int PRIMARY KEY, status text);
                 ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; CREATE TABLE extra (id int PRIMARY KEY)");
    let url = cluster.url("streaming");
    let findings = check(&url, &expectation(&["invoices"])).await;
    has(&findings, "tailhook.webhook_subscriptions does not exist", "tailhook migrate");
    has(&findings, "publication tailhook does not exist", "CREATE PUBLICATION");
    let mut plan = plan(&["invoices"]);
    plan.streaming_role = Some("streaming".into());
    migrate(&mut session(&cluster.url("postgres")).await, &plan).await.unwrap();
    let findings = check(&url, &expectation(&["invoices", "optional_one"])).await;
    assert!(errors(&findings).is_empty(), "{findings:#?}");
    has(&findings, "public.optional_one does not exist; its rules are parked", "");
    has(&findings, "max_slot_wal_keep_size", "ALTER SYSTEM");
    cluster.sql("ALTER PUBLICATION tailhook ADD TABLE extra");
    let findings = check(&cluster.url("weak"), &expectation(&["invoices", "bare", "hidden", "absent"])).await;
    for (what, remedy) in [
        ("weak may not replicate", "ALTER ROLE weak REPLICATION;"),
        ("may not read public.invoices", "GRANT SELECT ON public.invoices TO weak"),
        ("public.bare has no primary key", "ADD PRIMARY KEY"),
        (
            "public.bare has no primary key: once it is published",
            "ALTER TABLE public.bare REPLICA IDENTITY FULL",
        ),
        ("hides rows of public.hidden", "ALTER ROLE weak BYPASSRLS"),
        ("lacks tables", "ALTER PUBLICATION tailhook ADD TABLE"),
        ("public.extra, which no rule needs", "ALTER PUBLICATION tailhook DROP TABLE ONLY public.extra"),
        ("hides rows of tailhook.webhook_subscriptions", "BYPASSRLS"),
    ] {
        has(&findings, what, remedy);
    }
    // the API's role
    let api_url = cluster.url("weak");
    has(&api(&api_url, "tailhook").await, "weak may not write", "GRANT SELECT, INSERT, UPDATE ON tailhook.");
    has(&api(&cluster.url("nobody"), "tailhook").await, "database.api_url", "");
    cluster.sql("GRANT USAGE ON SCHEMA tailhook TO weak; GRANT SELECT, INSERT, UPDATE ON tailhook.webhook_subscriptions TO weak");
    assert!(api(&api_url, "tailhook").await.is_empty());
    cluster.sql("SELECT pg_create_logical_replication_slot('tailhook', 'test_decoding')");
    has(&check(&url, &expectation(&["invoices"])).await, "somebody else's", "database.slot");
    cluster.sql("SELECT pg_drop_replication_slot('tailhook')");
    cluster.sql("SELECT pg_create_logical_replication_slot('tailhook', 'pgoutput')");
    let findings = check(&url, &expectation(&["invoices"])).await;
    assert!(errors(&findings).is_empty(), "our own slot is as it should be: {findings:#?}");
}

#[tokio::test]
async fn logins_and_settings_give_one_clear_line() {
    let settings = &["wal_level = replica", "max_replication_slots = 0", "max_wal_senders = 0"];
    let cluster = Cluster::with(Options { method: "scram-sha-256", settings });
    cluster.sql("CREATE ROLE streaming LOGIN REPLICATION PASSWORD 'right'");
    for (url, what) in [
        (cluster.url("streaming:hunter2"), "check the password"),
        (cluster.url("streaming"), "wants a password"),
        (cluster.url("nobody:hunter2"), "password"),
        (
            cluster.url("streaming:right").replace("/erp", "/absent"),
            "does not exist; check the database's name",
        ),
        ("postgres://u:hunter2@127.0.0.1:1/erp".to_string(), "cannot be reached"),
        (format!("{}?sslmode=require", cluster.url("streaming:right")), "not supported yet"),
    ] {
        let findings = check(&url, &expectation(&[])).await;
        has(&findings, what, "");
        assert_eq!(findings.len(), 1);
        assert!(!findings[0].what.contains("hunter2"));
    }
    let findings = check(&cluster.url("streaming:right"), &expectation(&[])).await;
    has(&findings, "wal_level is replica", "ALTER SYSTEM SET wal_level");
    has(&findings, "no replication slot is free", "max_replication_slots");
    has(&findings, "no WAL sender is free", "max_wal_senders");
}
