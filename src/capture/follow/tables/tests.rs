//! What people do to tables, seen in the catalog and in the stream.
use super::*;
use crate::domain::{Column, ReplicaIdentity, TypeKind};
use crate::mapping::Mapping;

fn plan(remembered: &[&str]) -> Plan {
    let rule = |column: &&str| {
        let text = format!(
            "name = 'a.{column}'\ntable = 'public.a'\non = 'update'\nchanged = ['{column}']\ntenant = {{ const = 't' }}"
        );
        (1, toml::from_str(&text).unwrap())
    };
    Mapping::compile(remembered.iter().map(rule).collect()).unwrap().plan().clone()
}

fn table(oid: u32, columns: &[(&str, u32)], key: &[usize]) -> Table {
    let column = |(name, type_oid): &(&str, u32)| Column {
        name: (*name).into(),
        kind: TypeKind::Text,
        type_oid: *type_oid,
        type_name: String::new(),
        not_null: false,
    };
    Table {
        oid,
        schema: "public".into(),
        name: "a".into(),
        columns: columns.iter().map(column).collect(),
        primary_key: key.to_vec(),
        replica_identity: ReplicaIdentity::Default,
    }
}

fn standing(described: Table, membership: &str) -> TableStanding {
    TableStanding { table: "public.a".into(), described, membership: membership.into() }
}

fn look(standing: Option<TableStanding>) -> CatalogLook {
    CatalogLook { at: Lsn(9), tables: standing.into_iter().collect() }
}

const COLUMNS: [(&str, u32); 3] = [("id", 23), ("status", 25), ("notes", 25)];

fn followed() -> (FollowedTables, Plan) {
    let plan = plan(&["status"]);
    let mut tables = FollowedTables::new(["public.a".to_owned()], "");
    assert!(tables.compare(&look(Some(standing(table(7, &COLUMNS, &[0]), "m"))), &plan, Lsn(1)).is_empty());
    (FollowedTables::new(["public.a".to_owned()], &tables.text()), plan)
}

/// What people do to a table, as the catalog shows it afterwards.
#[test]
fn a_table_that_is_another_now_is_in_a_gap() {
    let retyped = [("id", 23), ("status", 1043), ("notes", 25)];
    for (now, why) in [
        (None, "no table of this name"),
        (Some((table(8, &COLUMNS, &[0]), "m")), "another table has its name"),
        (Some((table(8, &COLUMNS, &[0]), "")), "another table has its name"),
        (Some((table(7, &COLUMNS, &[0]), "")), "taken out of the publication"),
        (Some((table(7, &COLUMNS, &[0]), "n")), "was out of the publication"),
        (Some((table(7, &COLUMNS, &[0, 2]), "m")), "another primary key"),
        (Some((table(7, &retyped, &[0]), "m")), "column status"),
        (Some((table(7, &[("id", 23), ("state", 25)], &[0]), "m")), "column status"),
    ] {
        let (mut tables, plan) = followed();
        let now = look(now.map(|(table, membership)| standing(table, membership)));
        let gaps = tables.compare(&now, &plan, Lsn(5));
        assert!(gaps.len() == 1 && gaps[0].reason.contains(why), "{why}: {gaps:?}");
        assert!(
            tables.is_in_gap("public.a", Lsn(9)) && !tables.is_in_gap("public.a", Lsn(8)),
            "since the last look"
        );
        assert!(tables.compare(&now, &plan, Lsn(6)).is_empty(), "announced once");
        // through a restart, until it is filled
        let mut tables = FollowedTables::new(["public.a".to_owned()], &tables.text());
        assert_eq!(tables.gaps().collect::<Vec<_>>(), gaps.iter().collect::<Vec<_>>());
        let put_back = standing(table(8, &COLUMNS, &[0]), "m2");
        tables.filled(&put_back, &plan, Lsn(20));
        assert!(!tables.is_in_gap("public.a", Lsn(9)) && tables.generation("public.a") == 1);
        // a look beside the gap says nothing of it: what is found now has been so since it was filled
        let mut lapsed = tables.clone();
        let again = CatalogLook { at: Lsn(40), tables: vec![standing(table(8, &COLUMNS, &[0]), "m3")] };
        assert_eq!(lapsed.compare(&again, &plan, Lsn(7)).first().map(|gap| gap.from), Some(Lsn(20)));
        let fine = CatalogLook { at: Lsn(30), tables: vec![put_back] };
        assert!(tables.compare(&fine, &plan, Lsn(7)).is_empty());
        assert_eq!(tables.compare(&again, &plan, Lsn(7)).first().map(|gap| gap.from), Some(Lsn(30)));
    }
}

#[test]
fn what_does_not_touch_what_is_remembered_is_no_gap() {
    let more = [("id", 23), ("status", 25), ("notes", 1043), ("more", 25)];
    let (mut tables, narrow) = followed();
    assert!(tables.compare(&look(Some(standing(table(7, &more, &[0]), "m"))), &narrow, Lsn(5)).is_empty());
    // the mapping remembers more now, or less: the fill's business
    let wide = plan(&["status", "notes"]);
    assert!(tables.compare(&look(Some(standing(table(7, &more, &[0]), "m"))), &wide, Lsn(5)).is_empty());
    assert_eq!(tables.announced(&table(7, &COLUMNS, &[0]), &wide, Lsn(6)).len(), 1, "now it does");
    // never there: its rules are parked
    let mut parked = FollowedTables::new(["public.b".to_owned()], "");
    assert!(parked.compare(&look(None), &narrow, Lsn(5)).is_empty());
}

#[test]
fn the_stream_tells_before_the_next_look() {
    let (mut tables, plan) = followed();
    assert!(tables.announced(&table(7, &COLUMNS, &[0]), &plan, Lsn(5)).is_empty(), "as it was");
    let renamed = Table { name: "a_old".into(), ..table(7, &COLUMNS, &[0]) };
    let gaps = tables.announced(&renamed, &plan, Lsn(50));
    assert!(gaps[0].reason.contains("renamed to public.a_old") && gaps[0].from == Lsn(9), "{gaps:?}");
    let (mut tables, plan) = followed();
    let gaps = tables.announced(&table(8, &COLUMNS, &[0]), &plan, Lsn(60));
    assert_eq!((gaps.len(), gaps[0].from), (1, Lsn(9)), "what came before it may be lost as well");
}

/// A stream that lags shows the table as it was before the look, and one that is ahead of the look as it has become since.
#[test]
fn a_fill_is_used_only_if_the_table_is_not_another_since_the_look() {
    let (mut tables, plan) = followed();
    let now = standing(table(8, &COLUMNS, &[0]), "m2");
    assert_eq!(tables.compare(&look(Some(now.clone())), &plan, Lsn(5)).len(), 1);
    assert!(tables.stands(&now, &plan, Lsn(9)), "the stream shows nothing");
    for (shown, commit, stands) in [(7, 8, true), (8, 20, true), (9, 21, false)] {
        assert!(tables.announced(&table(shown, &COLUMNS, &[0]), &plan, Lsn(commit)).is_empty());
        assert_eq!(tables.stands(&now, &plan, Lsn(9)), stands, "{shown} at {commit}");
    }
}
