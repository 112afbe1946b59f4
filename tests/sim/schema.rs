//! The tables of the simulated ERP and of Tailhook, as catalog and wire describe them. Knows no rows.
use std::sync::Arc;
use tailhook::domain::{Column, ReplicaIdentity, Table, TypeKind};

/// A column: name, type oid, part of the primary key.
pub(crate) type ColumnSpec = (&'static str, u32, bool);

/// A table.
#[derive(Debug)]
pub(crate) struct TableSpec {
    pub(crate) oid: u32,
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    /// `d` or `f`, as in `pg_class.relreplident`.
    pub(crate) identity: u8,
    pub(crate) columns: &'static [ColumnSpec],
}

pub(crate) const BOOL: u32 = 16;
pub(crate) const INT8: u32 = 20;
pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;
pub(crate) const VARCHAR: u32 = 1043;
pub(crate) const TIMESTAMPTZ: u32 = 1184;
pub(crate) const NUMERIC: u32 = 1700;
pub(crate) const UUID: u32 = 2950;
pub(crate) const JSONB: u32 = 3802;

pub(crate) const INVOICES: usize = 0;
pub(crate) const PAYMENTS: usize = 1;
pub(crate) const CLIENTS: usize = 2;
pub(crate) const STOCK: usize = 3;
pub(crate) const SUBSCRIPTIONS: usize = 4;

pub(crate) static TABLES: [TableSpec; 5] = [
    TableSpec {
        oid: 16_401,
        schema: "public",
        name: "invoices",
        identity: b'd',
        columns: &[
            ("id", UUID, true),
            ("tenant_id", UUID, false),
            ("number", VARCHAR, false),
            ("total", NUMERIC, false),
            ("status", VARCHAR, false),
            ("notes", TEXT, false),
        ],
    },
    TableSpec {
        oid: 16_402,
        schema: "public",
        name: "payments",
        identity: b'd',
        columns: &[
            ("id", INT8, true),
            ("tenant_id", UUID, false),
            ("invoice_id", UUID, false),
            ("applied_amount", NUMERIC, false),
        ],
    },
    TableSpec {
        oid: 16_403,
        schema: "public",
        name: "clients",
        identity: b'f',
        columns: &[
            ("tenant_id", UUID, true),
            ("code", VARCHAR, true),
            ("name", VARCHAR, false),
            ("notes", TEXT, false),
        ],
    },
    TableSpec {
        oid: 16_404,
        schema: "public",
        name: "stock_items",
        identity: b'd',
        columns: &[("id", INT8, true), ("qty", INT4, false)],
    },
    TableSpec {
        oid: 16_405,
        schema: "tailhook",
        name: "webhook_subscriptions",
        identity: b'd',
        columns: &[
            ("id", UUID, true),
            ("tenant_id", TEXT, false),
            ("event", TEXT, false),
            ("url", TEXT, false),
            ("secret", TEXT, false),
            ("active", BOOL, false),
            ("created_at", TIMESTAMPTZ, false),
            ("updated_at", TIMESTAMPTZ, false),
            ("options", JSONB, false),
        ],
    },
];

impl TableSpec {
    /// Where a column stands.
    pub(crate) fn column(&self, name: &str) -> usize {
        self.columns.iter().position(|c| c.0 == name).unwrap()
    }
    /// What the catalog says.
    pub(crate) fn describe(&self) -> Table {
        let column = |spec: &ColumnSpec| Column {
            name: Arc::from(spec.0),
            kind: kind(spec.1),
            type_oid: spec.1,
            type_name: "as simulated".to_owned(),
            not_null: spec.2,
        };
        Table {
            oid: self.oid,
            schema: self.schema.to_owned(),
            name: self.name.to_owned(),
            columns: self.columns.iter().map(column).collect(),
            primary_key: (0..self.columns.len()).filter(|i| self.columns[*i].2).collect(),
            replica_identity: if self.identity == b'f' {
                ReplicaIdentity::Full
            } else {
                ReplicaIdentity::Default
            },
        }
    }
}

fn kind(oid: u32) -> TypeKind {
    match oid {
        BOOL => TypeKind::Bool,
        INT4 | INT8 => TypeKind::Integer,
        NUMERIC => TypeKind::Numeric,
        TIMESTAMPTZ => TypeKind::TimestampTz,
        JSONB => TypeKind::Json,
        _ => TypeKind::Text,
    }
}

/// A column's text as `to_jsonb` renders it, written here a second time so that the truth is independent.
pub(crate) fn json(oid: u32, text: Option<&str>) -> serde_json::Value {
    let Some(text) = text else { return serde_json::Value::Null };
    match oid {
        BOOL => serde_json::Value::Bool(text == "t"),
        INT4 | INT8 | NUMERIC | JSONB => serde_json::from_str(text).unwrap(),
        TIMESTAMPTZ => serde_json::Value::String(text.replacen(' ', "T", 1) + ":00"),
        _ => serde_json::Value::String(text.to_owned()),
    }
}
