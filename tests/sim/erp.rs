//! A small ERP at work: a history of committed transactions, decided by the seed alone. Knows no rules and no wire.
use crate::rng::Rng;
use crate::schema::{CLIENTS, INVOICES, PAYMENTS, STOCK, SUBSCRIPTIONS};
use crate::world::BASE_US;
use std::collections::BTreeMap;

/// A row's values as Postgres writes them as text.
pub(crate) type Cells = Vec<Option<String>>;

/// The rows of all tables; a row keeps its number through key changes.
pub(crate) type Rows = BTreeMap<(usize, u64), Cells>;

/// One change, with whole images: what is left out on the wire is the encoder's business.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Insert { table: usize, row: u64, new: Cells },
    Update { table: usize, row: u64, old: Cells, new: Cells },
    Delete { table: usize, row: u64, old: Cells },
    Truncate { table: usize },
}

impl Op {
    pub(crate) fn table(&self) -> usize {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Truncate { table } => *table,
        }
    }
    pub(crate) fn apply(&self, rows: &mut Rows) {
        match self {
            Self::Insert { table, row, new } | Self::Update { table, row, new, .. } => {
                rows.insert((*table, *row), new.clone());
            }
            Self::Delete { table, row, .. } => {
                rows.remove(&(*table, *row));
            }
            Self::Truncate { table } => rows.retain(|(of, _), _| of != table),
        }
    }
}

/// A committed transaction.
#[derive(Debug, Clone)]
pub(crate) struct Txn {
    pub(crate) xid: u32,
    /// LSN of its first change; may lie before the commit of earlier transactions.
    pub(crate) begin: u64,
    pub(crate) commit: u64,
    pub(crate) end: u64,
    /// When it commits, in milliseconds of the world.
    pub(crate) at_ms: u64,
    pub(crate) commit_us: i64,
    pub(crate) ops: Vec<Op>,
}

/// A stretch of WAL that is followed: commits at or after `from` and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn from(from: u64) -> Self {
        Self { from, to: u64::MAX }
    }
    pub(crate) fn holds(&self, commit: u64) -> bool {
        (self.from..self.to).contains(&commit)
    }
}

/// Makes the history. What rolls back is never made: the server never sends it.
pub(crate) struct Erp {
    rng: Rng,
    /// Who owns a subscription, and its headers.
    aside: Rng,
    rows: Rows,
    serial: u64,
    pub(crate) tenants: Vec<String>,
    urls: Vec<String>,
    lsn: u64,
    at_ms: u64,
    txns: Vec<Txn>,
}

/// How every secret begins before it is sealed.
pub(crate) const CLEAR: &str = "clear-secret-";

/// How the value of every custom header begins.
pub(crate) const HEADER: &str = "clear-header-";

/// Transactions of a history: at least and less than.
pub(crate) const LENGTH: (u64, u64) = (105, 150);

pub(crate) const PATTERNS: [&str; 8] = [
    "*",
    "invoice.*",
    "invoice.created",
    "invoice.sent",
    "payment.received",
    "client.updated",
    "invoice.moved",
    "stock.*",
];

#[allow(clippy::unnecessary_wraps, reason = "cells are options")]
fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

impl Erp {
    pub(crate) fn new(rng: Rng) -> Self {
        let tenants: Vec<String> = (0..3).map(|_| rng.uuid().to_string()).collect();
        let urls = (0..4).map(|i| format!("https://receiver.example/hooks-{i}")).collect();
        let lsn = 0x0100_0000 + rng.below(1 << 34) * 8;
        let aside = rng.aside();
        Self { rng, aside, rows: Rows::new(), serial: 0, tenants, urls, lsn, at_ms: 0, txns: Vec::new() }
    }

