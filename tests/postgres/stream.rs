//! What a stream says about rows, under every replica identity and while tables change.
use crate::cluster::Cluster;
use crate::follower::{Follower, soon, source};
use std::sync::Arc;
use tailhook::capture::{Frame, Source};
use tailhook::domain::{Operation, ReplicaIdentity};
use tailhook::postgres::session::Patience;
use tailhook::postgres::{Session, slot};

async fn follow(schema: &str) -> (Arc<Cluster>, Follower) {
    let cluster = Arc::new(Cluster::start());
    cluster.sql(schema);
    let follower = Follower::create(source(&cluster, &cluster.socket_url("postgres"))).await;
    (cluster, follower)
}

#[tokio::test]
async fn every_operation_under_every_replica_identity() {
    let (cluster, mut follower) = follow(
        "CREATE TABLE d (id int PRIMARY KEY, n text);
         CREATE TABLE f (id int PRIMARY KEY, n text); ALTER TABLE f REPLICA IDENTITY FULL;
         CREATE TABLE i (id int PRIMARY KEY, code text NOT NULL, n text); CREATE UNIQUE INDEX i_code ON i (code);
         ALTER TABLE i REPLICA IDENTITY USING INDEX i_code;
         CREATE PUBLICATION tailhook FOR TABLE d, f, i",
    )
    .await;
    for (sql, expected) in [
        (
            "INSERT INTO d VALUES (1, 'a'), (2, NULL)",
            &["insert public.d: -> 1 \"a\"", "insert public.d: -> 2 -"][..],
        ),
        ("UPDATE d SET n = 'b' WHERE id = 1", &["update public.d: -> 1 \"b\""]),
        ("UPDATE d SET id = 3 WHERE id = 1", &["update public.d: 1 ? -> 3 \"b\""]),
        ("DELETE FROM d WHERE id = 3", &["delete public.d: 3 ? ->"]),
        ("INSERT INTO f VALUES (1, 'a')", &["insert public.f: -> 1 \"a\""]),
        ("UPDATE f SET n = NULL", &["update public.f: 1 \"a\" -> 1 -"]),
        ("DELETE FROM f", &["delete public.f: 1 - ->"]),
        ("INSERT INTO i VALUES (1, 'x', 'a')", &["insert public.i: -> 1 \"x\" \"a\""]),
        ("UPDATE i SET code = 'y'", &["update public.i: ? \"x\" ? -> 1 \"y\" \"a\""]),
        ("DELETE FROM i", &["delete public.i: ? \"y\" ? ->"]),
        ("TRUNCATE d, f", &["truncate public.d: ->", "truncate public.f: ->"]),
        (
            "BEGIN; INSERT INTO d VALUES (9, 'x'); SAVEPOINT s; INSERT INTO d VALUES (10, 'y'); ROLLBACK TO s; \
             DELETE FROM d; COMMIT",
            &["insert public.d: -> 9 \"x\"", "delete public.d: 9 ? ->"],
        ),
    ] {
        cluster.sql(sql);
        assert_eq!(follower.lines().await, expected, "{sql}");
    }
    cluster.sql("BEGIN; INSERT INTO d VALUES (11, 'undone'); ROLLBACK; INSERT INTO d VALUES (12, 'kept')");
    assert_eq!(
        follower.lines().await,
        ["insert public.d: -> 12 \"kept\""],
        "nothing of what was rolled back"
    );
    cluster.sql("INSERT INTO i VALUES (1, 'x', 'a')");
    let transaction = follower.transaction().await.expect("one");
    let table = &transaction.changes[0].table;
    assert_eq!((table.replica_identity, &table.primary_key[..]), (ReplicaIdentity::Index, &[0][..]));
    let age =
        format!("SELECT abs(extract(epoch FROM now()) * 1000000 - {}) < 600000000", transaction.commit_us);
    assert_eq!(cluster.sql(&age), "t", "commit time in Unix microseconds");
    assert_eq!(transaction.changes[0].op, Operation::Insert);
}

