//! `when` on one insert or update: value by value.
use super::{World, insert, table, told, update_from};
use crate::mapping::when::expression::Expression;
use proptest::prelude::*;

const COLUMNS: &str = "*id tenant_id n:numeric m:numeric s b:bool j:json f:float z";
/// id, tenant, n, m, s, b, j, f, z
const ROW: &str =
    r#"1|"t"|12345678901234567890.10|0.3|"Sent"|true|{"a": {"b": [1, 2.50]}, "k": null}|"NaN"|null"#;

/// `yes`, `no`, or the reason of the fault.
fn judge(when: &str) -> String {
    let rules = format!(
        "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = ['insert', 'update']\ntenant = 'tenant_id'\ndata = {{ id = 'id' }}\nwhen = '''{when}'''"
    );
    let mut world = World::new(&rules);
    let t = table("public.t", COLUMNS);
    let derived = world.commit(vec![insert(&t, ROW)]);
    match (derived.events.len(), derived.faults.first()) {
        (1, None) => "yes".into(),
        (0, None) => "no".into(),
        (_, Some(fault)) => fault.reason.into(),
        _ => panic!("{:?}", told(&derived)),
    }
}

#[test]
fn values_are_judged_by_kind() {
    for (when, expected) in [
        ("new.n > 0", "yes"),
        ("new.n == 12345678901234567890.1", "yes"),
        ("new.n == 12345678901234567890.1000001", "no"),
        ("new.n > 12345678901234567890.09999999999", "yes"),
        ("0.1 + 0.2 == new.m", "yes"),
        ("new.m * 3 == 0.9 and new.m - 0.1 == 0.2", "yes"),
        ("new.m / 2 == 0.15", "yes"),
        ("new.m / 0 == 1", "condition"),
        ("-new.m < 0", "yes"),
        ("7 // 2 == 3 and 7 % 4 == 3", "yes"),
        ("1_000 == 1e3", "yes"),
        ("0 < new.m < 1", "yes"),
        ("0 < new.m < 0.2", "no"),
        ("new.f > 1e300", "yes"),
        ("new.f == new.f", "yes"),
        ("new.f + 1 > 0", "condition"),
        ("new.s == 'Sent'", "yes"),
        ("new.s == 'sent'", "no"),
        ("new.s|lower == 'sent'", "yes"),
        ("new.s in ['Draft', 'Sent']", "yes"),
        ("new.s not in ['Draft', 'Sent']", "no"),
        ("'en' in new.s", "yes"),
        ("new.s is startingwith('Se') and new.s is endingwith('nt')", "yes"),
        ("new.s is containing 'en'", "yes"),
        ("new.s ~ 1 == 'Sent1'", "yes"),
        ("new.s|length == 4", "yes"),
        ("new.s < 'T'", "yes"),
        ("new.s < 5", "condition"),
        ("new.s == 5", "no"),
        ("(new.z or 7) > 5 and (new.m or 7) < 5", "yes"),
        ("(new.b and new.m) == 0.3 and (new.z and 1) is none", "yes"),
        ("new.b", "yes"),
        ("new.b == true", "yes"),
        ("not new.b", "no"),
        ("new.b is true", "yes"),
        ("new.z == none", "yes"),
        ("new.z is none", "yes"),
        ("new.z is not none", "no"),
        ("new.z > 0 or new.z < 0 or new.z == 0", "no"),
        ("new.z + 1 > 0", "no"),
        ("new.z|default('x') == 'x'", "yes"),
        ("new.z|lower == none", "yes"),
        ("new.j.a.b[1] == 2.5", "yes"),
        ("new.j['a']['b'][-1] == 2.5", "yes"),
        ("new.j.k is none", "yes"),
        ("'a' in new.j", "yes"),
        ("2.5 in new.j.a.b", "yes"),
        ("new.j.a.b == [1, 2.5]", "yes"),
        ("new.j.missing == 1", "condition"),
        ("new.j.missing", "condition"),
        ("new.j.missing is defined", "no"),
        ("new.j.missing|default(3) == 3", "yes"),
        ("new.j.a.b|length == 2", "yes"),
        ("new.s.x == 1", "condition"),
        ("op == 'insert' and table == 'public.t'", "yes"),
        ("old is none and old.s is none", "yes"),
        ("new is none", "no"),
        ("new['s'] == 'Sent'", "yes"),
        ("true if new.b else false", "yes"),
        ("(new.s|string|upper|trim) == 'SENT'", "yes"),
        ("'12'|int + 1 == 13 and (-1.5)|abs == 1.5 and '1.5'|float == 1.5", "yes"),
        ("new.s|abs == 1", "condition"),
        ("new.m is number and new.s is string and new.b is boolean", "yes"),
        ("false and new.j.missing", "no"),
        ("true or new.j.missing", "yes"),
        ("new.gone == 1", "condition"),
    ] {
        assert_eq!(judge(when), expected, "{when}");
    }
}

#[test]
fn a_failing_rule_is_announced_and_names_no_value() {
    let rules = "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\nwhen = 'new.s < 5'\n
        [[event]]\nname = 'a.c'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\ndata = { id = 'id' }";
    let mut world = World::new(rules);
    let t = table("public.t", COLUMNS);
    let second = ROW.replacen("1|", "2|", 1);
    let derived = world.commit(vec![update_from(&t, ROW, ROW), update_from(&t, &second, &second)]);
    assert_eq!(
        told(&derived),
        [
            r#"error.occurred {"rule":"a.b","table":"public.t","key":"id=1","reason":"a text cannot be compared with a number"}"#,
            r#"a.c {"id":1}"#,
            r#"a.c {"id":2}"#,
            "!a.b condition",
            "!a.b condition",
        ]
    );
    let error = &derived.events[0];
    assert_eq!(
        (error.tenant.as_str(), error.resource.as_ref().unwrap().kind.as_str()),
        ("operations", "rule")
    );
    assert!(derived.faults.iter().all(|fault| !fault.detail.contains("Sent")));
}

proptest! {
    #![proptest_config(super::steady())]

    #[test]
    fn any_source_is_survived(source in any::<String>()) {
        let _ = Expression::compile(&source);
    }
    #[test]
    fn any_sentence_is_judged_without_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            "new.n", "old.m", "new.j", "new.s", "new.f", "new.z", ".a", "[0]", "[-9]", "['k']", "(", ")", "[", "]", ",", "+", "-",
            "*", "/", "//", "%", "~", "<", ">=", "==", "!=", "and", "or", "not", "in", "is", "none", "defined", "if", "else",
            "|", "lower", "length", "int", "default(1)", "1", "0", "1e300", "0.1", "'x'", "true", "op", "table", "new", "old",
        ]),
        1..12,
    )) {
        let source = words.join(" ");
        if Expression::compile(&source).is_ok() {
            let _ = judge_update(&source);
        }
    }
}

fn judge_update(when: &str) -> usize {
    let rules = format!(
        "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\nwhen = \"\"\"{when}\"\"\""
    );
    let t = table("public.t", COLUMNS);
    let derived = World::new(&rules).commit(vec![update_from(&t, ROW, ROW)]);
    derived.events.len() + derived.faults.len()
}
