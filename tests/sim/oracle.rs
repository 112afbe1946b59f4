//! The ground truth: which events and deliveries a history owes, computed from the ERP's whole rows alone. Knows
//! nothing of the code under test but the words of the contract.
use crate::encode::unchanged;
use crate::erp::{Cells, Op, Rows, Span, Txn};
use crate::lapses::Excused;
use crate::rules::{CONST_TENANT, RULES, Rule};
use crate::schema::{SUBSCRIPTIONS, TABLES, json};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One event that is owed.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) name: &'static str,
    pub(crate) table: usize,
    pub(crate) tenant: String,
    pub(crate) resource_type: &'static str,
    /// `None`: the event is about a whole table.
    pub(crate) resource_id: Option<String>,
    pub(crate) lsn: u64,
    pub(crate) commit_us: i64,
    pub(crate) data: Map<String, Value>,
    /// Keys of `data` that were never sent whole in this transaction: they may be in `unchanged` instead.
    pub(crate) may_lack: BTreeSet<String>,
    /// Subscriptions active at its commit that ask for it.
    pub(crate) subscriptions: BTreeSet<String>,
    /// Number of its first matching change and rule: its place in the transaction.
    pub(crate) place: (usize, usize),
    /// It lies in a gap of its table that was announced.
    pub(crate) excused: bool,
}

/// A subscription's row in time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) urls: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
    /// Custom headers, as JSON.
    pub(crate) headers: BTreeSet<String>,
    /// Asked for order at all times.
    pub(crate) ordered: bool,
    /// LSNs of commits from which it was not active, or another tenant's.
    pub(crate) ended: Vec<u64>,
}

/// What a history comes to.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) owed: Vec<Owed>,
    pub(crate) wishes: BTreeMap<String, Wish>,
}

/// `*`, `prefix.*` or a name.
fn asks(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

impl Truth {
    /// The truth for somebody who follows these stretches.
    pub(crate) fn of(txns: &[Txn], spans: &[Span], excused: &Excused) -> Self {
        let mut truth = Self::default();
        let mut rows = Rows::new();
        for txn in txns {
            let events = of_transaction(txn);
            let before: BTreeSet<_> = active(&rows).map(whose).collect();
            for op in &txn.ops {
                op.apply(&mut rows);
                truth.learn(op);
            }
            let after: BTreeSet<_> = active(&rows).map(whose).collect();
            for (gone, _) in before.difference(&after) {
                truth.wishes.entry(gone.clone()).or_default().ended.push(txn.commit);
            }
            if !spans.iter().any(|span| span.holds(txn.commit)) {
                continue;
            }
            for mut event in events {
                let asking = active(&rows).filter(|c| {
                    c[1].as_deref() == Some(&event.tenant) && asks(c[2].as_deref().unwrap(), event.name)
                });
                event.subscriptions = asking.map(id).collect();
                event.excused = excused.holds(event.table, txn.commit);
                truth.owed.push(event);
            }
        }
        truth
    }

    fn learn(&mut self, op: &Op) {
        let (Op::Insert { table: SUBSCRIPTIONS, new, .. } | Op::Update { table: SUBSCRIPTIONS, new, .. }) =
            op
        else {
            return;
        };
        let fresh = Wish { ordered: true, ..Wish::default() };
        let wish = self.wishes.entry(id(new)).or_insert(fresh);
        wish.urls.extend(new[3].clone());
        wish.secrets.extend(new[4].clone());
        let options: Value =
            new[8].as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        wish.headers.insert(options.get("headers").map_or_else(|| "{}".to_owned(), Value::to_string));
        wish.ordered &= !new[8].as_deref().is_some_and(|o| o.contains("none"));
    }
}

fn id(cells: &Cells) -> String {
    cells[0].clone().unwrap()
}

fn whose(cells: &Cells) -> (String, Option<String>) {
    (id(cells), cells[1].clone())
}

/// The rows of subscriptions that are active now.
fn active(rows: &Rows) -> impl Iterator<Item = &Cells> {
    rows.range((SUBSCRIPTIONS, 0)..(SUBSCRIPTIONS + 1, 0))
        .map(|(_, cells)| cells)
        .filter(|c| c[5].as_deref() == Some("t"))
}

/// The images of one row in a transaction.
struct Images<'a> {
    last: &'a Cells,
    /// Columns sent whole at least once.
    sent: BTreeSet<usize>,
}

fn row_of(op: &Op) -> Option<(usize, u64)> {
    match op {
        Op::Insert { table, row, .. } | Op::Update { table, row, .. } | Op::Delete { table, row, .. } => {
            Some((*table, *row))
        }
        Op::Truncate { .. } => None,
    }
}

fn look<'a>(images: &mut BTreeMap<(usize, u64), Images<'a>>, op: &'a Op) {
    let Some(row) = row_of(op) else { return };
    let full = TABLES[op.table()].identity == b'f';
    match op {
        Op::Insert { new, .. } => {
            images.insert(row, Images { last: new, sent: (0..new.len()).collect() });
        }
        Op::Update { old, new, .. } => {
            let known = images.entry(row).or_insert(Images { last: new, sent: BTreeSet::new() });
            known.last = new;
            known.sent.extend((0..new.len()).filter(|i| full || !unchanged(old, new, *i)));
        }
        Op::Delete { old, .. } => {
            images.entry(row).or_insert(Images { last: old, sent: BTreeSet::new() });
        }
        Op::Truncate { .. } => {}
    }
}

