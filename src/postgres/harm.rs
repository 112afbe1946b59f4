//! Purpose: judges what a publication does to the writes of each table that it holds or shall hold (SPEC 5.9).
//! One query reads the facts; the judgement is pure. Postgres refuses UPDATE and DELETE on a published table whose replica
//! identity it cannot send (`CheckCmdReplicaIdentity` in execReplication.c), for each table that rows are written to: of a
//! partitioned table the leaves, those that come later too.
//! Must not: change anything.
use super::error::PgError;
use super::name::{TableName, quote};
use super::publication::Refusal;
use crate::fault;
use serde::Deserialize;
use tokio_postgres::Client;

/// From here on generated columns in a replica identity make UPDATE fail, unless they are published.
const GENERATED_REFUSED: i32 = 180_000;
/// From here on a publication may hold schemas, column lists and row filters.
pub(super) const SCHEMAS: i32 = 150_000;

/// What the judgement depends on beside the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// `server_version_num`
    pub(super) version: i32,
    /// The publication sends stored generated columns (18+).
    pub(super) sends_stored: bool,
}

/// A table that one of our publications holds or shall hold.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Held {
    schema: String,
    name: String,
    /// Our publications that hold it.
    pub(super) members: Vec<Member>,
    /// The table itself; of a partitioned one every table below it too, the root first.
    relations: Vec<WrittenTable>,
}

/// How one publication holds a table.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Member {
    pub(super) publication: String,
    /// Named itself; false: by its schema.
    pub(super) direct: bool,
    /// With `WHERE`.
    pub(super) filtered: bool,
    /// The names in its column list.
    columns: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct WrittenTable {
    schema: String,
    name: String,
    /// `pg_class.relkind`, `relpersistence`, `relreplident`
    kind: char,
    persistence: char,
    identity: char,
    /// The kinds of its generated columns: `s` stored, `v` virtual.
    generated: String,
    /// Those that may be a replica identity: unique, valid, immediate, without WHERE and expressions.
    indexes: Vec<UniqueIndex>,
}

#[derive(Debug, Clone, Deserialize)]
struct UniqueIndex {
    name: String,
    primary: bool,
    identity: bool,
    nullable: bool,
    generated: String,
    columns: Vec<String>,
}

/// `{LISTED}`, `{FILTERED}` and `{SCHEMAS}` depend on the version.
const FACTS: &str = "
WITH ours AS (SELECT oid, pubname::text AS name FROM pg_publication WHERE pubname = ANY ($1)),
member AS (
    SELECT o.name AS publication, pr.prrelid AS relid, true AS direct, {FILTERED} AS filtered, {LISTED} AS listed
    FROM pg_publication_rel pr JOIN ours o ON o.oid = pr.prpubid {SCHEMAS}),
named AS (
    SELECT relid FROM member UNION
    SELECT c.oid FROM unnest($2::text[], $3::text[]) AS w(schema, name)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name),
written AS (
    SELECT named.relid AS named, coalesce(t.relid, named.relid) AS relid, coalesce(t.level, 0) AS level
    FROM named JOIN pg_class c ON c.oid = named.relid LEFT JOIN LATERAL pg_partition_tree(named.relid) t ON c.relkind = 'p'),
attribute AS (
    SELECT attrelid, attnum, attname::text AS name, attnotnull, attgenerated::text AS generated
    FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT relid FROM written)),
fit AS (
    SELECT i.indrelid, json_build_object('name', x.relname, 'primary', i.indisprimary, 'identity', i.indisreplident,
        'nullable', bool_or(NOT a.attnotnull), 'generated', string_agg(a.generated, ''),
        'columns', json_agg(a.name ORDER BY k.place)) AS fact
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
    JOIN attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident, x.relname),
relation AS (
    SELECT w.named, w.level, l.oid, json_build_object('schema', n.nspname, 'name', l.relname, 'kind', l.relkind,
        'persistence', l.relpersistence, 'identity', l.relreplident,
        'generated', (SELECT coalesce(string_agg(DISTINCT a.generated, ''), '') FROM attribute a WHERE a.attrelid = l.oid),
        'indexes', (SELECT coalesce(json_agg(f.fact ORDER BY f.fact ->> 'name'), '[]') FROM fit f WHERE f.indrelid = l.oid)) AS fact
    FROM written w JOIN pg_class l ON l.oid = w.relid JOIN pg_namespace n ON n.oid = l.relnamespace)