    /// Rows and subscriptions that stand before anybody follows, then `length` transactions.
    pub(crate) fn history(mut self, length: usize) -> (Vec<Txn>, Vec<String>) {
        let mut ops: Vec<Op> = Vec::new();
        for tenant in 0..self.tenants.len() {
            let op = self.subscribe(tenant, if tenant == 0 { "*" } else { "invoice.*" });
            ops.push(op);
        }
        for _ in 0..self.rng.range(5, 15) {
            let op = if self.rng.permille(600) { self.invoice() } else { self.client() };
            ops.push(op);
        }
        self.commit(ops);
        // so that most of it is followed, whatever befalls the first snapshot
        self.at_ms = 40_000;
        for number in 0..length {
            self.at_ms += match self.rng.below(100) {
                0..60 => self.rng.below(20),
                60..92 => self.rng.below(400),
                92..99 => self.rng.below(3_000),
                _ => self.rng.below(40_000),
            };
            let mut ops = self.transaction();
            if number % 12 == 11 {
                // whatever was deleted meanwhile: somebody asks for everything
                let tenant = self.rng.below(self.tenants.len() as u64) as usize;
                let op = self.subscribe(tenant, "*");
                ops.push(op);
            }
            self.commit(ops);
        }
        (self.txns, self.tenants)
    }

    fn commit(&mut self, ops: Vec<Op>) {
        let commit = self.lsn + 64 + self.rng.below(500) * 8;
        let begin = commit - self.rng.below(800) * 8;
        self.lsn = commit + 48;
        self.txns.push(Txn {
            xid: 700 + self.txns.len() as u32,
            begin,
            commit,
            end: self.lsn,
            at_ms: self.at_ms,
            commit_us: BASE_US + self.at_ms as i64 * 1000 + self.rng.below(1000) as i64,
            ops,
        });
    }

    fn transaction(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for _ in 0..=self.rng.below(4) {
            match self.rng.below(100) {
                0..26 => {
                    let op = self.invoice();
                    ops.push(op);
                }
                26..58 => ops.extend(self.change(INVOICES, Self::next_invoice)),
                58..64 => ops.extend(self.delete(INVOICES)),
                64..78 => ops.extend(self.payment()),
                78..82 => {
                    let op = self.client();
                    ops.push(op);
                }
                82..88 => ops.extend(self.change(CLIENTS, Self::next_client)),
                88..91 => {
                    let op = self.stock();
                    ops.push(op);
                }
                91 => ops.push(self.truncate(STOCK)),
                92..96 => {
                    let op = self.subscribe_anew();
                    ops.push(op);
                }
                96..99 => ops.extend(self.change(SUBSCRIPTIONS, Self::next_subscription)),
                _ => ops.extend(self.delete(SUBSCRIPTIONS)),
            }
        }
        ops
    }

    fn insert(&mut self, table: usize, new: Cells) -> Op {
        self.serial += 1;
        let op = Op::Insert { table, row: self.serial, new };
        op.apply(&mut self.rows);
        op
    }

    fn truncate(&mut self, table: usize) -> Op {
        let op = Op::Truncate { table };
        op.apply(&mut self.rows);
        op
    }

    /// One of the table's newest rows, so that images of one row meet in a transaction.
    fn row(&self, table: usize) -> Option<(u64, Cells)> {
        let rows: Vec<_> = self.rows.range((table, 0)..(table + 1, 0)).collect();
        let newest = rows.len().saturating_sub(12);
        self.rng.pick(&rows[newest..]).map(|((_, row), cells)| (*row, (*cells).clone()))
    }

    fn change(&mut self, table: usize, next: fn(&mut Self, &mut Cells)) -> Option<Op> {
        let (row, old) = self.row(table)?;
        let mut new = old.clone();
        next(self, &mut new);
        let op = Op::Update { table, row, old, new };
        op.apply(&mut self.rows);
        Some(op)
    }

    fn delete(&mut self, table: usize) -> Option<Op> {
        let (row, old) = self.row(table)?;
        let op = Op::Delete { table, row, old };
        op.apply(&mut self.rows);
        Some(op)
    }

    fn notes(&self) -> Option<String> {
        match self.rng.below(4) {
            0 => None,
            1 => some("x".repeat(2_100 + self.rng.below(50) as usize)),
            _ => some(format!("nota \"{}\" ñ\n\\", self.rng.below(1000))),
        }
    }

    fn invoice(&mut self) -> Op {
        let draft = self.rng.permille(500);
        let new = vec![
            some(self.rng.uuid().to_string()),
            self.rng.pick(&self.tenants).cloned(),
            if draft { None } else { some(format!("F-{}", self.rng.below(10_000))) },
            if draft { None } else { some(format!("{}.{:02}", self.rng.below(9_999), self.rng.below(100))) },
            some("draft"),
            self.notes(),
        ];
        self.insert(INVOICES, new)
    }

