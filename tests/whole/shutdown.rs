//! SIGTERM under load loses nothing and exits 0.
use crate::rig::{RULES, Rig, TENANT};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the time of another process")]
async fn sigterm_under_load_loses_nothing() {
    let mut rig = Rig::subscribed(RULES).await;
    let rows = 3_000;
    let insert = format!(
        "INSERT INTO invoices (number, tenant_id) SELECT n, '{TENANT}' FROM generate_series(1, {rows}) n"
    );
    rig.erp.run(&insert).await.unwrap();
    rig.inbox.until("the first", |inbox| inbox.look(|all| !all.is_empty())).await;
    let began = Instant::now();
    let status = rig.stop().await;
    let took = began.elapsed();
    let by_then = rig.inbox.look(<[_]>::len);
    assert!(status.success(), "{status}\n{}", rig.log());
    // the promise is 10 s; what the machine's noise adds is not ours
    assert!(took < Duration::from_secs(30), "{took:?}");
    rig.start(&[]);
    rig.inbox.until("the rest", |inbox| inbox.events("invoice.created").len() == rows).await;
    println!("stopped in {took:?} after {by_then} of {rows}");
}
