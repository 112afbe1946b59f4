//! Who may connect, and what an operator reads when somebody may not.
use crate::cluster::{Cluster, Options};
use crate::follower::{named, source};
use std::sync::Arc;
use tailhook::capture::wire::connection::Connection;
use tailhook::capture::{Source, SourceError};
use tailhook::postgres::url::Address;

const ROLES: &str = "SET password_encryption = 'scram-sha-256';
    CREATE ROLE streamer LOGIN REPLICATION PASSWORD 'p@ss/w:rd';
    CREATE ROLE plain LOGIN PASSWORD 'secret';
    SET password_encryption = 'md5';
    CREATE ROLE old LOGIN REPLICATION PASSWORD 'secret';";

async fn refusal(cluster: &Arc<Cluster>, url: &str) -> SourceError {
    source(cluster, url).survey().await.expect_err("refused")
}

#[tokio::test]
async fn scram_and_every_way_to_be_refused() {
    let cluster = Arc::new(Cluster::with(Options { method: "scram-sha-256", settings: &[] }));
    cluster.sql(ROLES);
    for url in [cluster.url("streamer:p%40ss%2Fw%3Ard"), cluster.socket_url("streamer:p%40ss%2Fw%3Ard")] {
        let survey = source(&cluster, &url).survey().await.expect("logs in");
        assert_eq!((survey.database.as_str(), survey.timeline, survey.slot), ("erp", 1, None), "{url}");
        assert_eq!(survey.system_id, cluster.sql("SELECT system_identifier FROM pg_control_system()"));
    }
    let good = cluster.url("streamer:p%40ss%2Fw%3Ard");
    for (url, expected) in [
        (cluster.url("streamer:wrong"), "RetrySlowly: the password of role \"streamer\" is wrong (28P01)"),
        (cluster.url("nobody:wrong"), "RetrySlowly: the password of role \"nobody\" is wrong (28P01)"),
        (cluster.url("streamer"), "RetrySlowly: role \"streamer\" needs a password"),
        (good.replace("/erp", "/other"), "RetrySlowly: database \"other\" does not exist (3D000)"),
        (cluster.url("plain:secret"), "Operator: role \"plain\" lacks a right"),
        ("postgres://u@127.0.0.1:1/erp".into(), "Retry: the database at 127.0.0.1:1 cannot be reached"),
        (
            "postgres://u@/erp?host=/nowhere".into(),
            "Retry: the database at /nowhere/.s.PGSQL.5432 cannot be reached",
        ),
    ] {
        let error = refusal(&cluster, &url).await;
        let line = format!("{}: {error}", format!("{error:?}").split('(').next().unwrap_or_default());
        assert!(line.starts_with(expected), "{line}");
        assert!(!line.contains("wrong@") && !line.contains("p@ss") && !line.contains('\n'), "{line}");
    }
}

#[tokio::test]
async fn older_kinds_of_password() {
    for method in ["md5", "password"] {
        let cluster = Arc::new(Cluster::with(Options { method, settings: &[] }));
        cluster.sql(ROLES);
        source(&cluster, &cluster.url("old:secret")).survey().await.expect(method);
        let error = refusal(&cluster, &cluster.url("old:Secret")).await;
        assert!(matches!(error, SourceError::RetrySlowly(_)), "{method}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_set_up_for_it() {
    let settings = &["wal_level = replica", "max_wal_senders = 1"];
    let cluster = Arc::new(Cluster::with(Options { method: "trust", settings }));
    let url = cluster.url("postgres");
    let SourceError::Operator(line) = refusal(&cluster, &url).await else { panic!("an operator is needed") };
    assert!(line.starts_with("wal_level is replica: ALTER SYSTEM SET wal_level = 'logical'"), "{line}");
    let address = Address::parse(&url).expect("parses");
    // the refused source above may still be leaving
    let held = loop {
        match Connection::open(&address, 1 << 20).await {
            Ok(held) => break held,
            Err(error) => assert!(error.to_string().contains("53300"), "{error}"),
        }
    };
    let SourceError::Retry(line) = refusal(&cluster, &url).await else { panic!("worth another try") };
    assert!(line.contains("(53300)") && line.contains("raise max_wal_senders"), "{line}");
    held.close(false).await;
}

#[tokio::test]
async fn no_slot_is_free() {
    let cluster =
        Arc::new(Cluster::with(Options { method: "trust", settings: &["max_replication_slots = 1"] }));
    for (name, fits) in [("first", true), ("second", false)] {
        let mut source = named(&cluster, &cluster.url("postgres"), name);
        source.survey().await.expect("connects");
        match source.create_slot(&[]).await {
            Ok(_) => assert!(fits, "{name}"),
            Err(SourceError::Operator(line)) => {
                assert!(!fits && line.contains("max_replication_slots"), "{line}");
            }
            Err(error) => panic!("{error}"),
        }
        source.stop().await;
    }
}
