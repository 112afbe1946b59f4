//! `[[event]]` entries: as they are written (`EventSpec`) and as they are applied (`Rule`). Knows no rows.
pub(in crate::mapping) mod check;
pub(in crate::mapping) mod compile;

use crate::domain::{EventName, Operation, TenantId, TypeKind};
use crate::mapping::when::decimal::Decimal;
use crate::mapping::when::expression::Expression;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// One `[[event]]` entry as it stands in the file (SPEC 3). What is required is checked by `Mapping::compile`, so that all
/// problems are reported at once.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventSpec {
    /// Event name. Required.
    pub name: Option<String>,
    /// The rule's own name, unique in the file; default: name.
    pub rule: Option<String>,
    /// `schema.table`. Required.
    pub table: Option<String>,
    /// `insert`, `update`, `delete`, `truncate`, or a list. Required.
    pub on: Option<OneOrMany<String>>,
    /// Whose event it is. Required.
    pub tenant: Option<TenantSpec>,
    /// What it is about.
    pub resource: Option<ResourceSpec>,
    /// `commit` (default) or `change`.
    pub row: Option<String>,
    /// Out-key → column, in the file's order.
    pub data: Option<DataPairs<String>>,
    /// All columns but these.
    pub omit: Option<Vec<String>>,
    /// At least one of these differs between old and new.
    pub changed: Option<Vec<String>>,
    /// Column → value or values that it takes with this change.
    pub becomes: Option<DataPairs<OneOrMany<Scalar>>>,
    /// Expression over old, new, op, table.
    pub when: Option<String>,
    /// A missing table parks the rule.
    pub optional: bool,
    /// `metadata.version`; default `1.0`.
    pub version: Option<String>,
}

/// One value or a list.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected one value or a list of them")]
pub enum OneOrMany<T> {
    /// `"x"`
    One(T),
    /// `["x", "y"]`
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// As a slice.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// `tenant = "tenant_id"` or `{ const = "main" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a column, or { const = \"…\" }")]
pub enum TenantSpec {
    /// A column.
    Column(String),
    /// The same for every row.
    Constant(ConstantTenant),
}

/// `{ const = "main" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantTenant {
    /// The tenant.
    #[serde(rename = "const")]
    pub constant: String,
}

/// `resource = { type = "invoice", id = "id" }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceSpec {
    /// Default: the name's first segment.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Column or columns; default: the primary key.
    pub id: Option<OneOrMany<String>>,
}

/// A value of `becomes`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a text, a number or a boolean")]
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `1`
    Integer(i64),
    /// `1.5`
    Float(f64),
    /// `"sent"`
    Text(String),
}

/// A table of the file with its keys in the order in which they stand there.
#[derive(Debug, Clone, Default)]
pub struct DataPairs<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for DataPairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = DataPairs<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DataPairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(DataPairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

/// Something wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// Line of the entry in the file.
    pub line: usize,
    /// One line for people.
    pub text: String,
}

/// A rule ready to be applied.
#[derive(Debug)]
pub(in crate::mapping) struct Rule {
    /// Line of the entry.
    pub(in crate::mapping) line: usize,
    /// Event name.
    pub(in crate::mapping) event: EventName,
    /// Own name.
    pub(in crate::mapping) name: Arc<str>,
    /// `schema.table`
    pub(in crate::mapping) table: Arc<str>,
    /// What it listens to.
    pub(in crate::mapping) on: Vec<Operation>,
    /// Whose.
    pub(in crate::mapping) tenant: Tenant,
    /// Resource type.
    pub(in crate::mapping) kind: String,
    /// Columns of the resource id; empty: the primary key.
    pub(in crate::mapping) id: Vec<Arc<str>>,
    /// At most one event per row and transaction.
    pub(in crate::mapping) per_commit: bool,
    /// What `data` holds.
    pub(in crate::mapping) data: Data,
    /// At least one differs.
    pub(in crate::mapping) changed: Vec<Arc<str>>,
    /// Takes these values.
    pub(in crate::mapping) becomes: Vec<(Arc<str>, Vec<ListedTexts>)>,
    /// Holds.
    pub(in crate::mapping) when: Option<Expression>,
    /// A missing table parks it.
    pub(in crate::mapping) optional: bool,
    /// `metadata.version`
    pub(in crate::mapping) version: String,
}

