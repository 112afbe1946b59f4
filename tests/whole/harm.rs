//! Do no harm (SPEC 5.9), as a user meets it: the binary migrates and runs, and every write of the ERP goes on working.
use crate::rig::{Rig, TENANT};

const SCHEMA: &str = "
CREATE ROLE tailhook LOGIN REPLICATION BYPASSRLS PASSWORD 'pw';
CREATE TABLE docs (id int PRIMARY KEY, tenant_id text, status text);
CREATE TABLE docs_archive () INHERITS (docs);
CREATE TABLE log (line text, tenant_id text);
GRANT SELECT ON docs TO tailhook;";

const DOCS: &str = r#"
[[event]]
name = "doc.changed"
table = "public.docs"
on = "update"
tenant = "tenant_id"
"#;

const LOG: &str = r#"
[[event]]
name = "log.written"
table = "public.log"
on = "insert"
tenant = "tenant_id"
resource = { type = "log", id = "line" }
"#;

async fn write(rig: &Rig, line: &str) {
    rig.erp.run(&format!("INSERT INTO log VALUES ('{line}', '{TENANT}')")).await.unwrap();
}

async fn arrives(rig: &Rig, line: &str) {
    rig.inbox
        .until(line, |inbox| inbox.events("log.written").iter().any(|body| body["data"]["line"] == line))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inheritors_without_a_key_go_on_being_updated() {
    let rig = {
        let mut rig = Rig::with(SCHEMA, DOCS).await;
        rig.start(&[]);
        rig.ready().await;
        rig.api.subscribe(TENANT, "*", &rig.hook, "a secret of the old kind").await.unwrap();
        rig
    };
    rig.erp
        .run(&format!(
            "INSERT INTO docs VALUES (1, '{TENANT}', 'draft'); INSERT INTO docs_archive VALUES (2, '{TENANT}', 'draft');
             UPDATE docs SET status = 'x'; DELETE FROM docs_archive"
        ))
        .await
        .expect("the ERP's own writes");
    rig.inbox.until("the update", |inbox| !inbox.events("doc.changed").is_empty()).await;
    let (checked, says) = rig.tool(&["check"]);
    assert!(checked.success(), "{says}");
    // an earlier version published the inheritor too: `check` sees the harm, `run` mends it where it may
    rig.erp.run("ALTER PUBLICATION tailhook ADD TABLE ONLY docs_archive").await.unwrap();
    let (checked, says) = rig.tool(&["check"]);
    assert!(!checked.success() && says.contains("public.docs_archive has no primary key"), "{says}");
    assert!(says.contains("ALTER PUBLICATION tailhook DROP TABLE ONLY public.docs_archive;"), "{says}");
}

/// A slot that is older than the publication of inserts: `made` says how that one came to be.
async fn begun_before(made: &str) -> Rig {
    let mut rig = Rig::with(SCHEMA, DOCS).await;
    rig.erp.run("DROP PUBLICATION tailhook_insert").await.unwrap();
    rig.start(&[]);
    rig.ready().await;
    rig.api.subscribe(TENANT, "*", &rig.hook, "a secret of the old kind").await.unwrap();
    assert!(rig.stop().await.success());
    // WAL in which there is no such publication
    write(&rig, "before").await;
    rig.edit(|file| file + LOG);
    if made == "migrate" {
        let done = rig.tool(&["migrate", "--url", &rig.cluster.superuser_url("postgres")]);
        assert!(done.0.success(), "{}", done.1);
    } else {
        rig.erp.run(made).await.unwrap();
    }
    write(&rig, "after").await;
    rig.erp.run("UPDATE log SET line = line; DELETE FROM log").await.expect("the ERP's own writes");
    rig.start(&[]);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_are_read_from_where_their_publication_was_made() {
    let rig = begun_before("migrate").await;
    arrives(&rig, "after").await;
    write(&rig, "while it runs").await;
    arrives(&rig, "while it runs").await;
    let lines: Vec<String> =
        rig.inbox.events("log.written").iter().map(|body| body["data"]["line"].to_string()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(rig.log().contains("is younger than the position"), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_inserts_made_by_hand_is_read_from_now_on_and_the_rest_is_named() {
    let made = "CREATE PUBLICATION tailhook_insert FOR TABLE ONLY log WITH (publish = 'insert', publish_via_partition_root = true)";
    let rig = begun_before(made).await;
    while !rig.log().contains("may have no events") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rig.ready().await;
    write(&rig, "while it runs").await;
    arrives(&rig, "while it runs").await;
}
