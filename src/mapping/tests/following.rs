//! One transaction, many versions: which image is sent, and how often.
use super::{World, delete, insert, table, truncate, update, update_from};
use std::sync::Arc;

const COLUMNS: &str = "*id tenant_id number status total:numeric";
const CREATED: &str = "[[event]]\nname = 'invoice.created'\ntable = 'public.invoices'\non = 'insert'\ntenant = 'tenant_id'\ndata = { id = 'id', number = 'number', total = 'total' }\n";
const SENT: &str = "[[event]]\nname = 'invoice.sent'\ntable = 'public.invoices'\non = 'update'\nbecomes = { status = 'sent' }\ntenant = 'tenant_id'\ndata = { id = 'id', status = 'status' }\n";
const GONE: &str = "[[event]]\nname = 'invoice.gone'\ntable = 'public.invoices'\non = 'delete'\ntenant = 'tenant_id'\ndata = { id = 'id', number = 'number' }\n";

fn invoices() -> Arc<crate::domain::Table> {
    table("public.invoices", COLUMNS)
}

#[test]
fn five_updates_in_the_first_transaction_give_one_event_with_the_final_row() {
    let mut world = World::new(CREATED);
    let t = invoices();
    let told = world.told(vec![
        insert(&t, r#""i"|"t"|null|"draft"|null"#),
        update(&t, r#""i"|"t"|null|"draft"|10"#),
        update(&t, r#""i"|"t"|"A-1"|"draft"|10"#),
        update(&t, r#""i"|"t"|"A-1"|"draft"|12.10"#),
        update(&t, r#""i"|"t"|"A-2"|"draft"|12.10"#),
        update(&t, r#""i"|"t"|"A-2"|"sent"|12.10"#),
    ]);
    assert_eq!(told, [r#"invoice.created {"id":"i","number":"A-2","total":12.10}"#]);
}

#[test]
fn row_change_gives_one_event_a_change_with_its_own_image() {
    let rules = "[[event]]\nname = 'a.b'\ntable = 'public.invoices'\non = ['insert', 'update']\ntenant = 'tenant_id'\nrow = 'change'\ndata = { total = 'total' }";
    let mut world = World::new(rules);
    let t = invoices();
    let told = world.told(vec![
        insert(&t, r#"1|"t"|null|null|1"#),
        update(&t, r#"1|"t"|null|null|2"#),
        update(&t, r#"1|"t"|null|null|3"#),
    ]);
    assert_eq!(told, [r#"a.b {"total":1}"#, r#"a.b {"total":2}"#, r#"a.b {"total":3}"#]);
}

#[test]
fn conditions_are_judged_on_each_change() {
    let mut world = World::new(&format!("{CREATED}{SENT}"));
    let t = invoices();
    let told = world.told(vec![
        insert(&t, r#"1|"t"|null|"draft"|1"#),
        update(&t, r#"1|"t"|null|"sent"|1"#),
        update(&t, r#"1|"t"|null|"paid"|1"#),
        update(&t, r#"1|"t"|null|"sent"|1"#),
        update(&t, r#"1|"t"|"N"|"paid"|1"#),
    ]);
    assert_eq!(
        told,
        [r#"invoice.created {"id":1,"number":"N","total":1}"#, r#"invoice.sent {"id":1,"status":"paid"}"#],
        "it was sent, once, and stands as paid at commit"
    );
}

#[test]
fn a_row_is_followed_through_key_changes() {
    let mut world = World::new(&format!("{CREATED}{SENT}{GONE}"));
    let t = invoices();
    let told = world.told(vec![
        insert(&t, r#"1|"t"|"A"|"draft"|1"#),
        update_from(&t, "1|~|~|~|~", r#"2|"t"|"A"|"draft"|1"#),
        insert(&t, r#"1|"t"|"B"|"draft"|9"#),
        update(&t, r#"2|"t"|"A"|"sent"|1"#),
    ]);
    assert_eq!(
        told,
        [
            r#"invoice.created {"id":2,"number":"A","total":1}"#,
            r#"invoice.created {"id":1,"number":"B","total":9}"#,
            r#"invoice.sent {"id":2,"status":"sent"}"#,
        ]
    );
    // and in the shadow, over transactions
    assert_eq!(world.told(vec![update_from(&t, "2|~|~|~|~", r#"3|"t"|"A"|"sent"|1"#)]), [""; 0]);
    assert_eq!(world.shadow.len(), 2);
    assert_eq!(world.told(vec![update(&t, r#"3|"t"|"A"|"sent"|2"#)]), [""; 0]);
    assert_eq!(world.told(vec![delete(&t, "3|~|~|~|~")]), [r#"invoice.gone {"id":3,"number":"A"}"#]);
    assert_eq!(world.shadow.len(), 1);
}

#[test]
fn a_row_that_is_gone_at_commit_is_sent_as_it_last_was() {
    let mut world = World::new(&format!("{CREATED}{GONE}"));
    let t = invoices();
    let told = world.told(vec![
        insert(&t, r#"1|"t"|"A"|"draft"|1"#),
        update(&t, r#"1|"t"|"B"|"draft"|2"#),
        delete(&t, "1|~|~|~|~"),
    ]);
    assert_eq!(
        told,
        [r#"invoice.created {"id":1,"number":"B","total":2}"#, r#"invoice.gone {"id":1,"number":"B"}"#]
    );
    assert!(world.shadow.is_empty());
}

#[test]
fn a_row_that_comes_back_is_the_same_row() {
    let mut world = World::new(&format!("{CREATED}{GONE}"));
    let t = invoices();
    world.commit(vec![insert(&t, r#"1|"t"|"A"|"draft"|1"#)]);
    let told = world.told(vec![
        delete(&t, "1|~|~|~|~"),
        insert(&t, r#"1|"t"|"B"|"draft"|2"#),
        delete(&t, "1|~|~|~|~"),
        insert(&t, r#"1|"t"|"C"|"draft"|3"#),
    ]);
    assert_eq!(
        told,
        [r#"invoice.gone {"id":1,"number":"B"}"#, r#"invoice.created {"id":1,"number":"C","total":3}"#]
    );
    assert_eq!(world.shadow.len(), 1);
}

#[test]
fn truncate_gives_one_event_a_table_and_clears_the_shadow() {
    let emptied = "[[event]]\nname = 'invoice.emptied'\ntable = 'public.invoices'\non = 'truncate'\ntenant = { const = 'main' }\n";
    let mut world = World::new(&format!("{CREATED}{SENT}{emptied}"));
    let t = invoices();
    world.commit(vec![insert(&t, r#"1|"t"|"A"|"draft"|1"#), insert(&t, r#"2|"t"|"A"|"draft"|1"#)]);
    assert_eq!(world.shadow.len(), 2);
    let derived = world.commit(vec![
        insert(&t, r#"3|"t"|"C"|"draft"|1"#),
        truncate(&t),
        truncate(&t),
        insert(&t, r#"1|"t"|"D"|"draft"|1"#),
    ]);
    assert_eq!(
        super::told(&derived),
        [
            r#"invoice.created {"id":3,"number":"C","total":1}"#,
            "invoice.emptied {}",
            r#"invoice.created {"id":1,"number":"D","total":1}"#
        ]
    );
    let event = &derived.events[1];
    assert_eq!((event.tenant.as_str(), &event.resource), ("main", &None));
    assert_eq!(super::body(event)["resource_id"], serde_json::Value::Null);
    assert_eq!(super::body(event)["resource_type"], "invoice");
    assert_eq!(world.shadow.len(), 1);
    assert_eq!(
        world.told(vec![update(&t, r#"1|"t"|"D"|"sent"|1"#)]),
        [r#"invoice.sent {"id":1,"status":"sent"}"#]
    );
    // a rule of each change hears each of them
    let each = emptied.replace("on =", "row = 'change'\non =");
    assert_eq!(World::new(&each).told(vec![truncate(&t), truncate(&t)]), ["invoice.emptied {}"; 2]);
    // a row of before the truncate is not known any more
    assert_eq!(world.told(vec![update(&t, r#"2|"t"|"D"|"sent"|1"#)]), ["!invoice.sent unknown-old"]);
}

#[test]
fn order_is_by_first_match_then_by_rule() {
    let rules = format!("{SENT}{CREATED}{}", CREATED.replace("[[event]]", "[[event]]\nrule = 'again'"));
    let mut world = World::new(&rules);
    let t = invoices();
    let derived = world.commit(vec![
        insert(&t, r#"1|"t"|null|"draft"|1"#),
        insert(&t, r#"2|"t"|null|"draft"|1"#),
        update(&t, r#"1|"t"|null|"sent"|1"#),
    ]);
    let order: Vec<String> = derived
        .events
        .iter()
        .map(|event| {
            format!("{} {} {}", event.sequence.number, event.name, event.resource.as_ref().unwrap().id)
        })
        .collect();
    assert_eq!(
        order,
        [
            "0 invoice.created 1",
            "1 invoice.created 1",
            "2 invoice.created 2",
            "3 invoice.created 2",
            "4 invoice.sent 1"
        ]
    );
    assert!(derived.events.iter().all(|event| event.sequence.lsn == world.transaction(vec![]).commit_lsn));
}

#[test]
fn a_table_may_change_inside_a_transaction() {
    let mut world = World::new(&format!("{CREATED}{SENT}"));
    let before = invoices();
    let after = table("public.invoices", "*id extra tenant_id status total:numeric number");
    let told = world
        .told(vec![insert(&before, r#"1|"t"|"A"|"draft"|1"#), update(&after, r#"1|"x"|"t"|"sent"|2|~"#)]);
    assert_eq!(
        told,
        [r#"invoice.created {"id":1,"number":"A","total":2}"#, r#"invoice.sent {"id":1,"status":"sent"}"#]
    );
    // a dropped column breaks the rule that needs it, and nothing else
    let dropped = table("public.invoices", "*id tenant_id status total:numeric");
    let told =
        world.told(vec![insert(&dropped, r#"2|"t"|"draft"|1"#), update(&dropped, r#"2|"t"|"sent"|1"#)]);
    assert_eq!(
        told,
        [
            r#"error.occurred {"rule":"invoice.created","table":"public.invoices","key":"id=2","reason":"public.invoices has no column number"}"#,
            r#"invoice.sent {"id":2,"status":"sent"}"#,
            "!invoice.created payload"
        ]
    );
}

#[test]
fn a_table_without_a_key_is_taken_change_by_change() {
    let rules = "[[event]]\nname = 'log.line'\ntable = 'public.log'\non = ['insert', 'update', 'delete']\ntenant = { const = 'x' }\nresource = { id = 'a' }";
    let mut world = World::new(rules);
    let t = table("public.log", "a b");
    let told = world.told(vec![
        insert(&t, "1|2"),
        insert(&t, "1|2"),
        update_from(&t, "1|2", "1|3"),
        delete(&t, "1|3"),
    ]);
    assert_eq!(
        told,
        [
            r#"log.line {"a":1,"b":2}"#,
            r#"log.line {"a":1,"b":2}"#,
            r#"log.line {"a":1,"b":3}"#,
            r#"log.line {"a":1,"b":3}"#
        ]
    );
    assert!(world.shadow.is_empty());
}

#[test]
fn malformed_changes_do_not_panic() {
    use crate::domain::{Change, Operation};
    let mut world = World::new(&format!("{CREATED}{SENT}{GONE}"));
    let t = invoices();
    for op in [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate] {
        for image in [None, Some(vec![]), Some(super::row("1")), Some(super::row("1|2|3|4|5|6|7"))] {
            world.commit(vec![
                Change { op, table: Arc::clone(&t), old: image.clone(), new: None },
                Change { op, table: Arc::clone(&t), old: None, new: image },
            ]);
        }
    }
}
