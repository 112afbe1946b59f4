//! Purpose: what a rule puts into a body (SPEC 4), and the ids in it. Must not: depend on where images come from.
use crate::domain::{Cell, EventId, Operation, Resource, Table, TenantId, Transaction, event::derived_uuid};
use crate::fault;
use crate::mapping::rows::cell::{self, push_string};
use crate::mapping::rules::{Data, Rule, Tenant};
use std::borrow::Cow;

/// Why a match gives no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mapping) enum BodyRefusal {
    /// The tenant is NULL (or empty).
    NoTenant,
    /// Tenant or resource hang on a value that nobody knows.
    Unknown(String),
    /// The body cannot be made.
    Broken(String),
    /// The body is larger than `delivery.max_payload`.
    Size(usize),
}

/// The row that an event is about.
#[derive(Debug, Clone, Copy)]
pub(in crate::mapping) struct Subject<'a> {
    /// Its layout.
    pub(in crate::mapping) table: &'a Table,
    /// Its values.
    pub(in crate::mapping) image: &'a [Cell],
    /// The operation that matched.
    pub(in crate::mapping) op: Operation,
}

/// An object from strings, for `error.occurred`.
pub(in crate::mapping) fn write_strings(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    out.push(b'{');
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, key);
        out.push(b':');
        push_string(out, value);
    }
    out.push(b'}');
}

/// `data` of a row. Values are copied: they are JSON already. What is not known is left out, and named unless the row is
/// gone: a delete never had more to send.
pub(in crate::mapping) fn write_data(
    out: &mut Vec<u8>,
    rule: &Rule,
    subject: Subject<'_>,
) -> Result<Vec<String>, BodyRefusal> {
    let mut writer = BodyWriter { out, first: true, unchanged: Vec::new(), op: subject.op };
    writer.out.push(b'{');
    if subject.op != Operation::Truncate {
        match &rule.data {
            Data::Named(pairs) => {
                for (key, column) in pairs {
                    writer.pair(key, value(subject, column)?);
                }
            }
            Data::AllBut(omitted) => {
                let columns = subject.table.columns.iter().zip(subject.image);
                for (column, cell) in columns.filter(|(column, _)| !omitted.contains(&column.name)) {
                    writer.pair(&column.name, cell);
                }
            }
        }
    }
    writer.out.push(b'}');
    Ok(writer.unchanged)
}

struct BodyWriter<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    unchanged: Vec<String>,
    op: Operation,
}

impl BodyWriter<'_> {
    fn pair(&mut self, key: &str, cell: &Cell) {
        let json: &[u8] = match cell {
            Cell::Null => b"null",
            Cell::Json(json) => json,
            Cell::NotSent => {
                if self.op != Operation::Delete {
                    self.unchanged.push(key.to_owned());
                }
                return;
            }
        };
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_string(self.out, key);
        self.out.push(b':');
        self.out.extend_from_slice(json);
    }
}

fn value<'a>(subject: Subject<'a>, column: &str) -> Result<&'a Cell, BodyRefusal> {
    let cell = subject.table.position(column).and_then(|at| subject.image.get(at));
    cell.ok_or_else(|| BodyRefusal::Broken(format!("{} has no column {column}", subject.table.full_name())))
}

/// Whose event it is.
pub(in crate::mapping) fn tenant(rule: &Rule, subject: Subject<'_>) -> Result<TenantId, BodyRefusal> {
    let column = match &rule.tenant {
        Tenant::Constant(tenant) => return Ok(tenant.clone()),
        Tenant::Column(column) => column,
    };
    match text_of(value(subject, column)?, column)? {
        Some(text) if !text.is_empty() => Ok(TenantId::new(text)),
        _ => Err(BodyRefusal::NoTenant),
    }
}

/// What it is about; `None` when there is no row or all parts are NULL.
pub(in crate::mapping) fn resource(
    rule: &Rule,
    subject: Subject<'_>,
) -> Result<Option<Resource>, BodyRefusal> {
    if subject.op == Operation::Truncate {
        return Ok(None);
    }
    let mut parts: Vec<Option<Cow<'_, str>>> = Vec::with_capacity(1);
    if rule.id.is_empty() {
        for &at in &subject.table.primary_key {
            let (Some(column), Some(cell)) = (subject.table.columns.get(at), subject.image.get(at)) else {
                return Err(BodyRefusal::Broken("the primary key is not among the columns".into()));
            };
            parts.push(text_of(cell, &column.name)?);
        }
    } else {
        for column in &rule.id {
            parts.push(text_of(value(subject, column)?, column)?);
        }
    }
    if parts.iter().all(Option::is_none) {
        return Ok(None);
    }
    let id = match parts.as_mut_slice() {
        [one] => one.take().unwrap_or_default().into_owned(),
        _ => parts.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(","),
    };
    Ok(Some(Resource { kind: rule.kind.clone(), id }))
}

fn text_of<'a>(cell: &'a Cell, column: &str) -> Result<Option<Cow<'a, str>>, BodyRefusal> {
    match cell {
        Cell::Null => Ok(None),
        Cell::NotSent => Err(BodyRefusal::Unknown(column.to_owned())),
        Cell::Json(json) => {
            cell::text(json).map(Some).ok_or_else(|| BodyRefusal::Broken(format!("{column} is no text")))
        }
    }
}

/// `2026-02-14T10:30:00.123456+00:00`
pub(in crate::mapping) fn timestamp(unix_us: i64) -> String {
    let moment = jiff::Timestamp::from_microsecond(unix_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{}+00:00", moment.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
}

/// The id of an event: a pure function of the change and the rule (SPEC 4). `nth` counts the table's changes in the
/// transaction from 0. `tag` keeps `error.occurred` apart from the event that it stands for.
pub(in crate::mapping) fn event_id(
    transaction: &Transaction,
    system_id: &str,
    table: &str,
    nth: u64,
    rule: &str,
    tag: &[u8],
) -> EventId {
    if fault::planted("id-from-counter") {
        return EventId(derived_uuid(transaction.commit_us / 1000, &[&counter().to_be_bytes()]));
    }
    EventId(derived_uuid(
        transaction.commit_us / 1000,
        &[
            system_id.as_bytes(),
            &transaction.xid.to_be_bytes(),
            &transaction.commit_lsn.0.to_be_bytes(),
            table.as_bytes(),
            &nth.to_be_bytes(),
            rule.as_bytes(),
            tag,
        ],
    ))
}

/// A planted fault for the simulation: ids that depend on the process instead of the change.
fn counter() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_microseconds_and_an_offset() {
        for (us, text) in [
            (1_771_065_000_123_456, "2026-02-14T10:30:00.123456+00:00"),
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (1_000_000, "1970-01-01T00:00:01.000000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
        ] {
            assert_eq!(timestamp(us), text);
        }
        // nothing that a hostile stream says may panic
        let _ = (timestamp(i64::MAX), timestamp(i64::MIN));
    }
}