SELECT json_build_object('schema', n.nspname, 'name', c.relname,
    'members', (SELECT coalesce(json_agg(json_build_object('publication', m.publication, 'direct', m.direct, 'filtered', m.filtered,
            'columns', (SELECT json_agg(a.name) FROM attribute a WHERE a.attrelid = m.relid AND a.attnum = ANY (m.listed)))), '[]')
        FROM member m WHERE m.relid = c.oid),
    'relations', (SELECT json_agg(r.fact ORDER BY r.level, r.oid) FROM relation r WHERE r.named = c.oid))
FROM named JOIN pg_class c ON c.oid = named.relid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY n.nspname, c.relname";

const BY_SCHEMA: &str = "
    UNION ALL SELECT o.name, c.oid, false, false, NULL FROM pg_publication_namespace pn JOIN ours o ON o.oid = pn.pnpubid
    JOIN pg_class c ON c.relnamespace = pn.pnnspid AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'";

/// Everything that these publications hold, and these tables whether held or not.
pub(super) async fn held(
    client: &Client,
    version: i32,
    publications: &[&str],
    tables: &[TableName],
) -> Result<Vec<Held>, PgError> {
    let modern = version >= SCHEMAS;
    let sql = FACTS
        .replace("{FILTERED}", if modern { "pr.prqual IS NOT NULL" } else { "false" })
        .replace("{LISTED}", if modern { "pr.prattrs::int2[]" } else { "NULL::int2[]" })
        .replace("{SCHEMAS}", if modern { BY_SCHEMA } else { "" });
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let rows = client.query(&sql, &[&publications, &schemas, &names]).await?;
    let read = |row: &tokio_postgres::Row| serde_json::from_value(row.get(0));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(|error| PgError::Statement(format!("the catalog's answer cannot be read: {error}")))
}

impl Held {
    /// Its name.
    pub(super) fn table(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }

    /// Held by `publication`, by name or by schema.
    pub(super) fn is_in(&self, publication: &str) -> bool {
        self.members.iter().any(|member| member.publication == publication)
    }

    /// Named by `publication` itself.
    pub(super) fn is_named_by(&self, publication: &str) -> bool {
        self.members.iter().any(|member| member.direct && member.publication == publication)
    }

    /// Why no publication can hold it, or would send only some of its rows.
    pub(super) fn unfit(&self) -> Vec<Refusal> {
        self.relations.iter().filter_map(WrittenTable::unfit).collect()
    }

    /// Why updates or deletes fail while `publication`, which sends both, holds it.
    pub(super) fn harm(&self, publication: &str, server: Server) -> Vec<Refusal> {
        if fault::planted("publish-unjudged") {
            return Vec::new();
        }
        let published = self.is_in(publication);
        let below = self.relations.iter().enumerate();
        let rootless =
            self.relations.first().is_some_and(|root| root.kind == 'p' && root.key(server).is_none());
        let mut harm: Vec<Refusal> = below
            .filter_map(|(level, relation)| match relation.kind {
                'p' if level == 0 => relation.harm_of_partitions(server),
                'p' => None,
                // the key that the root lacks would be this one's too
                _ if rootless && relation.identity == 'd' => None,
                _ => relation.harm(server, published),
            })
            .collect();
        let lists = self.members.iter().filter(|member| member.publication == publication);
        for list in lists.filter_map(|member| member.columns.as_ref()) {
            if self.relations.iter().any(|relation| relation.is_cut_by(list)) {
                harm.push(self.listed(publication));
            }
        }
        if published && !harm.is_empty() {
            let stop = format!(" -- to stop the harm at once: {}", drop_sql(publication, &self.table()));
            for refusal in &mut harm {
                refusal.remedy_sql.push_str(&stop);
            }
        }
        harm
    }

    fn listed(&self, publication: &str) -> Refusal {
        let table = self.table();
        Refusal {
            what: format!(
                "the publication {publication} lists columns of {table} without its whole replica identity: its updates and \
                 deletes fail"
            ),
            remedy_sql: renew_sql(publication, &table),
        }
    }
}

/// Takes a table out of a publication; without ONLY that fails where an inheritor is not in it.
pub(super) fn drop_sql(publication: &str, table: &TableName) -> String {
    format!("ALTER PUBLICATION {} DROP TABLE ONLY {};", quote(publication), table.quoted())
}

/// Puts a table in anew, without filter and column list.
pub(super) fn renew_sql(publication: &str, table: &TableName) -> String {
    let add = format!("ALTER PUBLICATION {} ADD TABLE ONLY {};", quote(publication), table.quoted());
    format!("{} {add}", drop_sql(publication, table))
}

