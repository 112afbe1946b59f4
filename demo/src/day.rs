//! The business day: one worker a shop carries its plans out and says what was committed, and when. Knows no webhook.
use crate::database::Database;
use crate::ledger::{Fact, Key};
use crate::shop::{Plan, Shop};
use anyhow::Context;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// A transaction that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What must come of it: nothing of a rolled-back one.
    pub(crate) facts: Vec<Fact>,
    /// When COMMIT (or ROLLBACK) had returned.
    pub(crate) at: Instant,
    /// Whether it was committed.
    pub(crate) committed: bool,
}

/// Works until it is told to close.
pub(crate) async fn work(
    database: Database,
    mut shop: Shop,
    sink: mpsc::Sender<Ended>,
    mut closing: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    while !*closing.borrow_and_update() {
        let plan = shop.next();
        let ended = carry_out(&database, &shop, &plan).await?;
        if sink.send(ended).await.is_err() {
            break;
        }
        tokio::select! {
            biased;
            changed = closing.changed() => if changed.is_err() { break },
            () = sleep(shop.pause()) => {}
        }
    }
    Ok(())
}

async fn carry_out(database: &Database, shop: &Shop, plan: &Plan) -> anyhow::Result<Ended> {
    let tenant = shop.tenant;
    let mut sql =
        format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'; SET LOCAL app.current_tenant_id = '{tenant}';");
    for statement in &plan.statements {
        sql.push_str(statement);
        sql.push(';');
    }
    database.run(&sql).await?;
    if !plan.commit {
        database.run("ROLLBACK").await?;
        return Ok(Ended { facts: Vec::new(), at: Instant::now(), committed: false });
    }
    let facts = facts(database).await?;
    database.run("COMMIT").await?;
    Ok(Ended { facts, at: Instant::now(), committed: true })
}

/// What the trigger has written in this transaction.
async fn facts(database: &Database) -> anyhow::Result<Vec<Fact>> {
    const SQL: &str = "SELECT event, tenant, resource, state FROM audit.facts \
                       WHERE transaction = pg_current_xact_id() ORDER BY number";
    let rows = database.client().query(SQL, &[]).await.context("the audit table cannot be read")?;
    rows.iter()
        .map(|row| {
            let key = Key { event: row.try_get(0)?, tenant: row.try_get(1)?, resource: row.try_get(2)? };
            let state: Value = row.try_get(3)?;
            Ok(Fact { key, state: state.as_object().cloned().unwrap_or_default() })
        })
        .collect()
}
