//! What each relation of the stream looks like: the server's Relation message (as it was when the change was written)
//! joined with the catalog's description (as it is now). Pure. Knows no connection; whoever feeds it asks the catalog.
use crate::capture::decode::pgoutput::Relation;
use crate::domain::{Column, ReplicaIdentity, Table, TypeKind};
use std::collections::HashMap;
use std::sync::Arc;

/// A relation that changes can be decoded for.
#[derive(Debug, Clone)]
pub struct KnownRelation {
    /// Its columns stand in the order of the tuples' cells.
    pub table: Arc<Table>,
    /// Which cells a key-only old tuple carries.
    pub key: Vec<bool>,
}

/// The relations of one connection; the server tells each anew after a reconnect.
#[derive(Debug, Default)]
pub struct Relations {
    known: HashMap<u32, KnownRelation>,
    awaited: Option<Relation>,
}

impl Relations {
    /// A Relation message came: the server tells it at first sight in a connection, and anew after whatever was done to the relation or to
    /// the publications. The catalog must be asked, and `described` must follow before the next message.
    pub fn announce(&mut self, relation: Relation) {
        self.known.remove(&relation.oid);
        self.awaited = Some(relation);
    }

    /// The catalog's answer. `None`: nobody waits for it. A table without columns: the catalog has it no longer, and
    /// the Relation message is all that is left.
    pub fn described(&mut self, catalog: &Table) -> Option<Arc<Table>> {
        let relation = self.awaited.take()?;
        let table = Arc::new(join(&relation, catalog));
        let key = relation.columns.iter().map(|column| column.key).collect();
        self.known.insert(relation.oid, KnownRelation { table: Arc::clone(&table), key });
        Some(table)
    }

    /// A relation, if it was announced and described.
    pub fn get(&self, oid: u32) -> Option<&KnownRelation> {
        self.known.get(&oid)
    }

    /// The description of this relation is still awaited.
    pub fn awaited(&self) -> Option<u32> {
        self.awaited.as_ref().map(|relation| relation.oid)
    }
}

/// Names, order and built-in types as the message says them; all else from the catalog, matched by name.
fn join(relation: &Relation, catalog: &Table) -> Table {
    let columns: Vec<Column> = relation
        .columns
        .iter()
        .map(|column| {
            let described = catalog.columns.iter().find(|c| *c.name == *column.name);
            let kind = built_in(column.type_oid).or_else(|| described.map(|c| c.kind.clone()));
            Column {
                name: column.name.as_str().into(),
                kind: kind.unwrap_or(TypeKind::Text),
                type_oid: column.type_oid,
                type_name: described.map(|c| c.type_name.clone()).unwrap_or_default(),
                not_null: described.is_some_and(|c| c.not_null),
            }
        })
        .collect();
    Table {
        oid: relation.oid,
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        primary_key: primary_key(relation, catalog),
        columns,
        replica_identity: relation.identity,
    }
}

