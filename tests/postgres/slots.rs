//! The life of a slot: made with a snapshot, dropped, taken by others, lost, and a server that restarts under it.
use crate::cluster::{Cluster, Options};
use crate::follower::{Follower, soon, source};
use std::sync::Arc;
use tailhook::capture::{Feedback, FillRow, Frame, Memory, Source, SourceError, Verdict, judge};
use tailhook::domain::Lsn;
use tailhook::store::Identity;

fn confirmed(cluster: &Cluster) -> Lsn {
    cluster.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots").parse().expect("an LSN")
}

fn identity(cluster: &Cluster) -> Identity {
    Identity {
        system_id: cluster.sql("SELECT system_identifier FROM pg_control_system()"),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [0; 16],
        shadow_plan: String::new(),
    }
}

#[tokio::test]
async fn a_new_slot_has_a_snapshot_of_what_was_before_it() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut source = source(&cluster, &cluster.url("postgres"));
    assert!(matches!(source.fill().await, Err(SourceError::Retry(_))), "no slot, no snapshot");
    let survey = source.survey().await.expect("connects");
    assert_eq!(judge("tailhook", Memory::Empty, &survey), Verdict::FirstStart);
    let point = source.create_slot(&[]).await.expect("a slot");
    cluster.sql("INSERT INTO t VALUES (3)");
    let ids: Vec<_> = source
        .fill()
        .await
        .expect("rows")
        .into_iter()
        .map(|row| match row {
            FillRow::Shadow(_, id, _) => String::from_utf8_lossy(&id).into_owned(),
            FillRow::Subscription(_) => panic!("there are none"),
        })
        .collect();
    assert_eq!(ids, ["1", "2"], "not what came after the slot");
    assert_eq!(source.fill().await, Ok(Vec::new()), "complete");
    assert!(matches!(source.fill().await, Err(SourceError::Retry(_))), "only once");
    assert!(matches!(source.create_slot(&[]).await, Err(SourceError::Retry(_))), "it exists");
    let survey = source.survey().await.expect("connects");
    let state = survey.slot.clone().expect("the slot");
    assert_eq!((state.plugin.as_str(), state.database.as_str(), state.confirmed), ("pgoutput", "erp", point));
    assert_eq!((state.wal_status.as_str(), state.active_pid), ("reserved", None));
    let identity = identity(&cluster);
    assert_eq!(judge("tailhook", Memory::Filling(&identity), &survey), Verdict::Refill);
    assert_eq!(
        judge("tailhook", Memory::Following(&identity, point), &survey),
        Verdict::Start { from: point }
    );
    source.drop_slot().await.expect("drops");
    let survey = source.survey().await.expect("connects");
    assert_eq!(survey.slot, None);
    let verdict = judge("tailhook", Memory::Following(&identity, point), &survey);
    assert!(matches!(verdict, Verdict::Gap(gap) if gap.from == point));
    let SourceError::Gap(line) = source.start(point).await.expect_err("no slot") else { panic!("a gap") };
    assert_eq!(line, "slot \"tailhook\" does not exist (42704)");
}

#[tokio::test]
async fn what_is_confirmed_and_who_else_is_there() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    let before = confirmed(&cluster);
    cluster.sql("INSERT INTO t VALUES (1)");
    let first = follower.transaction().await.expect("the insert");
    assert!(first.commit_lsn < first.end_lsn && first.changes.len() == 1);
    assert_eq!(confirmed(&cluster), before, "received is not confirmed");
    let mut other = source(&cluster, &cluster.url("postgres"));
    let survey = other.survey().await.expect("connects");
    let pid = survey.slot.as_ref().and_then(|slot| slot.active_pid).expect("busy");
    let identity = identity(&cluster);
    assert_eq!(judge("tailhook", Memory::Following(&identity, before), &survey), Verdict::Wait { pid });
    let SourceError::Retry(line) = other.start(before).await.expect_err("busy") else {
        panic!("worth a retry")
    };
    assert!(line.contains(&pid.to_string()), "{line}");
    follower
        .source
        .feedback(Feedback { written: first.end_lsn, flushed: first.end_lsn })
        .await
        .expect("told");
    soon(async {
        while confirmed(&cluster) != first.end_lsn {
            follower.source.next().await.expect("keepalives");
        }
    })
    .await;
    // what was confirmed does not come again, what was not does
    cluster.sql("INSERT INTO t VALUES (2)");
    let second = follower.transaction().await.expect("the second");
    follower.source.stop().await;
    follower.source.stop().await;
    assert!(
        other.survey().await.expect("connects").slot.is_some_and(|slot| slot.active_pid.is_none()),
        "free at once"
    );
    follower.resume(first.end_lsn).await.expect("streams");
    assert_eq!(follower.transaction().await.expect("again"), second);
    // somebody else moves the slot on
    follower.source.stop().await;
    cluster.sql(
        "INSERT INTO t VALUES (3); SELECT pg_replication_slot_advance('tailhook', pg_current_wal_lsn())",
    );
    let survey = other.survey().await.expect("connects");
    let verdict = judge("tailhook", Memory::Following(&identity, first.end_lsn), &survey);
    let Verdict::Gap(gap) = verdict else { panic!("{verdict:?}") };
    assert_eq!((gap.from, gap.to), (first.end_lsn, confirmed(&cluster)));
}

