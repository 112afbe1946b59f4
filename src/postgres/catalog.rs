//! Tables as the catalog describes them: columns, types, key, replica identity. Reads only.
use super::error::PgError;
use super::name::TableName;
use crate::domain::{Column, ReplicaIdentity, Table, TypeKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::{Client, Row};

/// Domains in domains and arrays of domains are followed this far; Postgres itself allows no cycle.
const DEEPEST: u8 = 16;
/// A table has at most 1,600 columns and so at most that many types at the top.
const MOST_TABLES: usize = 10_000;

const RELATION: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relreplident
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace ";

/// Generated columns are not published; dropped ones are gone; a publication may list columns (15+).
const COLUMNS: &str = "
SELECT a.attnum, a.attname::text, a.atttypid, format_type(a.atttypid, NULL), a.attnotnull
FROM pg_attribute a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum";

const LISTED: &str = "
SELECT pr.prattrs::int2[] FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid
WHERE p.pubname = $2 AND pr.prrelid = $1";

const KEY: &str = "
SELECT k.attnum FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place";

const TYPES: &str = "
SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typdelim,
       t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1
           AND t.typname NOT IN ('int2vector', 'oidvector') AS is_array,
       EXISTS (SELECT FROM pg_cast x WHERE x.castsource = t.oid AND x.casttarget = 'json'::regtype
               AND x.castmethod = 'f') AS casts_to_json
FROM pg_type t WHERE t.oid = ANY ($1)";

/// Which table is meant.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// By object id: what the stream names.
    Oid(u32),
    /// By name: what the mapping names.
    Name(&'a TableName),
}

/// Describes a table as `publication` (if named) publishes it; `None`: there is no such table.
pub async fn describe(
    client: &Client,
    which: Which<'_>,
    publication: Option<&str>,
) -> Result<Option<Table>, PgError> {
    let found = match which {
        Which::Oid(oid) => client.query_opt(&format!("{RELATION} WHERE c.oid = $1"), &[&oid]).await?,
        Which::Name(name) => {
            let by_name = format!(
                "{RELATION} WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            );
            client.query_opt(&by_name, &[&name.schema, &name.name]).await?
        }
    };
    let Some(relation) = found else { return Ok(None) };
    let oid: u32 = relation.get(0);
    let listed = match publication {
        Some(publication) => listed(client, oid, publication).await?,
        None => None,
    };
    let rows = client.query(COLUMNS, &[&oid]).await?;
    let published = |row: &&Row| listed.as_ref().is_none_or(|listed| listed.contains(&row.get(0)));
    let rows: Vec<&Row> = rows.iter().filter(published).collect();
    let types = load_types(client, rows.iter().map(|row| row.get(2)).collect()).await?;
    let numbers: Vec<i16> = rows.iter().map(|row| row.get(0)).collect();
    let key = client.query(KEY, &[&oid]).await?;
    let place = |row: &Row| numbers.iter().position(|n| *n == row.get::<_, i16>(0));
    // a key that is not published whole is none
    let primary_key = key.iter().map(place).collect::<Option<Vec<usize>>>().unwrap_or_default();
    Ok(Some(Table {
        oid,
        schema: relation.get(1),
        name: relation.get(2),
        columns: rows.iter().map(|row| column(row, &types)).collect(),
        primary_key,
        replica_identity: identity(relation.get(3)),
    }))
}

/// Describes those of the named tables that exist.
pub async fn tables(
    client: &Client,
    names: &[TableName],
    publication: Option<&str>,
) -> Result<Vec<Table>, PgError> {
    let mut tables = Vec::new();
    for name in names.iter().take(MOST_TABLES) {
        tables.extend(describe(client, Which::Name(name), publication).await?);
    }
    Ok(tables)
}

async fn listed(client: &Client, oid: u32, publication: &str) -> Result<Option<Vec<i16>>, PgError> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await?;
    if version.get::<_, i32>(0) < 150_000 {
        return Ok(None);
    }
    let row = client.query_opt(LISTED, &[&oid, &publication]).await?;
    Ok(row.and_then(|row| row.get(0)))
}

fn column(row: &Row, types: &BTreeMap<u32, TypeRow>) -> Column {
    Column {
        name: Arc::from(row.get::<_, &str>(1)),
        kind: kind(row.get(2), types, 0),
        type_oid: row.get(2),
        type_name: row.get(3),
        not_null: row.get(4),
    }
}

fn identity(code: i8) -> ReplicaIdentity {
    match code as u8 {
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        b'n' => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    }
}

/// What of `pg_type` decides how a value is rendered.
#[derive(Debug, Clone, Copy)]
struct TypeRow {
    kind: u8,
    base: u32,
    element: u32,
    delimiter: u8,
    is_array: bool,
    casts_to_json: bool,
}

/// Loads types with what they are built of, a level at a time.
async fn load_types(client: &Client, mut wanted: Vec<u32>) -> Result<BTreeMap<u32, TypeRow>, PgError> {
    let mut types = BTreeMap::new();
    for _ in 0..DEEPEST {
        wanted.retain(|oid| *oid != 0 && !types.contains_key(oid));
        if wanted.is_empty() {
            break;
        }
        for row in client.query(TYPES, &[&wanted]).await? {
            types.insert(row.get(0), type_row(&row));
        }
        wanted = types.values().flat_map(|t: &TypeRow| [t.base, t.element]).collect();
    }
    Ok(types)
}

fn type_row(row: &Row) -> TypeRow {
    TypeRow {
        kind: row.get::<_, i8>(1) as u8,
        base: row.get(2),
        element: row.get(3),
        delimiter: row.get::<_, i8>(4) as u8,
        is_array: row.get(5),
        casts_to_json: row.get(6),
    }
}

/// As Postgres' `to_jsonb` decides it (`json_categorize_type` in jsonfuncs.c): domains are looked through.
fn kind(oid: u32, types: &BTreeMap<u32, TypeRow>, depth: u8) -> TypeKind {
    if let Some(known) = builtin(oid) {
        return known;
    }
    let Some(found) = types.get(&oid).filter(|_| depth < DEEPEST) else { return TypeKind::Other };
    if found.kind == b'd' {
        return kind(found.base, types, depth + 1);
    }
    if found.is_array {
        let delimiter = types.get(&found.element).map_or(b',', |element| element.delimiter);
        return TypeKind::Array(Box::new(kind(found.element, types, depth + 1)), delimiter);
    }
    if found.kind == b'c' || found.casts_to_json { TypeKind::Other } else { TypeKind::Text }
}

/// Types whose object ids are fixed (`pg_type.dat`).
fn builtin(oid: u32) -> Option<TypeKind> {
    Some(match oid {
        16 => TypeKind::Bool,
        20 | 21 | 23 => TypeKind::Integer,
        700 | 701 => TypeKind::Float,
        1700 => TypeKind::Numeric,
        1114 => TypeKind::Timestamp,
        1184 => TypeKind::TimestampTz,
        114 | 3802 => TypeKind::Json,
        2249 => TypeKind::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_what_it_is_built_of() {
        let plain = TypeRow {
            kind: b'b',
            base: 0,
            element: 0,
            delimiter: b',',
            is_array: false,
            casts_to_json: false,
        };
        let domain = |base| TypeRow { kind: b'd', base, ..plain };
        let types = BTreeMap::from([
            (1_000, domain(1700)),
            (1_001, TypeRow { element: 1_000, is_array: true, ..plain }),
            (1_002, domain(1_001)),
            (1_003, TypeRow { kind: b'c', ..plain }),
            (1_004, TypeRow { casts_to_json: true, ..plain }),
            (1_005, TypeRow { kind: b'e', ..plain }),
            (1_006, domain(1_006)),
            (1_007, TypeRow { delimiter: b';', ..plain }),
            (1_008, TypeRow { element: 1_007, is_array: true, ..plain }),
            (1_010, TypeRow { element: 1_010, is_array: true, ..plain }),
            (2249, plain),
        ]);
        let array = |of, delimiter| TypeKind::Array(Box::new(of), delimiter);
        for (oid, expected) in [
            (1_000, TypeKind::Numeric),
            (1_001, array(TypeKind::Numeric, b',')),
            (1_002, array(TypeKind::Numeric, b',')),
            (1_003, TypeKind::Other),
            (1_004, TypeKind::Other),
            (1_005, TypeKind::Text),
            (1_006, TypeKind::Other),
            (1_008, array(TypeKind::Text, b';')),
            (1_009, TypeKind::Other),
            (16, TypeKind::Bool),
            (20, TypeKind::Integer),
            (21, TypeKind::Integer),
            (23, TypeKind::Integer),
            (700, TypeKind::Float),
            (701, TypeKind::Float),
            (1700, TypeKind::Numeric),
            (1114, TypeKind::Timestamp),
            (1184, TypeKind::TimestampTz),
            (114, TypeKind::Json),
            (3802, TypeKind::Json),
            (2249, TypeKind::Other),
        ] {
            assert_eq!(kind(oid, &types, 0), expected, "{oid}");
        }
        // as deep as is looked, and no deeper
        let chain: BTreeMap<u32, TypeRow> = (1..=u32::from(DEEPEST))
            .map(|n| (10_000 + n, domain(if n == 1 { 16 } else { 9_999 + n })))
            .collect();
        let deepest = 10_000 + u32::from(DEEPEST);
        assert_eq!(kind(deepest, &chain, 0), TypeKind::Bool);
        assert_eq!(kind(deepest, &chain, 1), TypeKind::Other);
        let endless = (0..DEEPEST).fold(TypeKind::Other, |of, _| array(of, b','));
        assert_eq!(kind(1_010, &types, 0), endless);
    }

    #[test]
    fn a_replica_identity_is_a_letter() {
        for (letter, expected) in [
            (b'f', ReplicaIdentity::Full),
            (b'i', ReplicaIdentity::Index),
            (b'n', ReplicaIdentity::Nothing),
            (b'd', ReplicaIdentity::Default),
        ] {
            assert_eq!(identity(letter as i8), expected);
        }
    }
}
