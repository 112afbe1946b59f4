//! What cannot be prevented is detected, named and never papered over (SPEC 5.7).
use crate::rig::{RULES, Rig, TENANT};
use std::time::Duration;
use tailhook_demo::http;

async fn insert(rig: &Rig, number: &str) {
    rig.erp
        .run(&format!("INSERT INTO invoices (number, tenant_id) VALUES ('{number}', '{TENANT}')"))
        .await
        .unwrap();
}

async fn arrives(rig: &Rig, number: &str) {
    rig.inbox
        .until(number, |inbox| inbox.events("invoice.created").iter().any(|b| b["data"]["number"] == number))
        .await;
}

/// Starts, waits for the gap to be reported, gives its range.
async fn reported(rig: &mut Rig) -> String {
    rig.start(&[]);
    loop {
        if let Some((_, rest)) = rig.log().rsplit_once("--accept-gap=") {
            return rest.split('`').next().unwrap_or_default().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn not_ready(rig: &Rig) -> String {
    let answer = http::request(rig.api.address, "GET", "/readyz", &[], "").await.expect("an answer");
    assert_eq!(answer.status, 503);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_slot_is_a_gap_until_it_is_accepted() {
    let mut rig = Rig::subscribed(RULES).await;
    insert(&rig, "before").await;
    arrives(&rig, "before").await;
    assert!(rig.stop().await.success());
    rig.erp.run("SELECT pg_drop_replication_slot('tailhook')").await.unwrap();
    insert(&rig, "lost").await;
    let range = reported(&mut rig).await;
    assert!(not_ready(&rig).await.contains("gap"), "{}", rig.log());
    let slots = rig.erp.client().query_one("SELECT count(*) FROM pg_replication_slots", &[]).await.unwrap();
    assert_eq!(slots.get::<_, i64>(0), 0, "no slot is made silently");
    rig.kill();
    let before = rig.log().len();
    rig.start(&["--accept-gap=0/1-0/2"]);
    insert(&rig, "still lost").await;
    while !rig.log()[before..].contains("--accept-gap=") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.kill();
    rig.start(&[&format!("--accept-gap={range}")]);
    rig.ready().await;
    insert(&rig, "after").await;
    arrives(&rig, "after").await;
    assert!(rig.inbox.events("invoice.created").iter().all(|b| b["data"]["number"] != "lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advanced_slot_and_an_empty_folder_beside_a_slot_are_gaps() {
    let mut rig = Rig::subscribed(RULES).await;
    insert(&rig, "before").await;
    arrives(&rig, "before").await;
    assert!(rig.stop().await.success());
    insert(&rig, "skipped").await;
    rig.erp.run("SELECT pg_replication_slot_advance('tailhook', pg_current_wal_lsn())").await.unwrap();
    reported(&mut rig).await;
    assert!(not_ready(&rig).await.contains("advanced"), "{}", rig.log());
    rig.kill();
    std::fs::remove_dir_all(rig.folder.path().join("data")).unwrap();
    std::fs::remove_file(rig.folder.path().join("log")).unwrap();
    reported(&mut rig).await;
    assert!(not_ready(&rig).await.contains("empty"), "{}", rig.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused_salvaged_and_then_a_gap() {
    let mut rig = Rig::subscribed(RULES).await;
    for number in ["one", "two"] {
        insert(&rig, number).await;
        arrives(&rig, number).await;
    }
    assert!(rig.stop().await.success());
    let journal = rig.folder.path().join("data/journal-0000000000000001");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(5).position(|word| word == b"\"one\"").unwrap();
    bytes[at + 1] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    for (arguments, fine, says) in [
        (&["run"][..], false, "run `tailhook store verify --salvage`"),
        (&["store", "verify"], false, "lost     frame"),
        (&["store", "verify", "--salvage"], true, "will report a gap from there"),
        (&["store", "verify"], true, "fine"),
    ] {
        let (status, text) = rig.tool(arguments);
        assert!(status.success() == fine && text.contains(says), "{arguments:?}: {text}");
    }
    let range = reported(&mut rig).await;
    assert!(not_ready(&rig).await.contains("left them out"), "{}", rig.log());
    rig.kill();
    rig.start(&[&format!("--accept-gap={range}")]);
    rig.ready().await;
    // shadow and subscriptions were read anew
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number = 'two'").await.unwrap();
    rig.inbox.until("the transition", |inbox| inbox.events("invoice.sent").len() == 1).await;
}

/// Postgres looks a publication up as it was when a change was written: to make it again helps only what comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_publication_is_a_gap_of_the_slot() {
    let mut rig = Rig::subscribed(RULES).await;
    insert(&rig, "before").await;
    arrives(&rig, "before").await;
    rig.erp.run("DROP PUBLICATION tailhook").await.unwrap();
    insert(&rig, "lost").await;
    let migrated = rig.tool(&["migrate", "--url", &rig.cluster.superuser_url("postgres")]);
    assert!(migrated.0.success(), "{}", migrated.1);
    insert(&rig, "also lost").await;
    while !rig.log().contains("--accept-gap=") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(not_ready(&rig).await.contains("was dropped"), "{}", rig.log());
    rig.kill();
    std::fs::remove_file(rig.folder.path().join("log")).unwrap();
    let range = reported(&mut rig).await;
    rig.kill();
    rig.start(&[&format!("--accept-gap={range}")]);
    // it streams for a moment before the gap shows
    while !rig.log().contains(" accepted (") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.ready().await;
    insert(&rig, "after").await;
    arrives(&rig, "after").await;
    let lost = |body: &serde_json::Value| {
        body["data"]["number"].as_str().is_some_and(|number| number.contains("lost"))
    };
    assert!(!rig.inbox.events("invoice.created").iter().any(lost), "{}", rig.log());
}