#[tokio::test]
async fn keepalives_are_asked_for_and_answered() {
    let cluster =
        Arc::new(Cluster::with(Options { method: "trust", settings: &["wal_sender_timeout = 1s"] }));
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.socket_url("postgres"))).await;
    // unanswered, the server would end the stream after a second
    let mut answered = 0;
    while answered < 5 {
        let frame = soon(follower.source.next()).await.expect("still there");
        if let Frame::Keepalive { end, reply: true } = frame {
            follower.source.feedback(Feedback { written: end, flushed: end }).await.expect("told");
            answered += 1;
        }
    }
    cluster.sql("INSERT INTO t VALUES (1)");
    assert_eq!(follower.lines().await, ["insert public.t: -> 1"]);
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nothing() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    cluster.sql("INSERT INTO t VALUES (1)");
    let first = follower.transaction().await.expect("the insert");
    for (number, mode) in ["immediate", "fast"].into_iter().enumerate() {
        if mode == "fast" {
            // a fast shutdown waits for what was sent to be confirmed
            let flushed = cluster.sql("SELECT pg_current_wal_flush_lsn() + 0x100000::bigint").parse();
            let flushed: Lsn = flushed.unwrap_or(first.end_lsn);
            follower
                .source
                .feedback(Feedback { written: flushed, flushed: first.end_lsn })
                .await
                .expect("told");
            follower.source.stop().await;
        }
        cluster.stop(mode);
        let error = follower.transaction().await.expect_err("gone");
        assert!(matches!(error, SourceError::Retry(_)), "{mode}: {error}");
        let error = follower.source.survey().await.expect_err("still gone");
        assert!(matches!(error, SourceError::Retry(_)), "{mode}: {error}");
        cluster.up();
        follower.resume(first.end_lsn).await.expect("back");
        cluster.sql(&format!("INSERT INTO t VALUES ({})", number + 2));
        for id in 2..number + 3 {
            assert_eq!(follower.lines().await, [format!("insert public.t: -> {id}")]);
        }
    }
}

#[tokio::test]
async fn a_slot_that_has_lost_its_wal() {
    let settings = &["max_slot_wal_keep_size = 1MB", "min_wal_size = 32MB", "max_wal_size = 32MB"];
    let cluster = Arc::new(Cluster::with(Options { method: "trust", settings }));
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    follower.source.stop().await;
    for _ in 0..4 {
        cluster.sql("SELECT pg_logical_emit_message(true, 'x', 'x'); SELECT pg_switch_wal()");
        cluster.sql("CHECKPOINT");
    }
    let survey = follower.source.survey().await.expect("connects");
    assert_eq!(survey.slot.as_ref().map(|slot| slot.wal_status.as_str()), Some("lost"));
    let identity = identity(&cluster);
    let position = survey.slot.as_ref().expect("a slot").confirmed;
    let verdict = judge("tailhook", Memory::Following(&identity, position), &survey);
    assert!(matches!(&verdict, Verdict::Gap(gap) if gap.reason.contains("has lost its WAL")), "{verdict:?}");
    let error = follower.source.start(position).await.expect_err("lost");
    assert!(matches!(error, SourceError::Gap(_)), "{error}");
}

#[tokio::test]
async fn a_publication_that_does_not_exist_is_named() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    cluster.sql("INSERT INTO t VALUES (1)");
    let error = follower.transaction().await.expect_err("no publication");
    let SourceError::Operator(line) = error else { panic!("{error}") };
    assert!(line.contains("publication \"tailhook\" must exist"), "{line}");
}
