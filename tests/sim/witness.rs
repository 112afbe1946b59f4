//! A second reading of the same WAL, from memory alone and without faults: ids and bodies must be the same through
//! crash, replay and restart, so this reading must give exactly what the sidecar sent. Knows no store and no network.
use crate::encode;
use crate::erp::{Op, Rows, Span, Txn};
use crate::lapses::Excused;
use crate::ledger::Ledger;
use crate::schema::{TABLES, TableSpec, json};
use crate::wiring;
use crate::world::World;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Mutex;
use tailhook::capture::FillRow;
use tailhook::capture::decode::transaction::{Assembler, Step};
use tailhook::domain::{Cell, Event, EventId, Lsn, Sequence, Transaction};
use tailhook::mapping::{Mapping, ShadowChange};

type Shadow = BTreeMap<(String, Vec<u8>), Bytes>;

fn cell(spec: &TableSpec, column: &str, text: Option<&str>) -> Cell {
    match text {
        None => Cell::Null,
        text => Cell::Json(json(spec.columns[spec.column(column)].1, text).to_string().into()),
    }
}

/// What the first snapshot makes the shadow remember.
pub(crate) fn remembered(mapping: &Mapping, rows: &Rows) -> Vec<FillRow> {
    let mut filled = Vec::new();
    for ((table, _), cells) in rows {
        let spec = &TABLES[*table];
        let Some(plan) = mapping.plan().table(&format!("{}.{}", spec.schema, spec.name)) else { continue };
        let value = |column: &str| cell(spec, column, cells[spec.column(column)].as_deref());
        let key: Vec<Cell> = spec.columns.iter().filter(|c| c.2).map(|c| value(c.0)).collect();
        let tracked: Vec<Cell> = plan.columns.iter().map(|column| value(column)).collect();
        let (key, tracked) = plan.encode_row(&key, &tracked).unwrap();
        filled.push(FillRow::Shadow(plan.table.clone(), key, tracked));
    }
    filled
}

/// The transaction as capture would assemble it.
fn decode(txn: &Txn) -> Transaction {
    let mut assembler = Assembler::new(1 << 24);
    let tables: BTreeSet<usize> = txn.ops.iter().map(Op::table).collect();
    let relations = tables.iter().map(|table| encode::relation(&TABLES[*table]));
    let messages = std::iter::once(encode::begin(txn))
        .chain(relations)
        .chain(txn.ops.iter().map(encode::change))
        .chain([encode::commit(txn)]);
    for message in messages {
        match assembler.feed(Lsn(txn.commit), message).unwrap() {
            Step::Describe(oid) => {
                assembler.described(&TABLES.iter().find(|t| t.oid == oid).unwrap().describe());
            }
            Step::Transaction(transaction) => return *transaction,
            Step::Nothing => {}
        }
    }
    unreachable!("a transaction ends with its commit")
}

/// Every event of one followed stretch of the WAL.
fn events(mapping: &Mapping, txns: &[Txn], span: Span) -> BTreeMap<EventId, Event> {
    let (before, after) = txns.split_at(txns.partition_point(|txn| txn.commit < span.from));
    let after = &after[..after.partition_point(|txn| txn.commit < span.to)];
    let mut rows = Rows::new();
    before.iter().flat_map(|txn| &txn.ops).for_each(|op| op.apply(&mut rows));
    let mut shadow = Shadow::new();
    for row in remembered(mapping, &rows) {
        if let FillRow::Shadow(table, key, columns) = row {
            shadow.insert((table.to_string(), key.to_vec()), columns);
        }
    }
    let shadow = Mutex::new(shadow);
    let look = |table: &str, key: &[u8]| {
        Ok::<_, Infallible>(shadow.lock().unwrap().get(&(table.to_owned(), key.to_vec())).cloned())
    };
    let mut given = BTreeMap::new();
    for txn in after {
        let derived = mapping.derive(&decode(txn), &wiring::context(), &look).unwrap();
        given.extend(derived.events.into_iter().map(|event| (event.id, event)));
        let mut shadow = shadow.lock().unwrap();
        for change in derived.shadow {
            match change {
                ShadowChange::Put { table, key, columns } => {
                    shadow.insert((table.to_string(), key.to_vec()), columns);
                }
                ShadowChange::Forget { table, key } => {
                    shadow.remove(&(table.to_string(), key.to_vec()));
                }
                ShadowChange::Clear { table } => shadow.retain(|(of, _), _| **of != *table),
            }
        }
    }
    given
}

fn is_but_for_its_number(again: &Event, event: &Event) -> bool {
    let sequence = Sequence { number: again.sequence.number, ..event.sequence };
    *again == Event { sequence, ..event.clone() }
}

/// What the sidecar has in its ledger must be what this reading gives.
pub(crate) fn agrees(
    world: &World,
    mapping: &Mapping,
    txns: &[Txn],
    (spans, excused): (&[Span], &Excused),
    ledger: &Ledger,
) {
    let mut given = BTreeMap::new();
    for span in spans {
        given.extend(events(mapping, txns, *span));
    }
    for (_, event) in ledger {
        match given.get(&event.id) {
            Some(again) if again == &**event => {}
            // beside events that a gap of their table swallowed it has another number
            Some(again) if excused.touches(event.sequence.lsn.0) && is_but_for_its_number(again, event) => {}
            Some(_) => {
                world.violated(format!("event {} is another one when the WAL is read again", event.id));
            }
            None => world.violated(format!(
                "event {} ({}) has another id when the WAL is read again",
                event.id, event.name
            )),
        }
    }
}

/// What the rules mean, said twice: the mapping and the plain code of `rules` and `oracle` agree on every history.
#[tokio::test(start_paused = true)]
async fn the_mapping_derives_the_truth() {
    use crate::erp::{Erp, LENGTH};
    use crate::plan::Plan;
    let sidecar = wiring::Sidecar::new();
    for seed in 0..100 {
        let world = World::new(&Plan::whole(seed), false);
        let (mut txns, _) = Erp::new(world.rng.fork()).history(LENGTH.0 as usize);
        // nobody needs to have asked
        for txn in &mut txns {
            txn.ops.retain(|op| op.table() != crate::schema::SUBSCRIPTIONS);
        }
        let span = Span::from(txns[2].commit);
        let truth = crate::oracle::Truth::of(&txns, &[span], &Excused::default());
        let events = events(&sidecar.mapping, &txns, span);
        let given = events.iter().map(|(id, event)| (*id, (event, BTreeSet::new()))).collect();
        let owed: Vec<_> = truth.owed.iter().collect();
        crate::check::exactly_one_event_a_change(&world, &owed, &given);
        assert_eq!(world.wrong(), Vec::<String>::new(), "seed {seed}");
    }
}
