//! Bodies byte for byte, ids, tenants, resources, sizes.
use super::{World, body, delete, insert, table, told, update};
use proptest::prelude::*;
use std::collections::HashSet;

const CREATED: &str =
    "[[event]]\nname = 'invoice.created'\ntable = 'public.invoices'\non = 'insert'\ntenant = 'tenant_id'\n";

#[test]
fn the_body_is_exactly_this() {
    let mut world = World::new(&format!(
        "{CREATED}resource = {{ type = 'bill', id = 'number' }}\nversion = '2.1'\ndata = {{ zebra = 'total', amount = 'total', b = 'status' }}"
    ));
    let t = table("public.invoices", "*id tenant_id number status total:numeric");
    let derived = world
        .commit(vec![insert(&t, r#""0192f0c1-0000-8000-8000-0123456789ab"|"acme"|"A-\"1\""|null|1250.000"#)]);
    let event = &derived.events[0];
    assert_eq!(
        String::from_utf8(event.body.to_vec()).unwrap(),
        format!(
            r#"{{"id":"{}","timestamp":"2026-02-14T10:30:00.123457+00:00","event":"invoice.created","tenant_id":"acme","resource_type":"bill","resource_id":"A-\"1\"","data":{{"zebra":1250.000,"amount":1250.000,"b":null}},"metadata":{{"tenant_id":"acme","source":"gestiqcloud","version":"2.1"}}}}"#,
            event.id
        )
    );
    assert_eq!(event.resource.as_ref().map(|r| (r.kind.as_str(), r.id.as_str())), Some(("bill", "A-\"1\"")));
    assert_eq!((event.tenant.as_str(), event.timestamp_us), ("acme", 1_771_065_000_123_457));
}

#[test]
fn data_is_what_the_rule_says() {
    let t = table("public.invoices", "*id tenant_id number status total:numeric");
    let row = r#"1|"t"|"A"|{"b": 1, "a":  2}|1.0"#;
    for (more, data) in [
        ("", r#"{"id":1,"tenant_id":"t","number":"A","status":{"b": 1, "a":  2},"total":1.0}"#),
        ("omit = ['tenant_id', 'status']", r#"{"id":1,"number":"A","total":1.0}"#),
        ("data = { b = 'total', a = 'id' }", r#"{"b":1.0,"a":1}"#),
        ("data = { 'odd \"key\"' = 'total' }", r#"{"odd \"key\"":1.0}"#),
    ] {
        let mut world = World::new(&format!("{CREATED}{more}"));
        let derived = world.commit(vec![insert(&t, row)]);
        let text = String::from_utf8(derived.events[0].body.to_vec()).unwrap();
        assert!(text.contains(&format!(r#","data":{data},"metadata""#)), "{more}: {text}");
    }
}

#[test]
fn resources_are_texts() {
    for (columns, row, more, id) in [
        ("*id tenant_id", r#"1|"t""#, "", Some("1")),
        ("*a tenant_id *b", r#""x"|"t"|2"#, "", Some("x,2")),
        ("*id tenant_id c", r#"1|"t"|"z""#, "resource = { id = 'c' }", Some("z")),
        ("*id tenant_id c", r#"1|"t"|true"#, "resource = { id = ['c', 'id'] }", Some("true,1")),
        ("*id tenant_id c", r#"1|"t"|null"#, "resource = { id = 'c' }", None),
    ] {
        let mut world = World::new(&format!("{CREATED}{more}"));
        let derived = world.commit(vec![insert(&table("public.invoices", columns), row)]);
        let event = &derived.events[0];
        assert_eq!(event.resource.as_ref().map(|resource| resource.id.as_str()), id, "{columns} {more}");
        assert_eq!(body(event)["resource_id"].as_str(), id);
        assert_eq!(body(event)["resource_type"], "invoice");
    }
}

#[test]
fn a_null_tenant_gives_no_event_but_a_fault() {
    let mut world = World::new(CREATED);
    let t = table("public.invoices", "*id tenant_id secret");
    let derived = world.commit(vec![insert(&t, r#"7|null|"hush""#), insert(&t, r#"8|"t"|"hush""#)]);
    assert_eq!(
        told(&derived),
        [r#"invoice.created {"id":8,"tenant_id":"t","secret":"hush"}"#, "!invoice.created tenant"]
    );
    assert_eq!(derived.events[0].sequence.number, 0);
    assert_eq!(derived.faults[0].detail, "public.invoices (id=7): the tenant is NULL");
    assert_eq!(
        world.told(vec![insert(&t, r#"7|""|null"#)]),
        ["!invoice.created tenant"],
        "nor does an empty one"
    );
    let mut world = World::new(&CREATED.replace("'tenant_id'", "{ const = 'main' }"));
    assert_eq!(world.commit(vec![insert(&t, "7|null|null")]).events[0].tenant.as_str(), "main");
}

#[test]
fn a_body_may_be_too_large() {
    let mut world = World::new(CREATED);
    world.context.max_payload = 1000;
    let t = table("public.invoices", "*id tenant_id text");
    let long = format!(r#"1|"t"|"{}""#, "x".repeat(1000));
    let derived = world.commit(vec![
        insert(&t, &long),
        insert(&t, &long.replacen('1', "2", 1)),
        insert(&t, r#"3|"t"|"x""#),
    ]);
    let names: Vec<&str> = derived.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["error.occurred", "invoice.created"], "one announcement a rule and transaction");
    assert_eq!(derived.faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), ["size", "size"]);
    assert_eq!(body(&derived.events[0])["data"]["key"], "id=1");
    assert_eq!(derived.events[1].sequence.number, 1);
    // as large as allowed is not too large
    let mut world = World::new(CREATED);
    let size = world.look(&world.transaction(vec![insert(&t, &long)])).events[0].body.len();
    for (max_payload, sent) in [(size, 1), (size - 1, 0)] {
        world.context.max_payload = max_payload;
        let derived = world.look(&world.transaction(vec![insert(&t, &long)]));
        assert_eq!(derived.events.iter().filter(|e| e.name.as_str() == "invoice.created").count(), sent);
    }
}

fn ids(world: &World, transaction: &crate::domain::Transaction) -> Vec<crate::domain::EventId> {
    world.look(transaction).events.iter().map(|event| event.id).collect()
}

#[test]
fn ids_are_a_pure_function_of_the_change() {
    let rules = format!("{CREATED}row = 'change'\n{CREATED}rule = 'second'\n");
    let mut world = World::new(&rules);
    let t = table("public.invoices", "*id tenant_id");
    let other = table("public.elsewhere", "*id tenant_id");
    let changes = vec![insert(&t, r#"1|"t""#), insert(&other, r#"1|"t""#), insert(&t, r#"2|"t""#)];
    let transaction = world.transaction(changes);
    let first = ids(&world, &transaction);
    assert_eq!(first, ids(&world, &transaction), "the same through replay");
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4, "one each for two rules and two changes");
    let without = crate::domain::Transaction {
        changes: transaction.changes.iter().filter(|c| c.table == t).cloned().collect(),
        ..transaction.clone()
    };
    assert_eq!(first, ids(&world, &without), "other tables do not count");
    let mut all: HashSet<_> = first.iter().copied().collect();
    for changed in [
        crate::domain::Transaction { xid: 1, ..transaction.clone() },
        crate::domain::Transaction { commit_lsn: crate::domain::Lsn(1), ..transaction.clone() },
        crate::domain::Transaction { commit_us: 1, ..transaction.clone() },
    ] {
        all.extend(ids(&world, &changed));
    }
    world.context.system_id = "other".into();
    all.extend(ids(&world, &transaction));
    assert_eq!(all.len(), 20, "each part of the id counts");
    assert!(first.iter().all(|id| id.0.get_version_num() == 8));
    let begins = |id: &crate::domain::EventId| i64::try_from(id.0.as_u128() >> 80).unwrap();
    assert!(
        first.iter().all(|id| begins(id) == transaction.commit_us / 1000),
        "ids sort by the commit's time"
    );
}

#[test]
fn with_row_commit_the_id_is_that_of_the_first_matching_change() {
    let rules = "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\nwhen = 'new.n > 1'\n";
    let world = World::new(rules);
    let change = World::new(&format!("{rules}row = 'change'"));
    let t = table("public.t", "*id tenant_id n:int");
    let updates = (0..5).map(|n| update(&t, &format!(r#"1|"t"|{n}"#))).collect();
    let transaction = world.transaction(updates);
    let (commit, change) = (world.look(&transaction), change.look(&transaction));
    assert_eq!((commit.events.len(), change.events.len()), (1, 3));
    assert_eq!(commit.events[0].id, change.events[0].id);
    assert_eq!(body(&commit.events[0])["data"]["n"], 4);
}

#[test]
fn a_key_in_a_fault_is_bounded() {
    let mut world = World::new(CREATED);
    let t = table("public.invoices", "*id tenant_id");
    let derived = world.commit(vec![insert(&t, &format!(r#""{}"|null"#, "é".repeat(5000)))]);
    assert!(derived.faults[0].detail.len() < 300);
    // what just fits is whole
    for (length, end) in [(197, "x): "), (198, "…): ")] {
        let derived = world.commit(vec![insert(&t, &format!(r#""{}"|null"#, "x".repeat(length)))]);
        let detail = &derived.faults[0].detail;
        assert!(detail.starts_with("public.invoices (id=xxx") && detail.contains(end), "{detail}");
    }
}

proptest! {
    #![proptest_config(super::steady())]

    #[test]
    fn hostile_values_stay_json(id in any::<String>(), tenant in ".+", text in any::<String>()) {
        let cell = |text: &str| serde_json::to_string(text).unwrap().replace('|', "\\u007c");
        let rules = format!("{CREATED}{}", CREATED.replace("created", "gone").replace("insert", "delete"));
        let mut world = World::new(&rules);
        let t = table("public.invoices", "*id tenant_id text");
        let row = format!("{}|{}|{}", cell(&id), cell(&tenant), cell(&text));
        let derived = world.commit(vec![insert(&t, &row)]);
        let sent = body(&derived.events[0]);
        prop_assert_eq!(sent["data"]["text"].as_str(), Some(text.as_str()));
        prop_assert_eq!(sent["tenant_id"].as_str(), Some(tenant.as_str()));
        prop_assert_eq!(sent["metadata"]["tenant_id"].as_str(), Some(tenant.as_str()));
        prop_assert_eq!(sent["resource_id"].as_str(), Some(id.as_str()));
        let gone = world.commit(vec![delete(&t, &format!("{}|~|~", cell(&id)))]);
        prop_assert_eq!(gone.events[0].tenant.as_str(), tenant.as_str());
        prop_assert!(world.shadow.is_empty());
    }
}