#[tokio::test]
async fn tables_change_while_they_are_followed() {
    let (cluster, mut follower) = follow(
        "CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE DOMAIN amount AS numeric(12, 2);
         CREATE TABLE t (id int PRIMARY KEY, m mood, tags text[]);
         CREATE PUBLICATION tailhook FOR TABLE t",
    )
    .await;
    let mut said = async |sql: &str| {
        cluster.sql(sql);
        follower.lines().await.join("; ")
    };
    assert_eq!(
        said("INSERT INTO t VALUES (1, 'sad', '{a,\"b,c\",NULL}')").await,
        "insert public.t: -> 1 \"sad\" [\"a\", \"b,c\", null]"
    );
    assert_eq!(
        said("ALTER TABLE t ADD COLUMN total amount DEFAULT 5, ADD moods mood[]; UPDATE t SET moods = '{sad,happy}'").await,
        "update public.t: -> 1 \"sad\" [\"a\", \"b,c\", null] 5.00 [\"sad\", \"happy\"]"
    );
    assert_eq!(
        said("ALTER TABLE t DROP COLUMN tags; UPDATE t SET m = 'happy'").await,
        "update public.t: -> 1 \"happy\" 5.00 [\"sad\", \"happy\"]"
    );
    assert_eq!(said("ALTER TABLE t RENAME COLUMN m TO feeling; ALTER TABLE t RENAME TO u; INSERT INTO u (id) VALUES (2)").await, "insert public.u: -> 2 - 5.00 -");
    // the text is rendered as the type that it had when it was written
    assert_eq!(
        said(
            "ALTER TABLE u ADD n int DEFAULT 7; UPDATE u SET n = 8 WHERE id = 2; \
             ALTER TABLE u ALTER COLUMN n TYPE text"
        )
        .await,
        "update public.u: -> 2 - 5.00 - 8"
    );
    // written, then dropped before it is read
    cluster.sql(
        "BEGIN; CREATE TABLE gone (id uuid PRIMARY KEY, at timestamptz); ALTER PUBLICATION tailhook ADD TABLE gone; COMMIT",
    );
    assert_eq!(
        said(
            "INSERT INTO gone VALUES ('0192f0c1-0000-7000-8000-000000000000', '2026-02-14 10:30:00Z'); DROP TABLE gone"
        )
        .await,
        "insert public.gone: -> \"0192f0c1-0000-7000-8000-000000000000\" \"2026-02-14T10:30:00+00:00\""
    );
}

#[tokio::test]
async fn unchanged_toast_is_not_sent() {
    let (cluster, mut follower) = follow(
        "CREATE TABLE t (id int PRIMARY KEY, big text, n int);
         ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         CREATE PUBLICATION tailhook FOR TABLE t;
         INSERT INTO t VALUES (1, repeat('x', 100000), 1)",
    )
    .await;
    cluster.sql("UPDATE t SET n = 2");
    assert_eq!(follower.lines().await, ["update public.t: -> 1 ? 2"]);
    cluster.sql("UPDATE t SET big = repeat('y', 3000)");
    assert_eq!(follower.lines().await, [format!("update public.t: -> 1 \"{}\" 2", "y".repeat(3000))]);
    cluster.sql("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = 3");
    assert_eq!(
        follower.lines().await,
        [format!("update public.t: 1 \"{}\" 2 -> 1 ? 3", "y".repeat(3000))],
        "even with the whole old row"
    );
}

#[tokio::test]
async fn a_large_transaction_and_a_burst_of_small_ones() {
    let (cluster, mut follower) =
        follow("CREATE TABLE t (id int PRIMARY KEY, n text); CREATE PUBLICATION tailhook FOR TABLE t").await;
    cluster.sql("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 50000) i");
    let large = follower.transaction().await.expect("the large one");
    assert_eq!(large.changes.len(), 50_000);
    cluster
        .sql("DO $$ BEGIN FOR i IN 1..3000 LOOP UPDATE t SET n = i WHERE id = i; COMMIT; END LOOP; END $$");
    let mut last = large.end_lsn;
    for number in 1..=3000 {
        let transaction = follower.transaction().await.expect("a small one");
        assert!(transaction.commit_lsn >= last && transaction.changes.len() == 1, "number {number}");
        last = transaction.end_lsn;
    }
}

#[tokio::test]
async fn partitions_and_messages() {
    let (cluster, mut follower) = follow(
        "CREATE TABLE p (id int PRIMARY KEY, n text) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         CREATE PUBLICATION tailhook FOR TABLE p WITH (publish_via_partition_root = true)",
    )
    .await;
    cluster.sql("SELECT pg_logical_emit_message(true, 'tailhook.heartbeat', ''), pg_logical_emit_message(false, 'x', repeat('y', 1000))");
    cluster.sql("INSERT INTO p VALUES (1, 'a'), (11, 'b')");
    assert_eq!(follower.lines().await, ["insert public.p: -> 1 \"a\"", "insert public.p: -> 11 \"b\""]);
    cluster.sql("UPDATE p SET id = 12 WHERE id = 1");
    assert_eq!(follower.lines().await, ["delete public.p: 1 ? ->", "insert public.p: -> 12 \"a\""]);
}

/// An idle ERP on a busy cluster: its slot moves on because the heartbeat is a transaction that the stream shows.
#[tokio::test]
async fn the_heartbeat_comes_through_the_stream() {
    let (cluster, mut follower) =
        follow("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t").await;
    let session = Session::connect(&cluster.url("postgres"), Patience::ADMIN).await.expect("connects");
    slot::heartbeat(session.client()).await.expect("is written");
    loop {
        let Frame::Wal { data, .. } = soon(follower.source.next()).await.expect("the stream") else {
            continue;
        };
        if data.windows(18).any(|bytes| bytes == b"tailhook.heartbeat") {
            return;
        }
    }
}
