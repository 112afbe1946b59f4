//! With connections that break, does the simulated stream say what the ERP did? Knows no store.
use crate::disk::Platter;
use crate::encode;
use crate::erp::Txn;
use crate::erp::{Cells, Erp, Op};
use crate::plan::{Kind, Plan};
use crate::postgres::Server;
use crate::schema::TABLES;
use crate::schema::json;
use crate::source::SimSource;
use crate::world::World;
use std::sync::Arc;
use tailhook::capture::decode::transaction::{Assembler, Step};
use tailhook::capture::{Feedback, Frame, Source};
use tailhook::domain::Lsn;
use tailhook::domain::{Cell, Change};

/// Does the decoded change say what the ERP did?
fn same(op: &Op, change: &Change) -> bool {
    let spec = &TABLES[op.table()];
    let says = |cells: &Cells, i: usize, cell: &Cell| match cell {
        Cell::Null => cells[i].is_none(),
        Cell::NotSent => cells[i].as_ref().is_some_and(|v| v.len() > encode::TOASTED),
        Cell::Json(text) => {
            serde_json::from_slice(text).ok() == Some(json(spec.columns[i].1, cells[i].as_deref()))
        }
    };
    let new = match op {
        Op::Insert { new, .. } | Op::Update { new, .. } => Some(new),
        Op::Delete { .. } | Op::Truncate { .. } => None,
    };
    let fits = match (new, &change.new) {
        (Some(cells), Some(image)) => image.iter().enumerate().all(|(i, cell)| says(cells, i, cell)),
        (None, None) => true,
        _ => false,
    };
    fits && change.table.oid == spec.oid
}

/// With connections that break, the transactions come whole, in order, and decode to what was done.
#[tokio::test(start_paused = true)]
async fn the_stream_decodes_to_the_history() {
    let world = World::new(&Plan { without: vec![Kind::Tables], ..Plan::whole(3) }, false);
    let (txns, _) = Erp::new(world.rng.fork()).history(60);
    let server =
        Server::new(&world, &Platter::new(&world), Arc::new(txns.clone()), Box::new(|_| Vec::new()), None);
    let point = server.make_slot();
    let txns: Vec<Txn> = txns.into_iter().filter(|txn| txn.commit >= point).collect();
    let last = txns.last().unwrap().end;
    let (mut from, mut seen, mut breaks) = (Lsn(point), Vec::new(), 0);
    while from.0 < last {
        let mut source = SimSource::new(&server);
        let mut assembler = Assembler::new(1 << 20);
        if source.survey().await.is_err() || source.start(from).await.is_err() {
            continue;
        }
        while from.0 < last {
            let frame = match source.next().await {
                Ok(Frame::Wal { start, data, .. }) => assembler.feed(start, data).unwrap(),
                Ok(Frame::Keepalive { end, .. }) => {
                    let written = end;
                    source.feedback(Feedback { written, flushed: Lsn(0) }).await.ok();
                    continue;
                }
                Err(_) => break,
            };
            match frame {
                Step::Describe(oid) => match source.describe(oid).await {
                    Ok(table) => drop(assembler.described(&table)),
                    Err(_) => break,
                },
                Step::Transaction(txn) => {
                    from = txn.end_lsn;
                    seen.push(txn);
                }
                Step::Nothing => {}
            }
        }
        breaks += 1;
    }
    assert!(breaks > 1, "a stream without a break shows nothing");
    assert_eq!(seen.len(), txns.len());
    for (txn, decoded) in txns.iter().zip(&seen) {
        assert_eq!(
            (txn.xid, txn.commit, txn.commit_us),
            (decoded.xid, decoded.commit_lsn.0, decoded.commit_us)
        );
        assert_eq!(txn.ops.len(), decoded.changes.len(), "{txn:?}");
        assert!(txn.ops.iter().zip(&decoded.changes).all(|(op, change)| same(op, change)), "{decoded:?}");
    }
    // nobody confirms anything here, so every shutdown waits
    assert!(world.wrong().iter().all(|wrong| wrong.contains("held up")), "{:?}", world.wrong());
}
