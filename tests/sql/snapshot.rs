//! Reading an exported snapshot: nothing later, nothing hidden.
use crate::cluster::Cluster;
use crate::migrate::{plan, session};
use tailhook::postgres::migrate::migrate;
use tailhook::postgres::snapshot::{Rows, ShadowTable, Snapshot, Values};
use tailhook::postgres::{PgError, TableName};

fn shadow(table: &str) -> ShadowTable {
    ShadowTable {
        table: TableName::parse(table),
        key: vec!["id".into()],
        tracked: vec!["status".into(), "At".into()],
    }
}

/// Exports a snapshot, changes the tables, reads the snapshot.
async fn read(cluster: &Cluster, url: &str, change: &str) -> Result<(Vec<Values>, Vec<Values>), PgError> {
    let mut exporter = session(&cluster.url("postgres")).await;
    let transaction = exporter.client_mut().build_transaction();
    let transaction =
        transaction.isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    let name: String = transaction.query_one("SELECT pg_export_snapshot()", &[]).await?.get(0);
    cluster.sql(change);
    let mut snapshot = Snapshot::open(url, &name, "tailhook", &[shadow("t"), shadow("empty")]).await?;
    let (mut subscriptions, mut shadows) = (Vec::new(), Vec::new());
    while let Some(rows) = snapshot.next().await? {
        match rows {
            Rows::Subscriptions(rows) => subscriptions.extend(rows),
            Rows::Shadow(table, rows) => {
                assert!(table == 0 && !rows.is_empty() && rows.len() <= 1000);
                shadows.extend(rows);
            }
        }
    }
    Ok((subscriptions, shadows))
}

#[tokio::test]
async fn gives_every_row_as_it_was_and_no_later_one() {
    let cluster = Cluster::start();
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY, status text, \"At\" timestamptz); CREATE TABLE empty (LIKE t INCLUDING ALL)");
    migrate(&mut session(&cluster.url("postgres")).await, &plan(&["t", "empty"])).await.unwrap();
    cluster.sql("INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 's\"' || n END, '2026-02-14 10:30:00.5+01' FROM generate_series(1, 2000) n");
    cluster.sql("INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url) VALUES ('a', 'x.y', 'https://a.example/')");
    let url = cluster.url("postgres");
    let change = "INSERT INTO t VALUES (5000, 'late'); UPDATE t SET status = 'late'; DELETE FROM tailhook.webhook_subscriptions";
    let (subscriptions, mut rows) = read(&cluster, &url, change).await.unwrap();
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(
        subscriptions[0][1..6],
        [
            Some("\"a\"".into()),
            Some("\"x.y\"".into()),
            Some("\"https://a.example/\"".into()),
            None,
            Some("true".into())
        ]
    );
    rows.sort_by_key(|row| row[0].clone().unwrap().parse::<i32>().unwrap());
    assert_eq!(rows.len(), 2000);
    let at = Some("\"2026-02-14T09:30:00.5+00:00\"".to_string());
    assert_eq!(rows[0], [Some("1".into()), None, at.clone()]);
    assert_eq!(rows[1], [Some("2".into()), Some("\"s\\\"2\"".into()), at]);
}

#[tokio::test]
async fn a_hidden_row_is_an_error_that_says_the_remedy() {
    let cluster = Cluster::start();
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY, status text, \"At\" timestamptz); CREATE TABLE empty (LIKE t INCLUDING ALL)");
    cluster.sql("CREATE ROLE streaming LOGIN REPLICATION; GRANT SELECT ON t, empty TO streaming; INSERT INTO t VALUES (1, 'x')");
    let mut plan = plan(&["t", "empty"]);
    plan.streaming_role = Some("streaming".into());
    migrate(&mut session(&cluster.url("postgres")).await, &plan).await.unwrap();
    let url = cluster.url("streaming");
    assert_eq!(read(&cluster, &url, "").await.unwrap().1.len(), 1);
    cluster.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY partly ON t USING (id > 5)");
    let error = read(&cluster, &url, "").await.unwrap_err();
    assert!(
        matches!(&error, PgError::Privilege(why) if why.contains("ALTER ROLE streaming BYPASSRLS")),
        "{error:?}"
    );
    cluster.sql("CREATE POLICY tailhook_streaming ON t FOR SELECT TO streaming USING (true)");
    assert_eq!(read(&cluster, &url, "").await.unwrap().1.len(), 1);
    cluster.sql("CREATE POLICY strict ON t AS RESTRICTIVE USING (id > 5)");
    assert!(matches!(read(&cluster, &url, "").await, Err(PgError::Privilege(_))));
    cluster.sql("ALTER ROLE streaming BYPASSRLS");
    assert_eq!(read(&cluster, &url, "").await.unwrap().1.len(), 1);
    cluster.sql("DROP TABLE empty");
    assert!(
        matches!(read(&cluster, &url, "").await, Err(PgError::Setup(why)) if why.contains("public.empty"))
    );
}
