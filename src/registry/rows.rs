//! A row of `webhook_subscriptions` → what the routing does with it. Pure: the same rows give the same sealed credentials.
use super::seal::{Field, Sealer};
use super::validate;
use crate::domain::{
    Cell, Change, Image, Operation, Options, Routing, Sealed, Secret, Subscription, SubscriptionId, Table,
    TenantId, json,
};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What a change of the table means for the routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The row as it is now, its secret and the values of its headers sealed.
    Put(Box<Subscription>),
    /// The row is gone.
    Gone(SubscriptionId),
    /// The row is there but must not be routed: why (SPEC 5.8).
    Refused(SubscriptionId, String),
    /// TRUNCATE.
    Cleared,
}

/// What rows are judged by.
#[derive(Clone, Copy)]
pub struct RowRules<'a> {
    /// Seals what SQL wrote in the clear.
    pub sealer: &'a Sealer,
    /// The guard's static part: scheme, port, literal addresses. No name is resolved.
    pub url: &'a (dyn Fn(&str) -> Result<(), String> + Sync),
}

/// What a streamed change of the table comes to; a change of the key gives two. `routing` fills values that were not
/// sent (unchanged TOAST).
pub fn changes(change: &Change, routing: &Routing, rules: RowRules<'_>) -> Vec<RowChange> {
    if change.op == Operation::Truncate {
        return vec![RowChange::Cleared];
    }
    let old_id = change
        .old
        .as_ref()
        .and_then(|old| row_id(&SubscriptionRow { table: &change.table, image: old, old: None }));
    let Some(new) = change.new.as_ref().filter(|_| change.op != Operation::Delete) else {
        return old_id.map(RowChange::Gone).into_iter().collect();
    };
    let row = SubscriptionRow { table: &change.table, image: new, old: change.old.as_ref() };
    // without an id there is no row that we could name: the column is the primary key, so this is another's table
    let Some(id) = row_id(&row) else { return Vec::new() };
    let moved = old_id.filter(|old| *old != id);
    let known = routing.get(moved.unwrap_or(id));
    let renamed = known.filter(|_| moved.is_some()).map(|known| rules.sealer.rename(known, id));
    let put = judge(id, &|name| row.value(name), renamed.as_ref().or(known.map(AsRef::as_ref)), rules);
    moved.map(RowChange::Gone).into_iter().chain([put]).collect()
}

/// One row of the first snapshot or of a lookup: `values` as `to_jsonb(column)::text` renders them, in the order of
/// `names`. `None`: it has no id.
pub fn snapshot_row(names: &[&str], values: &[Option<String>], rules: RowRules<'_>) -> Option<RowChange> {
    let value = |name: &str| {
        let at = names.iter().position(|n| *n == name);
        at.and_then(|at| values.get(at))
            .map_or(Seen::Missing, |text| text.as_deref().map_or(Seen::Null, Seen::parse))
    };
    let id = value("id").text().and_then(|text| Uuid::try_parse(&text).ok()).map(SubscriptionId)?;
    Some(judge(id, &value, None, rules))
}

/// A value by its column's name.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    /// The table has no such column.
    Missing,
    Null,
    NotSent,
    Is(Value),
}

impl Seen {
    fn parse(text: &str) -> Self {
        json::parse(text.as_bytes()).map_or(Self::Missing, Self::Is)
    }
    fn text(&self) -> Option<String> {
        match self {
            Self::Is(Value::String(text)) => Some(text.clone()),
            // a tenant may be a number in somebody's table
            Self::Is(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        }
    }
}

struct SubscriptionRow<'a> {
    table: &'a Table,
    image: &'a Image,
    old: Option<&'a Image>,
}

impl SubscriptionRow<'_> {
    fn value(&self, name: &str) -> Seen {
        let Some(at) = self.table.position(name) else { return Seen::Missing };
        let cell = match self.image.get(at) {
            // under REPLICA IDENTITY FULL the old row has what the new one leaves out
            Some(Cell::NotSent) => self.old.and_then(|old| old.get(at)).or(Some(&Cell::NotSent)),
            cell => cell,
        };
        match cell {
            None => Seen::Missing,
            Some(Cell::Null) => Seen::Null,
            Some(Cell::NotSent) => Seen::NotSent,
            Some(Cell::Json(bytes)) => json::parse(bytes).map_or(Seen::Missing, Seen::Is),
        }
    }
}

fn row_id(row: &SubscriptionRow<'_>) -> Option<SubscriptionId> {
    row.value("id").text().and_then(|text| Uuid::try_parse(&text).ok()).map(SubscriptionId)
}

