//! The life of a slot: made with a snapshot, dropped, taken by others, lost, and a server that restarts under it.
use crate::cluster::{Cluster, Options};
use crate::follower::{Follower, soon, source};
use std::sync::Arc;
use tailhook::capture::follow::slot::KnownHistory;
use tailhook::capture::{Feedback, FillRow, Frame, PostgresSource, Source, SourceError, Verdict, judge};
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

async fn filled(source: &mut PostgresSource) -> Vec<String> {
    let row = |row| match row {
        FillRow::Shadow(_, id, _) => String::from_utf8_lossy(&id).into_owned(),
        FillRow::Subscription(_) => panic!("there are none"),
    };
    source.fill().await.expect("rows").into_iter().map(row).collect()
}

#[tokio::test]
async fn a_new_slot_has_a_snapshot_of_what_was_before_it() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut source = source(&cluster, &cluster.url("postgres"));
    assert!(matches!(source.fill().await, Err(SourceError::Retry(_))), "no slot, no snapshot");
    let survey = source.survey().await.expect("connects");
    assert_eq!(judge("tailhook", KnownHistory::Empty, &survey), Verdict::FirstStart);
    let point = source.create_slot(&[]).await.expect("a slot");
    cluster.sql("INSERT INTO t VALUES (3)");
    let ids = filled(&mut source).await;
    assert_eq!(ids, ["1", "2"], "not what came after the slot");
    assert_eq!(source.fill().await, Ok(Vec::new()), "complete");
    assert!(matches!(source.fill().await, Err(SourceError::Retry(_))), "only once");
    assert!(matches!(source.create_slot(&[]).await, Err(SourceError::Retry(_))), "it exists");
    let survey = source.survey().await.expect("connects");
    let state = survey.slot.clone().expect("the slot");
    assert_eq!((state.plugin.as_str(), state.database.as_str(), state.confirmed), ("pgoutput", "erp", point));
    assert_eq!((state.wal_status.as_str(), state.active_pid), ("reserved", None));
    let identity = identity(&cluster);
    assert_eq!(judge("tailhook", KnownHistory::Filling(&identity), &survey), Verdict::Refill);
    assert_eq!(
        judge("tailhook", KnownHistory::Following(&identity, point), &survey),
        Verdict::Start { from: point }
    );
    source.drop_slot().await.expect("drops");
    let survey = source.survey().await.expect("connects");
    assert_eq!(survey.slot, None);
    let verdict = judge("tailhook", KnownHistory::Following(&identity, point), &survey);
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
    assert_eq!(judge("tailhook", KnownHistory::Following(&identity, before), &survey), Verdict::Wait { pid });
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
    let verdict = judge("tailhook", KnownHistory::Following(&identity, first.end_lsn), &survey);
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
    // a crash
    cluster.stop("immediate");
    assert!(matches!(follower.transaction().await, Err(SourceError::Retry(_))));
    assert!(matches!(follower.source.survey().await, Err(SourceError::Retry(_))), "still gone");
    cluster.up();
    follower.resume(first.end_lsn).await.expect("back");
    cluster.sql("INSERT INTO t VALUES (2)");
    let second = follower.transaction().await.expect("the second");
    // a fast shutdown waits until all that was sent is confirmed, then ends the stream
    let server = Arc::clone(&cluster);
    let stopping = tokio::task::spawn_blocking(move || server.stop("fast"));
    let error = soon(async {
        loop {
            match follower.source.next().await {
                Ok(Frame::Wal { .. }) => {}
                Ok(Frame::Keepalive { end, .. }) => {
                    let feedback = Feedback { written: end, flushed: end };
                    if let Err(error) = follower.source.feedback(feedback).await {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(error, SourceError::Retry(_)), "{error}");
    stopping.await.expect("stopped");
    cluster.up();
    // the server may have forgotten what was confirmed last; our position counts
    follower.resume(second.end_lsn).await.expect("back");
    cluster.sql("INSERT INTO t VALUES (3)");
    assert_eq!(follower.lines().await, ["insert public.t: -> 3"]);
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
    let verdict = judge("tailhook", KnownHistory::Following(&identity, position), &survey);
    assert!(matches!(&verdict, Verdict::Gap(gap) if gap.reason.contains("has lost its WAL")), "{verdict:?}");
    let error = follower.source.start(position).await.expect_err("lost");
    assert!(matches!(error, SourceError::Gap(_)), "{error}");
}

#[tokio::test]
async fn a_publication_that_did_not_exist_is_a_gap_of_the_slot() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    cluster.sql("INSERT INTO t VALUES (1)");
    let error = follower.transaction().await.expect_err("no publication");
    let SourceError::Gap(line) = error else { panic!("{error}") };
    assert!(line.contains("publication \"tailhook\" did not exist"), "{line}");
    // made since: what was written before still cannot be read, and whoever looks at the server is told so
    cluster.sql("CREATE PUBLICATION tailhook FOR TABLE t");
    let survey = follower.source.survey().await.expect("connects");
    let position = survey.slot.as_ref().expect("a slot").confirmed;
    let verdict = judge("tailhook", KnownHistory::Following(&identity(&cluster), position), &survey);
    assert!(matches!(&verdict, Verdict::Gap(gap) if gap.from == position), "{verdict:?}");
}

#[tokio::test]
async fn a_new_timeline_goes_on_where_the_old_one_was_left() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    cluster.sql("INSERT INTO t VALUES (1)");
    cluster.sql("INSERT INTO t VALUES (2)");
    let first = follower.transaction().await.expect("the first");
    let identity = identity(&cluster);
    follower.source.stop().await;
    cluster.sql("ALTER SYSTEM SET restore_command = 'false'");
    cluster.stop("fast");
    std::fs::write(cluster.data().join("recovery.signal"), "").expect("written");
    cluster.up();
    while cluster.sql("SELECT pg_is_in_recovery()") == "t" {}
    cluster.sql("INSERT INTO t VALUES (3)");
    let survey = follower.source.survey().await.expect("connects");
    let [(1, fork)] = survey.history[..] else { panic!("{:?}", survey.history) };
    assert!(survey.timeline == 2 && fork > first.end_lsn && fork < survey.wal_end, "{survey:?}");
    let judged = |position| judge("tailhook", KnownHistory::Following(&identity, position), &survey);
    assert_eq!(judged(first.end_lsn), Verdict::Start { from: first.end_lsn });
    let beyond = Lsn(fork.0 + 1);
    assert!(matches!(judged(beyond), Verdict::Gap(gap) if (gap.from, gap.to) == (fork, beyond)));
    follower.resume(first.end_lsn).await.expect("streams");
    for id in 2..=3 {
        assert_eq!(follower.lines().await, [format!("insert public.t: -> {id}")]);
    }
}

#[tokio::test]
async fn a_later_snapshot_is_read_while_the_stream_runs() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION tailhook FOR TABLE t");
    let mut follower = Follower::create(source(&cluster, &cluster.url("postgres"))).await;
    let begun = confirmed(&cluster);
    cluster.sql("INSERT INTO t VALUES (1)");
    follower.source.survey().await.expect("connects");
    let point = follower.source.snapshot(&[]).await.expect("a snapshot");
    cluster.sql("INSERT INTO t VALUES (2)");
    follower.source.start(begun).await.expect("streams");
    let before = follower.transaction().await.expect("the first");
    assert_eq!(filled(&mut follower.source).await, ["1"], "as of its point");
    let after = follower.transaction().await.expect("the second");
    assert!(before.commit_lsn < point && point <= after.commit_lsn, "{before:?} {point} {after:?}");
    assert_eq!(cluster.sql("SELECT string_agg(slot_name, ',') FROM pg_replication_slots"), "tailhook");
}
