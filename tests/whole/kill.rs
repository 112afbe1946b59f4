//! kill -9 in the middle of a burst, again and again: every committed change has its event, repeated only with the same
//! id and body.
use crate::rig::{RULES, Rig, TENANT};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tailhook::demo::random::Random;
use tokio::task::JoinSet;

const KILLS: u32 = 20;
const WRITERS: u32 = 4;

/// Commits until told to stop: an invoice, then its transition. Gives the numbers that were committed.
async fn write(
    rig: &Rig,
    writer: u32,
    stop: &Arc<AtomicBool>,
    count: &Arc<AtomicU32>,
    into: &mut JoinSet<Vec<String>>,
) {
    let database = rig.another().await;
    let (stop, count) = (stop.clone(), count.clone());
    into.spawn(async move {
        let mut numbers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let number = format!("{writer}-{}", numbers.len());
            let insert = format!("INSERT INTO invoices (number, tenant_id) VALUES ('{number}', '{TENANT}')");
            database.run(&insert).await.unwrap();
            database
                .run(&format!("UPDATE invoices SET status = 'sent' WHERE number = '{number}'"))
                .await
                .unwrap();
            numbers.push(number);
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        numbers
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_change_has_its_event() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_214);
    let mut random = Random::new(seed);
    let mut rig = Rig::subscribed(RULES).await;
    rig.erp.run("CREATE INDEX ON invoices (number)").await.unwrap();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        write(&rig, writer, &stop, &count, &mut writers).await;
    }
    for _ in 0..KILLS {
        // a moment anywhere from the start to full flight
        tokio::time::sleep(Duration::from_millis(random.below(600) as u64)).await;
        rig.kill();
        rig.start(&[]);
    }
    stop.store(true, Ordering::Relaxed);
    let mut owed = BTreeSet::new();
    while let Some(numbers) = writers.join_next().await {
        for number in numbers.unwrap() {
            owed.insert(format!("invoice.created {number}"));
            owed.insert(format!("invoice.sent {number}"));
        }
    }
    let distinct = |inbox: &crate::rig::Inbox| {
        inbox.look(|all| all.iter().map(|r| r.header("webhook-id").to_owned()).collect::<BTreeSet<_>>().len())
    };
    rig.inbox
        .until(&format!("{} events (seed {seed})", owed.len()), |inbox| distinct(inbox) >= owed.len())
        .await;
    let bodies = rig.inbox.bodies();
    let came: Vec<String> = bodies
        .values()
        .map(|body| {
            format!("{} {}", body["event"].as_str().unwrap(), body["data"]["number"].as_str().unwrap())
        })
        .collect();
    assert_eq!(came.len(), owed.len(), "an event has two ids");
    assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), owed);
    let requests = rig.inbox.look(<[_]>::len);
    println!("{KILLS} kills, {} events, {} repeats", owed.len(), requests - owed.len());
    assert!(owed.len() > 200, "the burst was none");
}