/// The primary key's columns in key order; empty when one of them is not in the stream.
fn primary_key(relation: &Relation, catalog: &Table) -> Vec<usize> {
    if catalog.columns.is_empty() && relation.identity == ReplicaIdentity::Default {
        return (0..relation.columns.len()).filter(|at| relation.columns[*at].key).collect();
    }
    let position = |at: &usize| {
        let name = &catalog.columns.get(*at)?.name;
        relation.columns.iter().position(|column| *column.name == **name)
    };
    catalog.primary_key.iter().map(position).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Built-in types need no catalog, and their object ids say what a column was when the change was written, even when
/// it has another type by now (`pg_type.dat`).
fn built_in(oid: u32) -> Option<TypeKind> {
    let array = |kind| TypeKind::Array(Box::new(kind), b',');
    Some(match oid {
        16 => TypeKind::Bool,
        20 | 21 | 23 => TypeKind::Integer,
        700 | 701 => TypeKind::Float,
        1700 => TypeKind::Numeric,
        1114 => TypeKind::Timestamp,
        1184 => TypeKind::TimestampTz,
        114 | 3802 => TypeKind::Json,
        // text kinds, uuid, date, time, timetz, interval, bytea, oid, inet, …
        17..=19 | 25 | 26 | 650 | 790 | 829 | 869 | 1042 | 1043 | 1082 | 1083 | 1186 | 1266 | 2950 => {
            TypeKind::Text
        }
        1000 => array(TypeKind::Bool),
        1005 | 1007 | 1016 => array(TypeKind::Integer),
        1021 | 1022 => array(TypeKind::Float),
        1231 => array(TypeKind::Numeric),
        1115 => array(TypeKind::Timestamp),
        1185 => array(TypeKind::TimestampTz),
        199 | 3807 => array(TypeKind::Json),
        1001..=1003 | 1009 | 1014 | 1015 | 1182 | 1183 | 1187 | 1270 | 2951 => array(TypeKind::Text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::decode::pgoutput::RelationColumn;

    fn relation(columns: &[(&str, bool, u32)]) -> Relation {
        let column = |(name, key, type_oid): &(&str, bool, u32)| RelationColumn {
            key: *key,
            name: (*name).into(),
            type_oid: *type_oid,
            type_modifier: -1,
        };
        Relation {
            oid: 7,
            schema: "public".into(),
            name: "invoices".into(),
            identity: ReplicaIdentity::Default,
            columns: columns.iter().map(column).collect(),
        }
    }

    fn catalog(columns: &[(&str, TypeKind)], primary_key: &[usize]) -> Table {
        let column = |(name, kind): &(&str, TypeKind)| Column {
            name: (*name).into(),
            kind: kind.clone(),
            type_oid: 0,
            type_name: format!("{kind:?}"),
            not_null: true,
        };
        Table {
            oid: 7,
            schema: "now".into(),
            name: "elsewhere".into(),
            columns: columns.iter().map(column).collect(),
            primary_key: primary_key.to_vec(),
            replica_identity: ReplicaIdentity::Nothing,
        }
    }

    /// Also when the message is the same: the relation may have been out of a publication.
    #[test]
    fn the_catalog_is_asked_at_each_announcement() {
        let mut relations = Relations::default();
        for columns in [[("id", true, 23)], [("id", true, 23)], [("id", true, 20)]] {
            relations.announce(relation(&columns));
            assert_eq!(
                (relations.awaited(), relations.get(7).is_some()),
                (Some(7), false),
                "never the old shape"
            );
            assert!(relations.described(&catalog(&[("id", TypeKind::Integer)], &[0])).is_some());
            assert_eq!((relations.awaited(), relations.get(7).is_some()), (None, true));
        }
        assert!(relations.described(&catalog(&[], &[])).is_none(), "nobody asked");
    }

    #[test]
    fn message_and_catalog_are_joined_by_name() {
        let mut relations = Relations::default();
        // the catalog has another order, one column more, one less, and another type for one
        let message =
            relation(&[("n", false, 23), ("b", true, 99_999), ("gone", false, 88_888), ("a", true, 2950)]);
        relations.announce(message);
        let now =
            [("a", TypeKind::Text), ("new", TypeKind::Bool), ("b", TypeKind::Numeric), ("n", TypeKind::Text)];
        let table = relations.described(&catalog(&now, &[2, 0])).expect("awaited");
        assert_eq!(table.full_name(), "public.invoices");
        assert_eq!(table.replica_identity, ReplicaIdentity::Default);
        let kinds: Vec<_> = table.columns.iter().map(|c| (&*c.name, c.kind.clone(), c.not_null)).collect();
        assert_eq!(
            kinds,
            [
                ("n", TypeKind::Integer, true),
                ("b", TypeKind::Numeric, true),
                ("gone", TypeKind::Text, false),
                ("a", TypeKind::Text, true),
            ]
        );
        assert_eq!(table.primary_key, [1, 3], "b, a: in key order");
        assert_eq!(relations.get(7).expect("known").key, [false, true, false, true]);
    }

    #[test]
    fn a_dropped_table_is_taken_from_the_message_alone() {
        let mut relations = Relations::default();
        relations.announce(relation(&[("id", true, 2950), ("total", false, 1700)]));
        let table = relations.described(&catalog(&[], &[])).expect("awaited");
        assert_eq!((table.columns.len(), &table.primary_key[..]), (2, &[0][..]));
        assert_eq!(table.columns[1].kind, TypeKind::Numeric);
    }

    #[test]
    fn half_a_primary_key_is_none() {
        let mut relations = Relations::default();
        relations.announce(relation(&[("a", true, 23)]));
        let now = [("a", TypeKind::Integer), ("renamed", TypeKind::Integer)];
        assert!(relations.described(&catalog(&now, &[0, 1])).expect("awaited").primary_key.is_empty());
    }
}
