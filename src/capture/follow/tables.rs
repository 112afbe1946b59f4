//! Purpose: by what each mapped table is followed: its shape (object id, key, remembered types) and its membership in the
//! publications. One that is another now, or was out of a publication meanwhile, is in a gap of its own (SPEC 5.7) until it is
//! filled anew. Must not: ask the server, or read rows.
use crate::capture::source::{CatalogLook, TableStanding};
use crate::domain::{Lsn, Table};
use crate::fault;
use crate::mapping::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stretch of one table's changes that have no events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableGap {
    /// `schema.table`
    pub table: String,
    /// The last position where the table was surely as it was followed. What commits here or later may have no event of it.
    pub from: Lsn,
    /// One line for people.
    pub reason: String,
}

/// What makes it another table for what is remembered of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    oid: u32,
    /// Its primary key, with the types' object ids.
    key: Vec<(String, u32)>,
    /// The remembered columns; type 0: it is not there.
    columns: Vec<(String, u32)>,
}

/// What is noted of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct FollowedTable {
    /// How often it was filled anew: its rows lie under a line of their own each time.
    generation: u32,
    /// `None`: it was not seen yet.
    shape: Option<Shape>,
    /// Empty: it was not looked at yet.
    membership: String,
    /// It was filled anew as it stood here, and not looked at since: looks beside its gap say nothing of it.
    since: Option<Lsn>,
    gap: Option<TableGap>,
    /// What the stream announced last while the gap was open, and in which commit.
    #[serde(skip)]
    seen: Option<(Lsn, Shape)>,
}

/// Before a line of `Identity::shadow_plan` that is about a table and not about rows (names with this sign are quoted there).
pub(in crate::capture) const NOTED: &str = "@";
/// Before the position of the last look.
const FINE_AT: &str = "@@";

/// All mapped tables.
#[derive(Debug, Clone, Default)]
pub struct FollowedTables {
    tables: BTreeMap<String, FollowedTable>,
    /// The tables were as they are followed, when the server's WAL ended here. Noted now and then: a gap that is found at a start
    /// begins before what was followed meanwhile.
    fine_at: Lsn,
}

impl FollowedTables {
    /// The mapped tables beside what is noted of them.
    pub fn new(mapped: impl IntoIterator<Item = String>, noted: &str) -> Self {
        let read = |line: &str| serde_json::from_str(line.strip_prefix(NOTED)?).ok();
        let mut before: BTreeMap<String, FollowedTable> = noted.lines().filter_map(read).collect();
        let followed = |table: String| {
            let known = before.remove(&table).unwrap_or_default();
            (table, known)
        };
        let tables = mapped.into_iter().map(followed).collect();
        let fine_at = noted.lines().find_map(|line| line.strip_prefix(FINE_AT)?.parse().ok());
        Self { tables, fine_at: fine_at.unwrap_or_default() }
    }

    /// As it is noted.
    pub fn text(&self) -> String {
        let line = |noted| [NOTED, &serde_json::json!(noted).to_string(), "\n"].concat();
        self.tables.iter().map(line).chain([format!("{FINE_AT}{}\n", self.fine_at)]).collect()
    }

    /// As of which look.
    pub fn fine_at(&self) -> Lsn {
        self.fine_at
    }

    /// Is there nothing to be noted but another `fine_at`?
    pub fn is_as(&self, noted: &Self) -> bool {
        self.tables == noted.tables
    }

    /// How often it was filled anew.
    pub fn generation(&self, table: &str) -> u32 {
        self.tables.get(table).map_or(0, |followed| followed.generation)
    }

    /// Those that are open, by table.
    pub fn gaps(&self) -> impl Iterator<Item = &TableGap> {
        self.tables.values().filter_map(|followed| followed.gap.as_ref())
    }

    /// Does a change of a transaction that commits here give no event?
    pub fn is_in_gap(&self, table: &str, commit: Lsn) -> bool {
        let gap = self.tables.get(table).and_then(|followed| followed.gap.as_ref());
        gap.is_some_and(|gap| commit >= gap.from)
    }

    /// A look at the catalog. Gives the tables that have changed since the last one; one that is seen for the first time is followed as
    /// it stands. `position` is where the stream stands, for a history that was never looked at.
    pub fn compare(&mut self, look: &CatalogLook, plan: &Plan, position: Lsn) -> Vec<TableGap> {
        let fine_at = if self.fine_at == Lsn::ZERO { position } else { self.fine_at };
        let mut gaps = Vec::new();
        for (table, followed) in self.tables.iter_mut().filter(|(_, followed)| followed.gap.is_none()) {
            let standing = look.tables.iter().find(|standing| *standing.table == **table);
            match followed.differs(standing, plan) {
                Some(reason) if !fault::planted("table-gap-unseen") => {
                    gaps.push(followed.open(table, followed.since.unwrap_or(fine_at), reason));
                }
                _ => {
                    if let Some(standing) = standing {
                        followed.shape = Some(Shape::of(&standing.described, plan));
                        followed.membership.clone_from(&standing.membership);
                        followed.since = None;
                    }
                }
            }
        }
        self.fine_at = look.at;
        gaps
    }