impl Server {
    /// A replica identity with generated columns of these kinds makes UPDATE and DELETE fail.
    fn refuses(self, generated: &str) -> bool {
        self.version >= GENERATED_REFUSED
            && (generated.contains('v') || generated.contains('s') && !self.sends_stored)
    }
}

impl WrittenTable {
    fn table(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }

    fn alter(&self, what: &str) -> String {
        format!("ALTER TABLE {} {what};", self.table().quoted())
    }

    /// The primary key, if it serves as an identity.
    fn key(&self, server: Server) -> Option<&UniqueIndex> {
        self.indexes.iter().find(|index| index.primary && !server.refuses(&index.generated))
    }

    fn unfit(&self) -> Option<Refusal> {
        let table = self.table();
        if !matches!(self.kind, 'r' | 'p') {
            let what = format!("{table} is no ordinary table: it cannot be published");
            return Some(Refusal { what, remedy_sql: "-- map the table below it instead".into() });
        }
        (self.persistence != 'p').then(|| Refusal {
            what: format!("{table} is not logged (UNLOGGED or TEMPORARY): it cannot be published"),
            remedy_sql: self.alter("SET LOGGED"),
        })
    }

    /// New partitions inherit the root's key and nothing else of its identity.
    fn harm_of_partitions(&self, server: Server) -> Option<Refusal> {
        if self.key(server).is_some() {
            return None;
        }
        let table = self.table();
        let generated = self.indexes.iter().any(|index| index.primary);
        let (why, remedy_sql) = if generated {
            let note =
                "-- map its partitions, or publish only inserts of it: its key holds a generated column";
            ("has a generated column in its primary key", note.to_owned())
        } else {
            let columns =
                self.indexes.iter().find(|index| !index.nullable && !server.refuses(&index.generated));
            let columns = columns.map_or_else(|| "…".to_owned(), |index| list(&index.columns));
            ("has no primary key", self.alter(&format!("ADD PRIMARY KEY ({columns})")))
        };
        let what = format!(
            "{table} is partitioned and {why}: once it is published, updates and deletes of its next new partition would fail"
        );
        Some(Refusal { what, remedy_sql })
    }

    fn harm(&self, server: Server, published: bool) -> Option<Refusal> {
        let why = self.harmful(server)?;
        let when = if published {
            "it is published, and its updates and deletes fail"
        } else {
            "once it is published, its updates and deletes would fail"
        };
        Some(Refusal { what: format!("{} {why}: {when}", self.table()), remedy_sql: self.remedy(server) })
    }

    /// What Postgres refuses in the identity.
    fn harmful(&self, server: Server) -> Option<&'static str> {
        let refused = |index: &UniqueIndex| server.refuses(&index.generated);
        match (self.identity, self.replica_index()) {
            ('f', _) if server.refuses(&self.generated) => {
                Some("has REPLICA IDENTITY FULL and a generated column that is not published")
            }
            ('f', _) => None,
            ('n', _) => Some("has REPLICA IDENTITY NOTHING"),
            (_, Some(index)) if refused(index) => {
                Some("has a generated column in its replica identity that is not published")
            }
            (_, Some(_)) => None,
            ('i', None) => Some("has lost the index of its REPLICA IDENTITY"),
            (_, None) => Some("has no primary key"),
        }
    }

    /// The index that the identity is sent by.
    fn replica_index(&self) -> Option<&UniqueIndex> {
        self.indexes.iter().find(|index| match self.identity {
            'd' => index.primary,
            'i' => index.identity,
            _ => false,
        })
    }

    fn remedy(&self, server: Server) -> String {
        let unique =
            || self.indexes.iter().find(|index| !index.nullable && !server.refuses(&index.generated));
        if self.key(server).is_some() {
            self.alter("REPLICA IDENTITY DEFAULT")
        } else if let Some(index) = unique() {
            self.alter(&format!("REPLICA IDENTITY USING INDEX {}", quote(&index.name)))
        } else if !server.refuses(&self.generated) {
            self.alter("REPLICA IDENTITY FULL")
        } else if self.indexes.iter().any(|index| index.primary) {
            format!(
                "-- make a unique index of columns that are NOT NULL and not generated, then: {}",
                self.alter("REPLICA IDENTITY USING INDEX …")
            )
        } else {
            self.alter("ADD PRIMARY KEY (…)")
        }
    }

    /// A column list must cover the identity, and FULL is covered by none.
    fn is_cut_by(&self, list: &[String]) -> bool {
        match self.identity {
            'f' => true,
            _ => self
                .replica_index()
                .is_some_and(|index| index.columns.iter().any(|name| !list.contains(name))),
        }
    }
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests;