fn judge(
    id: SubscriptionId,
    value: &dyn Fn(&str) -> Seen,
    known: Option<&Subscription>,
    rules: RowRules<'_>,
) -> RowChange {
    match subscription(id, value, known, rules) {
        Ok(subscription) => RowChange::Put(Box::new(subscription)),
        Err(reason) => RowChange::Refused(id, reason),
    }
}

fn subscription(
    id: SubscriptionId,
    value: &dyn Fn(&str) -> Seen,
    known: Option<&Subscription>,
    rules: RowRules<'_>,
) -> Result<Subscription, String> {
    let filled = |name: &str| match value(name) {
        Seen::NotSent => known.map_or(Err(unsent(name)), |known| Ok(remembered(known, name))),
        Seen::Missing => Err(format!("{name}: the column is missing or unreadable")),
        seen => Ok(seen),
    };
    let required = |name: &str| filled(name)?.text().ok_or_else(|| format!("{name}: must not be null"));
    let active = match filled("active")? {
        Seen::Is(Value::Bool(active)) => active,
        Seen::Null => false,
        _ => return Err("active: must be a boolean".into()),
    };
    let url = required("url")?;
    validate::url(&url).map_err(|e| describe(&e))?;
    if active {
        // what is deleted needs no address; a name that the guard refuses must not keep the row from being deleted
        (rules.url)(&url).map_err(|why| format!("url: {why}"))?;
    }
    Ok(Subscription {
        id,
        tenant: TenantId::new(required("tenant_id")?),
        pattern: validate::pattern(&required("event")?).map_err(|e| describe(&e))?,
        secret: secret(id, &filled("secret")?, rules.sealer)?,
        active,
        created_us: time(&filled("created_at")?).ok_or("created_at: is no time that we can read")?,
        updated_us: time(&filled("updated_at")?).ok_or("updated_at: is no time that we can read")?,
        options: options(id, &filled("options")?, rules.sealer)?,
        url,
    })
}

fn describe(wrong: &validate::Invalid) -> String {
    format!("{}: {}", wrong.field, wrong.message)
}

fn unsent(name: &str) -> String {
    format!("{name}: its value was not sent and is not known here; write it again")
}

/// What was not sent has not changed: the routing knows it.
fn remembered(known: &Subscription, name: &str) -> Seen {
    let text = |text: &str| Seen::Is(Value::String(text.to_string()));
    match name {
        "tenant_id" => text(known.tenant.as_str()),
        "event" => text(&known.pattern.to_string()),
        "url" => text(&known.url),
        "secret" => known.secret.as_ref().map_or(Seen::Null, |secret| text(secret.as_str())),
        "options" => serde_json::to_value(&known.options).map_or(Seen::NotSent, Seen::Is),
        _ => Seen::NotSent,
    }
}

/// An empty secret is none; a clear one is sealed; a sealed one stays as it is.
fn secret(id: SubscriptionId, seen: &Seen, sealer: &Sealer) -> Result<Option<Sealed>, String> {
    match seen {
        Seen::Null => Ok(None),
        Seen::Is(Value::String(text)) if text.is_empty() => Ok(None),
        Seen::Is(Value::String(text)) if Sealer::is_sealed(text) => {
            let sealed = Some(Sealed::new(text.clone())).filter(|_| Sealer::well_formed(Field::Secret, text));
            sealed.map(Some).ok_or_else(|| "secret: is sealed but damaged".to_string())
        }
        Seen::Is(Value::String(text)) => {
            validate::secret(text).map_err(|e| describe(&e))?;
            Ok(Some(sealer.seal_row(id, Field::Secret, &Secret::new(text.clone()))))
        }
        _ => Err("secret: must be text".into()),
    }
}

/// A header's value as its secret: a clear one is sealed, a sealed one stays as it is.
fn options(id: SubscriptionId, seen: &Seen, sealer: &Sealer) -> Result<Options, String> {
    let empty = Map::new();
    let given = match seen {
        Seen::Null => &empty,
        Seen::Is(Value::Object(given)) => given,
        _ => return Err("options: must be a JSON object".into()),
    };
    let checked = validate::options(given, validate::Origin::Row).map_err(|wrong| {
        let all: Vec<String> = wrong.into_iter().map(|w| format!("options.{}", describe(&w))).collect();
        all.join("; ")
    })?;
    let headers = checked.headers.into_iter().map(|(name, value)| {
        let sealed = if Sealer::is_sealed(value.expose()) {
            Sealed::new(value.expose())
        } else {
            sealer.seal_row(id, Field::Header(&name), &value)
        };
        (name, sealed)
    });
    Ok(Options { headers: headers.collect(), ..checked.options })
}

/// `to_jsonb` of a timestamptz, in Unix microseconds. A NULL is as old as can be.
fn time(seen: &Seen) -> Option<i64> {
    match seen {
        Seen::Null => Some(0),
        seen => seen.text()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond),
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
