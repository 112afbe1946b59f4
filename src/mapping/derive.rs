//! One transaction → its events: every rule on every change, then one body a match. Knows no store and no clock.
use crate::domain::{Cell, Change, Event, Image, Operation, Table, Transaction};
use crate::mapping::body::emit::{Emitter, EventPlace};
use crate::mapping::body::payload::{BodyRefusal, Subject};
use crate::mapping::rows::cell;
use crate::mapping::rows::shadow::TablePlan;
use crate::mapping::rows::{Before, NetRow, NetRows, RowStep};
use crate::mapping::rules::Rule;
use crate::mapping::when::condition::matches;
use crate::mapping::when::evaluate::Scene;
use crate::mapping::when::value::Stop;
use crate::mapping::{Compiled, Context, Derived, Fault, Remembered, ShadowChange};
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

/// Longest text of a key in a fault: a key may be a page of text.
const MAX_KEY_TEXT: usize = 200;

/// A mapped table in this transaction.
struct Touched<'a> {
    layout: Arc<Table>,
    name: &'a Arc<str>,
    rules: &'a [usize],
    plan: Option<&'a TablePlan>,
    /// Changes so far.
    count: u64,
    /// Rules that matched a truncate and want one event a transaction.
    truncated: Vec<usize>,
}

/// What a match is about.
enum About {
    /// The row as it stands at commit.
    Row(usize),
    /// This image.
    Image(Arc<Table>, Image),
    /// The whole table.
    Table,
}

/// A match or a failure, in order.
struct Slot {
    table: usize,
    rule: usize,
    nth: u64,
    op: Operation,
    layout: Arc<Table>,
    about: About,
    /// Why it cannot be judged, if so.
    failure: Option<String>,
}

struct Derivation<'a, E> {
    compiled: &'a Compiled,
    transaction: &'a Transaction,
    context: &'a Context,
    rows: NetRows<'a, E>,
    tables: Vec<Touched<'a>>,
    slots: Vec<Slot>,
    derived: Derived,
}

/// Applies the rules to one transaction.
pub(in crate::mapping) fn derive<E>(
    compiled: &Compiled,
    transaction: &Transaction,
    context: &Context,
    remembered: Remembered<'_, E>,
) -> Result<Derived, E> {
    let mut run = Derivation {
        compiled,
        transaction,
        context,
        rows: NetRows::new(remembered),
        tables: Vec::new(),
        slots: Vec::new(),
        derived: Derived::default(),
    };
    for change in &transaction.changes {
        run.change(change)?;
    }
    Ok(run.finish())
}

