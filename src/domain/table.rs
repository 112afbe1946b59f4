//! Tables, rows and transactions as the mapping sees them: values are JSON already. Knows no wire format.
use super::Lsn;
use bytes::Bytes;
use std::sync::Arc;

/// How a type's text becomes JSON (as Postgres' `to_jsonb` renders it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// `t`/`f`
    Bool,
    /// int2, int4, int8, oid: a JSON number
    Integer,
    /// float4, float8: a JSON number, but `"NaN"`, `"Infinity"`, `"-Infinity"`
    Float,
    /// numeric: a JSON number with every digit, but `"NaN"`, `"Infinity"`, `"-Infinity"`
    Numeric,
    /// timestamp: `T` between date and time
    Timestamp,
    /// timestamptz: `T`, and the offset with minutes
    TimestampTz,
    /// json, jsonb: itself
    Json,
    /// Everything whose text is its JSON string: text kinds, uuid, date, time, bytea, enums, …
    Text,
    /// An array of these; the delimiter of the element type
    Array(Box<TypeKind>, u8),
    /// composite, range of composite…: cannot be rendered from text alone; rendered as its text
    Other,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: Arc<str>,
    /// How it is rendered.
    pub kind: TypeKind,
    /// Its type's object id: another one means that its values are written in another way.
    pub type_oid: u32,
    /// For people and `check`: `character varying`.
    pub type_name: String,
    /// NOT NULL.
    pub not_null: bool,
}

/// What an update or delete carries of the old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key, and only when it changes.
    Default,
    /// Nothing: updates of a published table fail.
    Nothing,
    /// The whole old row.
    Full,
    /// The columns of an index.
    Index,
}

/// A table as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Object id.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// In the order of the images' cells.
    pub columns: Vec<Column>,
    /// Indices into `columns`, in key order; empty: no primary key.
    pub primary_key: Vec<usize>,
    /// Replica identity.
    pub replica_identity: ReplicaIdentity,
}

impl Table {
    /// `schema.table`, as the mapping and the shadow name it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
    /// Where a column stands.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| &*c.name == column)
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// Not sent: unchanged TOAST, or a column that a key-only old tuple leaves out.
    NotSent,
    /// As `to_jsonb` renders it.
    Json(Bytes),
}

/// A row's values in the order of `Table::columns`.
pub type Image = Vec<Cell>;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// TRUNCATE: no images
    Truncate,
}

impl Operation {
    /// The word of the mapping: `insert`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }
}

/// One row-level change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub op: Operation,
    /// Where.
    pub table: Arc<Table>,
    /// What was sent of the old row: whole (replica identity full), the key only (other cells `NotSent`), or nothing.
    pub old: Option<Image>,
    /// The new row; `NotSent` for unchanged TOAST.
    pub new: Option<Image>,
}

/// One committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Transaction id.
    pub xid: u32,
    /// LSN of the commit record.
    pub commit_lsn: Lsn,
    /// End of the commit record: what may be confirmed, and where the next stream starts.
    pub end_lsn: Lsn,
    /// Commit time, Unix microseconds.
    pub commit_us: i64,
    /// In order.
    pub changes: Vec<Change>,
}
