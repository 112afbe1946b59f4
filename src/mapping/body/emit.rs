//! Purpose: one match → one event; one failure → one `error.occurred`. Must not: judge.
use crate::domain::event::derived_uuid;
use crate::domain::{Event, EventId, EventName, Lsn, Resource, Sequence, Transaction};
use crate::mapping::Context;
use crate::mapping::body::envelope::Envelope;
use crate::mapping::body::payload::{self, BodyRefusal, Subject, event_id, write_data, write_strings};
use crate::mapping::rules::Rule;
use bytes::Bytes;

/// Most bodies are smaller than this; larger ones grow.
const USUAL_BODY: usize = 1024;

/// Where a match stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::mapping) struct EventPlace<'a> {
    /// The rule.
    pub(in crate::mapping) rule: &'a Rule,
    /// `schema.table`
    pub(in crate::mapping) table: &'a str,
    /// Number of the change among the table's in this transaction.
    pub(in crate::mapping) nth: u64,
}

/// An `error.occurred` for the operations tenant. Names keys at most, never other values.
#[derive(Debug, Clone, Copy)]
struct ErrorOccurred<'a> {
    id: EventId,
    /// Resource type and id.
    about: (&'a str, &'a str),
    data: &'a [(&'a str, &'a str)],
    at_us: i64,
    sequence: Sequence,
}

impl ErrorOccurred<'_> {
    fn event(&self, context: &Context, name: &EventName) -> Event {
        let (kind, resource) = self.about;
        let envelope = Envelope {
            id: self.id,
            timestamp: &payload::timestamp(self.at_us),
            event: name.as_str(),
            tenant: &context.operations,
            kind: Some(kind),
            resource_id: Some(resource),
            source: &context.source,
            version: "1.0",
        };
        let body = envelope.body(USUAL_BODY, |out| {
            write_strings(out, self.data);
            Ok::<_, std::convert::Infallible>(Vec::new())
        });
        Event {
            id: self.id,
            name: name.clone(),
            tenant: context.operations.clone(),
            resource: Some(Resource { kind: kind.to_owned(), id: resource.to_owned() }),
            timestamp_us: self.at_us,
            sequence: self.sequence,
            body: Bytes::from(body.unwrap_or_else(|never| match never {})),
        }
    }
}

/// Changes of a table have no events from a position on (SPEC 5.7).
pub(in crate::mapping) fn table_gap(
    context: &Context,
    name: &EventName,
    (table, from, reason): (&str, Lsn, &str),
    now_us: i64,
) -> Event {
    let parts = [context.system_id.as_bytes(), table.as_bytes(), &from.0.to_be_bytes(), b"table-gap"];
    let error = ErrorOccurred {
        id: EventId(derived_uuid(now_us / 1000, &parts)),
        about: ("table", table),
        data: &[("table", table), ("from", &from.to_string()), ("reason", reason)],
        at_us: now_us,
        sequence: Sequence { lsn: from, number: 0 },
    };
    error.event(context, name)
}

/// Makes the events of one transaction.
pub(in crate::mapping) struct Emitter<'a> {
    transaction: &'a Transaction,
    context: &'a Context,
    timestamp: String,
}

impl<'a> Emitter<'a> {
    /// For one transaction.
    pub(in crate::mapping) fn new(transaction: &'a Transaction, context: &'a Context) -> Self {
        Self { transaction, context, timestamp: payload::timestamp(transaction.commit_us) }
    }

    /// The event of a match; its number in the sequence is the caller's.
    pub(in crate::mapping) fn event(
        &self,
        place: EventPlace<'_>,
        subject: Subject<'_>,
    ) -> Result<Event, BodyRefusal> {
        let rule = place.rule;
        let tenant = payload::tenant(rule, subject)?;
        let resource = payload::resource(rule, subject)?;
        let id = event_id(self.transaction, &self.context.system_id, place.table, place.nth, &rule.name, b"");
        let envelope = Envelope {
            id,
            timestamp: &self.timestamp,
            event: rule.event.as_str(),
            tenant: &tenant,
            kind: Some(&rule.kind),
            resource_id: resource.as_ref().map(|resource| resource.id.as_str()),
            source: &self.context.source,
            version: &rule.version,
        };
        let body = envelope.body(USUAL_BODY, |out| write_data(out, rule, subject))?;
        if body.len() > self.context.max_payload {
            return Err(BodyRefusal::Size(body.len()));
        }
        Ok(Event {
            id,
            name: rule.event.clone(),
            tenant,
            resource,
            timestamp_us: self.transaction.commit_us,
            sequence: Sequence { lsn: self.transaction.commit_lsn, number: 0 },
            body: Bytes::from(body),
        })
    }

    /// `error.occurred` for the operations tenant: a rule that failed on a row. Names the key, never other values.
    pub(in crate::mapping) fn error(
        &self,
        place: EventPlace<'_>,
        name: &EventName,
        key: &str,
        reason: &str,
    ) -> Event {
        let (rule, context): (&str, _) = (&place.rule.name, self.context);
        let id =
            event_id(self.transaction, &context.system_id, place.table, place.nth, rule, b"error.occurred");
        let error = ErrorOccurred {
            id,
            about: ("rule", rule),
            data: &[("rule", rule), ("table", place.table), ("key", key), ("reason", reason)],
            at_us: self.transaction.commit_us,
            sequence: Sequence { lsn: self.transaction.commit_lsn, number: 0 },
        };
        error.event(context, name)
    }
}