/// What is to be remembered of changes that no rule judges.
pub(in crate::mapping) fn remember(compiled: &Compiled, changes: &[Change]) -> Vec<ShadowChange> {
    let nothing = |_: &str, _: &[u8]| Ok::<_, Infallible>(None);
    let mut rows = NetRows::new(&nothing);
    let mut plans: Vec<&TablePlan> = Vec::new();
    for change in changes {
        let Some(plan) = compiled.plan.table(&change.table.full_name()) else { continue };
        let number = plans.iter().position(|known| known.table == plan.table).unwrap_or_else(|| {
            plans.push(plan);
            plans.len() - 1
        });
        match rows.apply(number, Some(plan), change) {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }
    rows.shadow(|number| plans.get(number).copied(), Before::Unknown)
}

impl<E> Derivation<'_, E> {
    fn change(&mut self, change: &Change) -> Result<(), E> {
        let Some(number) = self.table(&change.table) else { return Ok(()) };
        let Some(touched) = self.tables.get_mut(number) else { return Ok(()) };
        let (nth, rules, name, plan) = (touched.count, touched.rules, touched.name, touched.plan);
        touched.count += 1;
        let step = self.rows.apply(number, plan, change)?;
        for &rule_number in rules {
            let Some(rule) = self.compiled.rules.get(rule_number) else { continue };
            if !rule.hears(change.op) {
                continue;
            }
            let judged = {
                let row = step.as_ref().and_then(|step| self.rows.row(step.row));
                let scene = Scene {
                    table: &change.table,
                    table_name: name,
                    op: change.op,
                    old: step.as_ref().and_then(|step| step.old.as_ref()),
                    new: row.filter(|_| change.op != Operation::Delete).map(|row| &row.image),
                };
                matches(rule, scene)
            };
            let failure = match judged {
                Ok(false) => continue,
                Ok(true) => None,
                Err(Stop::Unknown(what)) => {
                    let row = step.as_ref().and_then(|step| self.rows.row(step.row));
                    let key = row.map_or_else(String::new, |row| key_text(&row.table, &row.image));
                    let text = format!("{what} is not known");
                    self.derived.faults.push(fault(rule, "unknown-old", name, &key, &text));
                    continue;
                }
                Err(Stop::Failed(text)) => Some(text),
            };
            let failed = failure.is_some();
            if let Some(about) = self.about(number, rule_number, rule, step.as_ref(), failed) {
                let layout = Arc::clone(&change.table);
                let (table, rule, op) = (number, rule_number, change.op);
                self.slots.push(Slot { table, rule, nth, op, layout, about, failure });
            }
        }
        Ok(())
    }

    /// The number of a mapped table; `None`: no rule is about it.
    fn table(&mut self, layout: &Arc<Table>) -> Option<usize> {
        if let Some(number) = self.tables.iter().position(|touched| Arc::ptr_eq(&touched.layout, layout)) {
            return Some(number);
        }
        let full_name = layout.full_name();
        let (name, rules) = self.compiled.by_table.get_key_value(full_name.as_str())?;
        if let Some(number) = self.tables.iter().position(|touched| touched.name == name) {
            self.tables[number].layout = Arc::clone(layout);
            return Some(number);
        }
        let plan = self.compiled.plan.table(name);
        self.tables.push(Touched {
            layout: Arc::clone(layout),
            name,
            rules,
            plan,
            count: 0,
            truncated: Vec::new(),
        });
        Some(self.tables.len() - 1)
    }

    /// What a match is about; `None`: the rule has its event of this row already.
    fn about(
        &mut self,
        table: usize,
        rule_number: usize,
        rule: &Rule,
        step: Option<&RowStep>,
        failed: bool,
    ) -> Option<About> {
        let Some(step) = step else {
            let truncated = &mut self.tables.get_mut(table)?.truncated;
            if rule.per_commit && !failed {
                if truncated.contains(&rule_number) {
                    return None;
                }
                truncated.push(rule_number);
            }
            return Some(About::Table);
        };
        let row = self.rows.row_mut(step.row)?;
        if !rule.per_commit || failed {
            return Some(About::Image(Arc::clone(&row.table), row.image.clone()));
        }
        if row.matched.contains(&rule_number) {
            return None;
        }
        row.matched.push(rule_number);
        Some(About::Row(step.row))
    }

    fn finish(mut self) -> Derived {
        let mut derived = std::mem::take(&mut self.derived);
        derived.disagreements = self.rows.disagreements;
        derived.shadow =
            self.rows.shadow(|number| self.tables.get(number).and_then(|t| t.plan), Before::Remembered);
        if !self.slots.is_empty() {
            self.emit(&mut derived);
        }
        derived
    }

    fn emit(&mut self, derived: &mut Derived) {
        let emitter = Emitter::new(self.transaction, self.context);
        let mut reported = HashSet::new();
        for slot in std::mem::take(&mut self.slots) {
            let (Some(rule), Some(touched)) =
                (self.compiled.rules.get(slot.rule), self.tables.get(slot.table))
            else {
                continue;
            };
            let at = EventPlace { rule, table: touched.name, nth: slot.nth };
            let (table, image) = self.image(&slot);
            let subject = Subject { table, image, op: slot.op };
            let made = match &slot.failure {
                Some(text) => Err(("condition", text.clone())),
                None => emitter.event(at, subject).map_err(worded),
            };
            let (reason, text) = match made {
                Ok(event) => {
                    push(derived, event);
                    continue;
                }
                Err(why) => why,
            };
            let key = key_text(table, image);
            let announced = matches!(reason, "condition" | "payload" | "size");
            if announced
                && let Some(name) = &self.compiled.error_event
                && reported.insert(slot.rule)
            {
                push(derived, emitter.error(at, name, &key, &text));
            }
            derived.faults.push(fault(rule, reason, touched.name, &key, &text));
        }
    }

    /// The image that a slot is about, with its layout.
    fn image<'s>(&'s self, slot: &'s Slot) -> (&'s Table, &'s [Cell]) {
        match &slot.about {
            About::Image(table, image) => (table, image),
            About::Row(number) => match self.rows.row(*number) {
                // a row that was deleted and came back: the delete's event shows what was deleted
                Some(NetRow { table, deleted: Some(deleted), .. }) if slot.op == Operation::Delete => {
                    (table, deleted)
                }
                Some(row) => (&row.table, &row.image),
                None => (&slot.layout, &[]),
            },
            About::Table => (&slot.layout, &[]),
        }
    }
}

fn push(derived: &mut Derived, mut event: Event) {
    event.sequence.number = u32::try_from(derived.events.len()).unwrap_or(u32::MAX);
    derived.events.push(event);
}

fn fault(rule: &Rule, reason: &'static str, table: &str, key: &str, text: &str) -> Fault {
    Fault { rule: Arc::clone(&rule.name), reason, detail: format!("{table} ({key}): {text}") }
}

/// The reason's word and one line.
fn worded(refusal: BodyRefusal) -> (&'static str, String) {
    match refusal {
        BodyRefusal::NoTenant => ("tenant", "the tenant is NULL".to_owned()),
        BodyRefusal::Unknown(what) => ("unknown-old", format!("{what} is not known")),
        BodyRefusal::Broken(text) => ("payload", text),
        BodyRefusal::Size(size) => {
            ("size", format!("the body has {size} bytes, more than delivery.max_payload"))
        }
    }
}

/// The primary key for logs: `id=…`; never another value.
fn key_text(table: &Table, image: &[Cell]) -> String {
    let parts = table.primary_key.iter().filter_map(|&at| {
        let value = match image.get(at)? {
            Cell::Json(json) => cell::text(json)?,
            _ => "?".into(),
        };
        Some(format!("{}={value}", table.columns.get(at)?.name))
    });
    let mut text = parts.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        return "no key".to_owned();
    }
    if text.len() > MAX_KEY_TEXT {
        let end = (0..=MAX_KEY_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