    fn next_invoice(&mut self, cells: &mut Cells) {
        match self.rng.below(10) {
            0..2 => cells[2] = some(format!("F-{}", self.rng.below(10_000))),
            2 => cells[3] = some(format!("{}.50", self.rng.below(500))),
            3 => cells[5] = self.notes(),
            4 => cells[0] = some(self.rng.uuid().to_string()),
            5..8 => {
                cells[4] = some("sent");
                let zero = self.rng.permille(150);
                cells[3] =
                    some(if zero { "0.00".to_owned() } else { format!("{}.10", 1 + self.rng.below(900)) });
            }
            _ => cells[4] = some(*self.rng.pick(&["draft", "authorized", "cancelled"]).unwrap()),
        }
    }

    fn payment(&mut self) -> Option<Op> {
        let (_, invoice) = self.row(INVOICES)?;
        let new = vec![
            some((self.serial + 1).to_string()),
            invoice[1].clone(),
            invoice[0].clone(),
            some(format!("{}.25", self.rng.below(100))),
        ];
        Some(self.insert(PAYMENTS, new))
    }

    fn client(&mut self) -> Op {
        let new = vec![
            self.rng.pick(&self.tenants).cloned(),
            some(format!("C{}", self.serial)),
            some(format!("Client {}", self.rng.below(100))),
            self.notes(),
        ];
        self.insert(CLIENTS, new)
    }

    fn next_client(&mut self, cells: &mut Cells) {
        match self.rng.below(4) {
            0 => cells[3] = self.notes(),
            1 => cells[1] = some(format!("C{}-{}", self.serial, self.rng.next())),
            _ => cells[2] = some(format!("Client {}", self.rng.below(100))),
        }
    }

    fn stock(&mut self) -> Op {
        let new = vec![some((self.serial + 1).to_string()), some(self.rng.below(50).to_string())];
        self.insert(STOCK, new)
    }

    fn subscribe_anew(&mut self) -> Op {
        let tenant = self.rng.below(self.tenants.len() as u64) as usize;
        let pattern = *self.rng.pick(&PATTERNS).unwrap();
        self.subscribe(tenant, pattern)
    }

    fn subscribe(&mut self, tenant: usize, pattern: &str) -> Op {
        let options = match self.rng.below(10) {
            0 => r#""ordering": "none", "#,
            1 => r#""rate": 20, "#,
            _ => "",
        };
        let options = format!("{{{options}\"headers\": {}}}", self.headers());
        let new = vec![
            some(self.rng.uuid().to_string()),
            some(self.tenants[tenant].clone()),
            some(pattern),
            self.rng.pick(&self.urls).cloned(),
            some(self.secret()),
            some("t"),
            some("2026-02-14 09:00:00.25+00"),
            some("2026-02-14 09:00:00.25+00"),
            some(options),
        ];
        self.insert(SUBSCRIPTIONS, new)
    }

    fn secret(&self) -> String {
        format!("{CLEAR}{:016x}", self.rng.next())
    }

    /// None, or one that nobody else has.
    fn headers(&self) -> String {
        match self.aside.below(3) {
            0 => "{}".to_owned(),
            _ => format!("{{\"x-key\": \"{HEADER}{:016x}\"}}", self.aside.next()),
        }
    }

    fn next_subscription(&mut self, cells: &mut Cells) {
        match self.aside.below(8) {
            // it changes hands
            0..2 => cells[1] = self.aside.pick(&self.tenants).cloned(),
            2 => {
                let before = cells[8].take().unwrap_or_default();
                let (rest, _) = before.split_once("\"headers\": ").unwrap_or(("{", ""));
                cells[8] = some(format!("{rest}\"headers\": {}}}", self.headers()));
            }
            _ => {}
        }
        match self.rng.below(6) {
            0 => cells[2] = some(*self.rng.pick(&PATTERNS).unwrap()),
            1 => cells[3] = self.rng.pick(&self.urls).cloned(),
            2 => cells[4] = some(self.secret()),
            3 => cells[0] = some(self.rng.uuid().to_string()),
            _ => cells[5] = some(if cells[5].as_deref() == Some("t") { "f" } else { "t" }),
        }
    }
}