fn of_transaction(txn: &Txn) -> Vec<Owed> {
    let mut committed = BTreeMap::new();
    txn.ops.iter().for_each(|op| look(&mut committed, op));
    let mut so_far = BTreeMap::new();
    let mut given = BTreeSet::new();
    let mut owed = Vec::new();
    for (number, op) in txn.ops.iter().enumerate() {
        look(&mut so_far, op);
        for (rule_number, rule) in RULES.iter().enumerate() {
            if rule.table != op.table() || !(rule.matches)(op) {
                continue;
            }
            if rule.at_commit && !given.insert((rule_number, row_of(op))) {
                continue;
            }
            let images = if rule.at_commit { &committed } else { &so_far };
            let images = row_of(op).and_then(|row| images.get(&row));
            owed.push(event(txn, rule, images, (number, rule_number)));
        }
    }
    owed
}

fn event(txn: &Txn, rule: &Rule, images: Option<&Images<'_>>, place: (usize, usize)) -> Owed {
    let spec = &TABLES[rule.table];
    let value = |column: &str| images.and_then(|i| i.last[spec.column(column)].as_deref());
    let mut data = Map::new();
    let mut may_lack = BTreeSet::new();
    for (key, column) in rule.data {
        let at = spec.column(column);
        data.insert((*key).to_owned(), json(spec.columns[at].1, value(column)));
        if images.is_some_and(|i| !i.sent.contains(&at)) && rule.name != "invoice.deleted" {
            may_lack.insert((*column).to_owned());
        }
    }
    let ids: Vec<&str> = rule.resource.1.iter().filter_map(|c| value(c)).collect();
    Owed {
        name: rule.name,
        tenant: images.map_or(CONST_TENANT, |_| value("tenant_id").unwrap_or_default()).to_owned(),
        resource_type: rule.resource.0,
        resource_id: (!ids.is_empty()).then(|| ids.join(",")),
        lsn: txn.commit,
        commit_us: txn.commit_us,
        data,
        may_lack,
        subscriptions: BTreeSet::new(),
        place,
        table: rule.table,
        excused: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erp::{Erp, LENGTH};
    use crate::rng::Rng;
    use crate::schema::INVOICES;

    fn invoice(id: &str, number: Option<&str>, status: &str) -> Cells {
        let text = |t: &str| Some(t.to_owned());
        vec![text(id), text("t1"), number.map(str::to_owned), text("5.00"), text(status), None]
    }
    fn txn(at: u64, ops: Vec<Op>) -> Txn {
        Txn { xid: 1, begin: at - 1, commit: at, end: at + 8, at_ms: at, commit_us: 0, ops }
    }

    #[test]
    fn one_event_a_row_and_transaction_with_the_row_as_committed() {
        let (draft, sent) = (invoice("a", None, "draft"), invoice("a", Some("F-1"), "sent"));
        let ops = vec![
            Op::Insert { table: INVOICES, row: 1, new: draft.clone() },
            Op::Update { table: INVOICES, row: 1, old: draft.clone(), new: sent.clone() },
            Op::Update { table: INVOICES, row: 1, old: sent.clone(), new: sent.clone() },
        ];
        let truth = Truth::of(&[txn(10, ops)], &[Span::from(0)], &Excused::default());
        let names: Vec<&str> = truth.owed.iter().map(|o| o.name).collect();
        assert_eq!(names, ["invoice.created", "invoice.sent", "invoice.moved", "invoice.noted"]);
        assert_eq!(truth.owed[0].data["invoice_number"], "F-1");
    }

    #[test]
    fn subscriptions_count_from_their_own_commit() {
        let text = |t: &str| Some(t.to_owned());
        let mut wish =
            vec![text("s"), text("t1"), text("invoice.*"), text("u"), text("x"), text("t"), None, None, None];
        let asked = Op::Insert { table: SUBSCRIPTIONS, row: 9, new: wish.clone() };
        let old = wish.clone();
        wish[5] = text("f");
        let ended = Op::Update { table: SUBSCRIPTIONS, row: 9, old, new: wish };
        let made = |row: u64| Op::Insert { table: INVOICES, row, new: invoice("a", None, "draft") };
        let history = [
            txn(10, vec![made(1)]),
            txn(20, vec![made(2), asked]),
            txn(30, vec![made(3)]),
            txn(40, vec![ended, made(4)]),
        ];
        let counts = |spans: &[Span]| -> Vec<usize> {
            Truth::of(&history, spans, &Excused::default())
                .owed
                .iter()
                .map(|o| o.subscriptions.len())
                .collect()
        };
        let (whole, gap) = (Span::from(20), [Span { from: 20, to: 30 }, Span::from(40)]);
        assert_eq!(counts(&[whole]), [1, 1, 0], "active from its own transaction to before its end");
        assert_eq!(counts(&gap), [1, 0], "nothing is owed of a gap");
    }

    #[test]
    fn every_seed_owes_a_hundred_events_of_every_kind() {
        let (mut names, mut ended) = (BTreeSet::new(), 0);
        for seed in 0..40 {
            let (txns, _) = Erp::new(Rng::new(seed)).history(LENGTH.0 as usize);
            let truth = Truth::of(&txns, &[Span::from(txns[1].commit)], &Excused::default());
            let asked = truth.owed.iter().filter(|o| !o.subscriptions.is_empty()).count();
            assert!(truth.owed.len() >= 100 && asked >= 60, "seed {seed}: {asked} of {}", truth.owed.len());
            names.extend(truth.owed.iter().map(|o| o.name));
            ended += usize::from(truth.wishes.values().any(|w| !w.ended.is_empty()));
        }
        assert_eq!(names.len(), RULES.len());
        assert!(ended >= 30, "subscriptions end in only {ended} of 40 histories");
    }
}