/// Where the tenant comes from.
#[derive(Debug)]
pub(in crate::mapping) enum Tenant {
    Column(Arc<str>),
    Constant(TenantId),
}

/// What `data` holds.
#[derive(Debug)]
pub(in crate::mapping) enum Data {
    /// All columns but these, in table order.
    AllBut(Vec<Arc<str>>),
    /// Out-key, column.
    Named(Vec<(String, Arc<str>)>),
}

/// A value that a column may become, readied for each type it may meet.
#[derive(Debug)]
pub(in crate::mapping) struct ListedTexts {
    /// For boolean columns.
    pub(in crate::mapping) truth: Option<bool>,
    /// For numeric columns.
    pub(in crate::mapping) number: Option<Decimal>,
    /// For all others.
    pub(in crate::mapping) text: String,
}

impl Scalar {
    /// Is it the number that was written? A float tells any two numbers of 15 digits apart; of longer ones nobody knows.
    pub(in crate::mapping) fn is_exact(&self) -> bool {
        let Self::Float(number) = self else { return true };
        let digits: String = number.to_string().chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').len() <= 15
    }
}

impl From<&Scalar> for ListedTexts {
    fn from(scalar: &Scalar) -> Self {
        let text = match scalar {
            Scalar::Bool(truth) => truth.to_string(),
            Scalar::Integer(number) => number.to_string(),
            Scalar::Float(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        };
        let truth = match (scalar, text.as_str()) {
            (Scalar::Bool(truth), _) => Some(*truth),
            (Scalar::Text(_), "true" | "t") => Some(true),
            (Scalar::Text(_), "false" | "f") => Some(false),
            _ => None,
        };
        let number = if matches!(scalar, Scalar::Bool(_)) { None } else { Decimal::parse(&text) };
        Self { truth, number, text }
    }
}

impl ListedTexts {
    /// Can a column of this type have this value at all?
    pub(in crate::mapping) fn may_be(&self, kind: &TypeKind) -> bool {
        match kind {
            TypeKind::Bool => self.truth.is_some(),
            TypeKind::Integer | TypeKind::Float | TypeKind::Numeric => self.number.is_some(),
            _ => true,
        }
    }
}

impl Rule {
    /// Does it listen to this?
    pub(in crate::mapping) fn hears(&self, op: Operation) -> bool {
        self.on.contains(&op)
    }
    /// Does it look at the old row?
    pub(in crate::mapping) fn needs_old(&self) -> bool {
        use crate::mapping::when::expression::Side;
        self.hears(Operation::Delete)
            || !self.changed.is_empty()
            || !self.becomes.is_empty()
            || self.when.iter().flat_map(|when| &when.columns).any(|(side, _)| *side == Side::Old)
    }
    /// Columns of conditions, tenant and resource: what the shadow remembers if the table needs one. With repeats.
    pub(in crate::mapping) fn remembered(&self) -> impl Iterator<Item = &Arc<str>> {
        let tenant = match &self.tenant {
            Tenant::Column(column) => Some(column),
            Tenant::Constant(_) => None,
        };
        let when = self.when.iter().flat_map(|when| when.columns.iter().map(|(_, column)| column));
        let data = match &self.data {
            Data::Named(pairs) if self.hears(Operation::Delete) => pairs.as_slice(),
            _ => &[],
        };
        tenant
            .into_iter()
            .chain(&self.id)
            .chain(&self.changed)
            .chain(self.becomes.iter().map(|(column, _)| column))
            .chain(when)
            .chain(data.iter().map(|(_, column)| column))
    }
    /// Every column that it names, with repeats.
    pub(in crate::mapping) fn columns(&self) -> impl Iterator<Item = &Arc<str>> {
        let (named, omitted) = match &self.data {
            Data::Named(pairs) => (pairs.as_slice(), &[][..]),
            Data::AllBut(columns) => (&[][..], columns.as_slice()),
        };
        self.remembered().chain(named.iter().map(|(_, column)| column)).chain(omitted)
    }
}
