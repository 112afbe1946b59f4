//! How the mapped tables stand, in two cheap statements that can be asked every few seconds: what is published under which name, and what of it makes
//! remembered rows another table's. Reads only; judges nothing.
use super::error::PgError;
use super::name::TableName;
use super::publication::insert_name;
use crate::domain::{Column, ReplicaIdentity, Table, TypeKind};
use tokio_postgres::{Client, Row};

/// `xmin` tells that a publication's options were set meanwhile, a membership's own object id that it is not the one of before.
const STANDING: &str = "
SELECT w.place, c.oid,
       ARRAY(SELECT k.attnum FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
             WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place),
       s.numbers, s.names, s.types,
       coalesce((SELECT string_agg(p.pubname || ' ' || p.oid || ' ' || p.xmin || ' ' || r.oid, ', ' ORDER BY p.pubname)
                 FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                 WHERE r.prrelid = c.oid AND p.pubname = ANY ($3)), '')
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(schema, name, place)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
CROSS JOIN LATERAL (SELECT array_agg(a.attnum), array_agg(a.attname::text), array_agg(a.atttypid) FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS s(numbers, names, types)";

/// One of the tables that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogStanding {
    /// Which of them.
    pub place: usize,
    /// Object id, columns with their types, primary key; nothing of how values are rendered.
    pub table: Table,
    /// By which rows of the catalog it is published; empty: it is not.
    pub membership: String,
}

/// The server's end of WAL, and behind it how those of the tables stand that exist.
pub async fn look(
    client: &Client,
    publication: &str,
    tables: &[TableName],
) -> Result<(String, Vec<CatalogStanding>), PgError> {
    let at = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let publications = [publication.to_owned(), insert_name(publication)];
    let rows = client.query(STANDING, &[&schemas, &names, &&publications[..]]).await?;
    Ok((at, rows.iter().filter_map(|row| standing(row, tables)).collect()))
}

fn standing(row: &Row, tables: &[TableName]) -> Option<CatalogStanding> {
    let place = usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)?;
    let name = tables.get(place)?;
    let key: Vec<i16> = row.get(2);
    let numbers: Vec<i16> = row.get::<_, Option<Vec<i16>>>(3).unwrap_or_default();
    let names: Vec<String> = row.get::<_, Option<Vec<String>>>(4).unwrap_or_default();
    let types: Vec<u32> = row.get::<_, Option<Vec<u32>>>(5).unwrap_or_default();
    let column = |(name, type_oid): (String, u32)| Column {
        name: name.into(),
        kind: TypeKind::Other,
        type_oid,
        type_name: String::new(),
        not_null: false,
    };
    let at = |number: &i16| numbers.iter().position(|of| of == number);
    let table = Table {
        oid: row.get(1),
        schema: name.schema.clone(),
        name: name.name.clone(),
        primary_key: key.iter().map(at).collect::<Option<_>>().unwrap_or_default(),
        columns: names.into_iter().zip(types).map(column).collect(),
        replica_identity: ReplicaIdentity::Default,
    };
    Some(CatalogStanding { place, table, membership: row.get(6) })
}
