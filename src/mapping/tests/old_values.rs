//! Where old values come from, and what happens when nobody knows them.
use super::{World, delete, insert, row, table, truncate, update, update_from};
use crate::mapping::ShadowChange;
use bytes::Bytes;

const SENT: &str = "[[event]]\nname = 'invoice.sent'\ntable = 'public.invoices'\non = 'update'\nbecomes = { status = 'sent' }\ntenant = 'tenant_id'\ndata = { id = 'id' }\n";
const COLUMNS: &str = "*id tenant_id status note";

#[test]
fn a_transition_fires_once_under_the_default_replica_identity() {
    let mut world = World::new(SENT);
    let t = table("public.invoices", COLUMNS);
    assert_eq!(world.told(vec![insert(&t, r#"1|"t"|"draft"|null"#)]), [""; 0]);
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"draft"|"x""#)]), [""; 0]);
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"sent"|"x""#)]), [r#"invoice.sent {"id":1}"#]);
    for note in ["y", "z"] {
        assert_eq!(world.told(vec![update(&t, &format!(r#"1|"t"|"sent"|"{note}""#))]), [""; 0]);
    }
    world.commit(vec![update(&t, r#"1|"t"|"draft"|null"#)]);
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"sent"|null"#)]), [r#"invoice.sent {"id":1}"#]);
}

#[test]
fn the_shadow_is_written_only_when_it_changes() {
    let mut world = World::new(SENT);
    let t = table("public.invoices", COLUMNS);
    assert_eq!(world.commit(vec![insert(&t, r#"1|"t"|"draft"|null"#)]).shadow.len(), 1);
    assert_eq!(world.commit(vec![update(&t, r#"1|"t"|"draft"|"x""#)]).shadow.len(), 0);
    let changes = vec![update(&t, r#"1|"t"|"sent"|"x""#), update(&t, r#"1|"t"|"paid"|"x""#)];
    assert_eq!(world.commit(changes).shadow.len(), 1, "only what stands at commit is remembered");
    let come_and_go = vec![insert(&t, r#"2|"t"|"draft"|null"#), delete(&t, "2|~|~|~")];
    assert_eq!(world.commit(come_and_go).shadow.len(), 0);
    assert_eq!(world.commit(vec![delete(&t, "1|~|~|~")]).shadow.len(), 1);
    assert!(world.shadow.is_empty());
}

#[test]
fn each_transition_condition_is_judged() {
    for (condition, old, new, expected) in [
        ("becomes = { status = 'sent' }", r#""draft"|1|false|"n""#, r#""sent"|1|false|"n""#, "a.b"),
        ("becomes = { status = 'sent' }", r#"null|1|false|"n""#, r#""sent"|1|false|"n""#, "a.b"),
        ("becomes = { status = 'sent' }", r#""sent"|1|false|"n""#, r#""sent"|2|false|"n""#, ""),
        ("becomes = { status = 'sent' }", r#""sent"|1|false|"n""#, r#"null|2|false|"n""#, ""),
        ("becomes = { status = ['sent', 'paid'] }", r#""draft"|1|false|"n""#, r#""paid"|1|false|"n""#, "a.b"),
        ("becomes = { status = ['sent', 'paid'] }", r#""sent"|1|false|"n""#, r#""paid"|1|false|"n""#, "a.b"),
        ("becomes = { status = ['sent', 'paid'] }", r#""paid"|1|false|"n""#, r#""paid"|1|true|"n""#, ""),
        ("becomes = { total = 1 }", r#""x"|2|false|"n""#, r#""x"|1.00|false|"n""#, "a.b"),
        ("becomes = { total = 1 }", r#""x"|1|false|"n""#, r#""x"|1.00|false|"n""#, ""),
        ("becomes = { total = '0.30' }", r#""x"|1|false|"n""#, r#""x"|0.3|false|"n""#, "a.b"),
        ("becomes = { total = 0.3 }", r#""x"|1|false|"n""#, r#""x"|0.30|false|"n""#, "a.b"),
        ("becomes = { paid = true }", r#""x"|1|false|"n""#, r#""x"|1|true|"n""#, "a.b"),
        ("becomes = { paid = false }", r#""x"|1|null|"n""#, r#""x"|1|false|"n""#, "a.b"),
        ("becomes = { paid = 't' }", r#""x"|1|false|"n""#, r#""x"|1|true|"n""#, "a.b"),
        ("becomes = { paid = 'f' }", r#""x"|1|true|"n""#, r#""x"|1|false|"n""#, "a.b"),
        ("becomes = { status = 5 }", r#""x"|1|null|"n""#, r#""5"|1|false|"n""#, "a.b"),
        ("becomes = { status = 's', paid = true }", r#""d"|1|false|"n""#, r#""s"|1|false|"n""#, ""),
        ("becomes = { status = 's', paid = true }", r#""d"|1|true|"n""#, r#""s"|1|true|"n""#, "a.b"),
        ("becomes = { status = 's', paid = true }", r#""s"|1|true|"n""#, r#""s"|2|true|"n""#, ""),
        ("changed = ['total']", r#""d"|1|true|"n""#, r#""s"|1.0|true|"n""#, ""),
        ("changed = ['total', 'status']", r#""d"|1|true|"n""#, r#""s"|1|true|"n""#, "a.b"),
        ("changed = ['total']", r#""d"|1|true|"n""#, r#""d"|null|true|"n""#, "a.b"),
        ("changed = ['total']", r#""d"|null|true|"n""#, r#""s"|null|true|"n""#, ""),
        ("changed = ['note']", r#""d"|1|true|"n""#, r#""s"|1|true|~"#, ""),
        ("when = 'new.total > old.total'", r#""d"|9|true|"n""#, r#""d"|10|true|"n""#, "a.b"),
        ("when = 'new.total > old.total'", r#""d"|9|true|"n""#, r#""d"|9.0|true|"n""#, ""),
        ("when = \"old.note == 'n' and new.note == 'n'\"", r#""d"|9|true|"n""#, r#""d"|9.0|true|~"#, "a.b"),
        ("changed = ['total']\nwhen = 'new.paid'", r#""d"|1|true|"n""#, r#""s"|2|false|"n""#, ""),
        ("changed = ['total']\nwhen = 'new.paid'", r#""d"|1|true|"n""#, r#""s"|2|true|"n""#, "a.b"),
    ] {
        is_judged(condition, old, new, expected);
    }
}

/// In every way in which the old row may be known.
#[track_caller]
fn is_judged(condition: &str, old: &str, new: &str, expected: &str) {
    let t = table("public.t", "*id tenant_id status total:numeric paid:bool note");
    let rules = format!(
        "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\ndata = {{ id = 'id' }}\n{condition}\n"
    );
    // remembered by the shadow, sent as an old tuple, and known from the same transaction
    let (old, new) = (format!(r#"1|"t"|{old}"#), format!(r#"1|"t"|{new}"#));
    let mut ways = Vec::new();
    let mut world = World::new(&rules);
    world.commit(vec![insert(&t, &old)]);
    ways.push(world.commit(vec![update(&t, &new)]));
    ways.push(World::new(&rules).commit(vec![update_from(&t, &old, &new)]));
    ways.push(World::new(&rules).commit(vec![insert(&t, &old), update(&t, &new)]));
    for (way, derived) in ways.iter().enumerate() {
        let names: Vec<&str> = derived.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{condition}: {old} → {new}, way {way}");
        assert!(derived.faults.is_empty(), "{condition}: {:?}", derived.faults);
    }
}

#[test]
fn numbers_that_no_float_tells_apart_are_told_apart() {
    for (condition, old, new, expected) in [
        (
            "becomes = { total = '9007199254740993' }",
            r#""x"|1|true|"n""#,
            r#""x"|9007199254740993|true|"n""#,
            "a.b",
        ),
        (
            "becomes = { total = '9007199254740993' }",
            r#""x"|1|true|"n""#,
            r#""x"|9007199254740992|true|"n""#,
            "",
        ),
        (
            "becomes = { total = 9007199254740993 }",
            r#""x"|1|true|"n""#,
            r#""x"|9007199254740992|true|"n""#,
            "",
        ),
        ("becomes = { total = '0.1000000000000000055' }", r#""x"|1|true|"n""#, r#""x"|0.1|true|"n""#, ""),
        (
            "changed = ['total']",
            r#""d"|9007199254740992|true|"n""#,
            r#""s"|9007199254740993|true|"n""#,
            "a.b",
        ),
        (
            "when = 'new.total > old.total'",
            r#""d"|9007199254740992|true|"n""#,
            r#""d"|9007199254740993|true|"n""#,
            "a.b",
        ),
    ] {
        is_judged(condition, old, new, expected);
    }
}

#[test]
fn inserts_count_as_changes_when_a_rule_listens_to_them() {
    let rules = SENT.replace("on = 'update'", "on = ['insert', 'update']");
    let mut world = World::new(&rules);
    let t = table("public.invoices", COLUMNS);
    assert_eq!(world.told(vec![insert(&t, r#"1|"t"|"draft"|null"#)]), [""; 0]);
    assert_eq!(world.told(vec![insert(&t, r#"2|"t"|"sent"|null"#)]), [r#"invoice.sent {"id":2}"#]);
    assert_eq!(world.told(vec![update(&t, r#"2|"t"|"sent"|"x""#)]), [""; 0]);
}

#[test]
fn what_nobody_knows_is_never_guessed() {
    let t = table("public.t", "*id tenant_id status note");
    for (condition, new, expected) in [
        ("becomes = { status = 'sent' }", r#"1|"t"|"sent"|null"#, "!a.b unknown-old"),
        ("becomes = { status = 'sent' }", r#"1|"t"|"draft"|null"#, ""),
        ("changed = ['status']", r#"1|"t"|"draft"|null"#, "!a.b unknown-old"),
        ("changed = ['status']", r#"1|"t"|~|null"#, ""),
        ("when = \"old.status != 'x'\"", r#"1|"t"|"draft"|null"#, "!a.b unknown-old"),
        ("when = \"new.status == 'x' and old.status != 'x'\"", r#"1|"t"|"draft"|null"#, ""),
        ("when = \"new.note == 'x'\"", r#"1|"t"|"draft"|~"#, "!a.b unknown-old"),
        ("becomes = { note = 'x' }", r#"1|"t"|"draft"|~"#, ""),
    ] {
        let rules = format!(
            "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\ndata = {{ id = 'id' }}\n{condition}\n"
        );
        let mut world = World::new(&rules);
        let derived = world.commit(vec![update(&t, new)]);
        assert_eq!(super::told(&derived).join(" "), expected, "{condition} {new}");
        if let Some(fault) = derived.faults.first() {
            // the column that it hangs on is named, with its row
            let column = if condition.contains("note") { "new.note" } else { "old.status" };
            assert_eq!(fault.detail, format!("public.t (id=1): {column} is not known"));
        }
        if !expected.is_empty() && !condition.contains("note") {
            // the row is remembered from then on
            assert_eq!(world.shadow.len(), 1);
            let again = world.commit(vec![update(&t, new)]);
            assert!(again.faults.is_empty(), "{condition}: {:?}", again.faults);
        }
    }
}

#[test]
fn a_new_value_that_nobody_knows_is_said_to_be_the_new_one() {
    let t = table("public.t", "*id tenant_id status note");
    let rule = |condition: &str| {
        format!(
            "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\ndata = {{ id = 'id' }}\n{condition}\n"
        )
    };
    // the status became it, and the note, which was not sent, may always have been it
    let mut world = World::new(&rule("becomes = { status = 'sent', note = 'x' }"));
    let changes = vec![update_from(&t, r#"1|"t"|"draft"|~"#, r#"1|"t"|"sent"|~"#)];
    assert_eq!(world.told(changes), ["!a.b unknown-old"]);
}

#[test]
fn a_delete_sends_what_is_remembered() {
    let t = table("public.t", "*id tenant_id status note");
    for (more, remembered, full) in [
        ("data = { id = 'id', s = 'status' }", r#"{"id":1,"s":"x"}"#, r#"{"id":1,"s":"x"}"#),
        ("", r#"{"id":1,"tenant_id":"t"}"#, r#"{"id":1,"tenant_id":"t","status":"x","note":"n"}"#),
        ("omit = ['note']", r#"{"id":1,"tenant_id":"t"}"#, r#"{"id":1,"tenant_id":"t","status":"x"}"#),
        (
            "when = \"old.status == 'x'\"",
            r#"{"id":1,"tenant_id":"t","status":"x"}"#,
            r#"{"id":1,"tenant_id":"t","status":"x","note":"n"}"#,
        ),
    ] {
        let rules = format!(
            "[[event]]\nname = 'a.gone'\ntable = 'public.t'\non = 'delete'\ntenant = 'tenant_id'\n{more}"
        );
        let mut world = World::new(&rules);
        world.commit(vec![insert(&t, r#"1|"t"|"x"|"n""#)]);
        let derived = world.commit(vec![delete(&t, "1|~|~|~")]);
        assert_eq!(super::told(&derived), [format!("a.gone {remembered}")], "{more}");
        assert_eq!(super::body(&derived.events[0]).get("unchanged"), None, "a delete never had more");
        assert_eq!(derived.events[0].resource.as_ref().unwrap().id, "1");
        let mut world = World::new(&rules);
        assert_eq!(world.told(vec![delete(&t, r#"1|"t"|"x"|"n""#)]), [format!("a.gone {full}")], "{more}");
        // neither remembered nor sent: whose it was is not known
        assert_eq!(World::new(&rules).told(vec![delete(&t, "1|~|~|~")]), ["!a.gone unknown-old"], "{more}");
    }
}

#[test]
fn unchanged_toast_is_filled_or_named() {
    let rules = "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\ndata = { id = 'id', text = 'note', s = 'status' }\nchanged = ['status']\n";
    let t = table("public.t", "*id tenant_id status note");
    let mut world = World::new(rules);
    world.commit(vec![insert(&t, r#"1|"t"|"x"|"long""#)]);
    let derived = world.commit(vec![update(&t, r#"1|"t"|"y"|~"#)]);
    assert_eq!(super::told(&derived), [r#"a.b {"id":1,"s":"y"}"#]);
    let text = String::from_utf8(derived.events[0].body.to_vec()).unwrap();
    assert!(text.ends_with(r#","version":"1.0"},"unchanged":["text"]}"#), "{text}");
    // from an earlier image of the same transaction, and from an old tuple
    let changes = vec![update(&t, r#"1|"t"|"y"|"new""#), update(&t, r#"1|"t"|"z"|~"#)];
    assert_eq!(world.told(changes), [r#"a.b {"id":1,"text":"new","s":"z"}"#]);
    let full = update_from(&t, r#"1|"t"|"z"|"old""#, r#"1|"t"|"w"|~"#);
    assert_eq!(world.told(vec![full]), [r#"a.b {"id":1,"text":"old","s":"w"}"#]);
    // from the shadow, which keeps what is not sent
    let mut world = World::new(&rules.replace("['status']", "['status', 'note']"));
    world.commit(vec![insert(&t, r#"1|"t"|"x"|"long""#)]);
    for status in ["y", "z"] {
        let told = world.told(vec![update(&t, &format!(r#"1|"t"|"{status}"|~"#))]);
        assert_eq!(told, [format!(r#"a.b {{"id":1,"text":"long","s":"{status}"}}"#)]);
    }
}

#[test]
fn an_old_tuple_is_believed_and_disagreements_are_counted() {
    let mut world = World::new(SENT);
    let t = table("public.invoices", COLUMNS);
    world.commit(vec![insert(&t, r#"1|"t"|"sent"|null"#)]);
    let derived = world.commit(vec![update_from(&t, r#"1|"t"|"draft"|null"#, r#"1|"t"|"sent"|null"#)]);
    assert_eq!(
        (super::told(&derived), derived.disagreements),
        (vec![r#"invoice.sent {"id":1}"#.to_owned()], 1)
    );
    let derived = world.commit(vec![update_from(&t, r#"1|"t"|"sent"|null"#, r#"1|"t"|"sent"|"x""#)]);
    assert_eq!((derived.events.len(), derived.disagreements), (0, 0));
}

#[test]
fn a_snapshot_row_is_as_good_as_a_streamed_one() {
    let mut world = World::new(SENT);
    let t = table("public.invoices", COLUMNS);
    let plan = world.mapping.plan().table("public.invoices").unwrap().clone();
    assert_eq!(plan.columns.iter().map(|c| &**c).collect::<Vec<_>>(), ["status", "tenant_id"]);
    let (key, columns) = plan.encode_row(&super::row("1"), &super::row(r#""draft"|"t""#)).unwrap();
    assert_eq!(plan.encode_row(&super::row("null"), &super::row(r#""draft"|"t""#)), None);
    assert_eq!(plan.encode_row(&super::row("1"), &super::row(r#""draft""#)), None);
    world.shadow.insert(("public.invoices".into(), key.clone()), columns);
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"sent"|null"#)]), [r#"invoice.sent {"id":1}"#]);
    // damaged memory is no memory
    world.shadow.insert(("public.invoices".into(), key), Bytes::from_static(b"\x09"));
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"sent"|null"#)]), ["!invoice.sent unknown-old"]);
    assert_eq!(world.told(vec![update(&t, r#"1|"t"|"sent"|"x""#)]), [""; 0], "and is mended");
}

#[test]
fn an_error_of_the_shadow_ends_the_derivation() {
    let world = World::new(SENT);
    let t = table("public.invoices", COLUMNS);
    let broken = |_: &str, _: &[u8]| Err("disk");
    let transaction = world.transaction(vec![update(&t, r#"1|"t"|"sent"|null"#)]);
    assert_eq!(world.mapping.derive(&transaction, &world.context, &broken).err(), Some("disk"));
    let transaction = world.transaction(vec![insert(&t, r#"1|"t"|"sent"|null"#)]);
    assert!(world.mapping.derive(&transaction, &world.context, &broken).is_ok(), "an insert has no old row");
}

/// Of a table that is filled anew: nothing is known of its rows, and what the stream leaves of them lies over a snapshot's.
#[test]
fn what_no_rule_judges_is_remembered_all_the_same() {
    let mapping = World::new(SENT).mapping;
    let t = table("public.invoices", COLUMNS);
    let other = table("public.other", COLUMNS);
    let changes = [
        update(&t, r#"1|"t"|~|null"#),
        insert(&t, r#"2|"t"|"draft"|null"#),
        delete(&t, "2|~|~|~"),
        delete(&t, "3|~|~|~"),
        update_from(&t, "4|~|~|~", r#"5|"t"|"sent"|null"#),
        insert(&other, r#"9|"t"|"draft"|null"#),
    ];
    let left = mapping.remember(&changes);
    let kind = |change: &ShadowChange| match change {
        ShadowChange::Put { .. } => "put",
        ShadowChange::Forget { .. } => "forget",
        ShadowChange::Clear { .. } => "clear",
    };
    assert_eq!(left.iter().map(kind).collect::<Vec<_>>(), ["put", "forget", "forget", "forget", "put"]);
    let plan = mapping.plan().table("public.invoices").unwrap();
    let ShadowChange::Put { columns, .. } = &left[0] else { panic!("a row") };
    let (_, below) = plan.encode_row(&row("1"), &row(r#""paid"|"old""#)).unwrap();
    let (_, both) = plan.encode_row(&row("1"), &row(r#""paid"|"t""#)).unwrap();
    assert_eq!(plan.over(&below, columns), both, "what was not sent is the snapshot's");
    assert_eq!(plan.over(&Bytes::from_static(b"?"), columns), *columns);
    let cleared = mapping.remember(&[truncate(&t), insert(&t, r#"6|"t"|"draft"|null"#)]);
    assert_eq!(cleared.iter().map(kind).collect::<Vec<_>>(), ["clear", "put"]);
}