    /// The stream announces a relation inside a transaction that commits at `commit`.
    pub fn announced(&mut self, relation: &Table, plan: &Plan, commit: Lsn) -> Vec<TableGap> {
        let name = relation.full_name();
        let mut gaps = Vec::new();
        for (table, followed) in &mut self.tables {
            if followed.gap.is_some() {
                followed.see(relation, plan, commit);
                continue;
            }
            let Some(known) = &followed.shape else { continue };
            let reason = if *table == name {
                known.conflict(&Shape::of(relation, plan))
            } else {
                (known.oid == relation.oid).then(|| format!("it was renamed to {name}"))
            };
            let from = followed.since.unwrap_or(self.fine_at).min(commit);
            gaps.extend(reason.map(|reason| followed.open(table, from, reason)));
        }
        gaps
    }

    /// May it be followed as it stood when the server's WAL ended at `looked_at`? Not if the stream has shown that it is another since. What
    /// the stream shows of before is older than the look.
    pub fn stands(&self, standing: &TableStanding, plan: &Plan, looked_at: Lsn) -> bool {
        let shape = Shape::of(&standing.described, plan);
        let seen = self.tables.get(&*standing.table).and_then(|followed| followed.seen.as_ref());
        seen.is_none_or(|(commit, seen)| *seen == shape || *commit < looked_at)
    }

    /// It was filled anew and stood so when the server's WAL ended at `looked_at`: the gap ends.
    pub fn filled(&mut self, standing: &TableStanding, plan: &Plan, looked_at: Lsn) {
        if let Some(followed) = self.tables.get_mut(&*standing.table) {
            let shape = Some(Shape::of(&standing.described, plan));
            let (generation, membership) = (followed.generation + 1, standing.membership.clone());
            let since = Some(looked_at);
            *followed = FollowedTable { generation, shape, membership, since, gap: None, seen: None };
        }
    }
}

impl FollowedTable {
    fn see(&mut self, relation: &Table, plan: &Plan, commit: Lsn) {
        if self.gap.as_ref().is_some_and(|gap| gap.table == relation.full_name()) {
            self.seen = Some((commit, Shape::of(relation, plan)));
        }
    }

    fn open(&mut self, table: &str, from: Lsn, reason: String) -> TableGap {
        debug_assert!(self.gap.is_none(), "a gap is opened once");
        let gap = TableGap { table: table.to_owned(), from, reason };
        self.gap = Some(gap.clone());
        gap
    }

    /// Why it is not what was followed.
    fn differs(&self, standing: Option<&TableStanding>, plan: &Plan) -> Option<String> {
        // never there, so its rules are parked and nothing was promised
        let known = self.shape.as_ref()?;
        let Some(standing) = standing else {
            return Some("there is no table of this name any more".to_owned());
        };
        let conflict = known.conflict(&Shape::of(&standing.described, plan));
        if standing.membership.is_empty() && conflict.is_none() {
            return Some("it was taken out of the publication".to_owned());
        }
        let lapsed = !self.membership.is_empty() && self.membership != standing.membership;
        let reason = "it was out of the publication, or the publication's options were others";
        conflict.or_else(|| lapsed.then(|| reason.to_owned()))
    }
}

impl Shape {
    fn of(table: &Table, plan: &Plan) -> Self {
        let typed =
            |at: usize| table.columns.get(at).map(|column| (column.name.to_string(), column.type_oid));
        let key = table.primary_key.iter().filter_map(|at| typed(*at)).collect();
        let remembered =
            plan.table(&table.full_name()).map(|plan| plan.columns.as_slice()).unwrap_or_default();
        let found = |name: &Arc<str>| table.position(name).and_then(typed).unwrap_or((name.to_string(), 0));
        Self { oid: table.oid, key, columns: remembered.iter().map(found).collect() }
    }

    /// Why rows that were remembered of this one must not judge changes of the other. A column that the mapping remembers since, or no more, is
    /// none.
    fn conflict(&self, now: &Self) -> Option<String> {
        if self.oid != now.oid {
            return Some("another table has its name".to_owned());
        }
        if self.key != now.key {
            return Some("it has another primary key".to_owned());
        }
        let other =
            |(name, kind): &&(String, u32)| now.columns.iter().any(|(now, is)| now == name && is != kind);
        let (name, _) = self.columns.iter().find(other)?;
        Some(format!("its column {name} is gone or has another type"))
    }
}

#[cfg(test)]
mod tests;
