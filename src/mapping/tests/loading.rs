//! Entries that are refused, each with its words; entries against tables.
use super::{compile, table};
use crate::domain::Table;
use std::sync::Arc;

const GOOD: &str = "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 'tenant_id'\n";

#[test]
fn a_problem_has_its_words() {
    for (more, words) in [
        ("when = 'new.'", "when:"),
        ("when = 'nwe.x'", "'nwe' is not known"),
        ("when = 'x ='", "when:"),
        ("when = 'new[op]'", "named by a constant"),
        ("when = 'now()'", "not supported"),
        ("when = 'new.a ** 2'", "'**' is not supported"),
        ("when = 'new.a | safe'", "filter 'safe' is not known"),
        ("when = 'new.a is odd'", "test 'odd' is not known"),
        ("when = 'new.a | default'", "takes 1 argument"),
        ("when = ''", "when:"),
        ("row = 'both'", "row = \"both\" is not known"),
        ("data = { a = 'x' }\nomit = ['b']", "data and omit together"),
        ("data = {}", "data is empty"),
        ("data = { '' = 'x' }", "empty key"),
        ("omit = []", "omit is empty"),
        ("changed = []", "changed is empty"),
        ("changed = ['a', 'a']", "names a twice"),
        ("becomes = {}", "becomes is empty"),
        ("becomes = { a = [] }", "lists no value"),
        ("becomes = { a = 12345678901234567.01 }", "write it as a text"),
        ("becomes = { a = [1.5, -0.12345678901234567] }", "write it as a text"),
        ("resource = { id = [] }", "names no column"),
        ("resource = { type = '' }", "resource.type"),
        ("version = ''", "version"),
        ("rule = ' '", "rule is 1 to 100"),
    ] {
        let problems = compile(&format!("{GOOD}{more}")).unwrap_err();
        assert!(problems.len() == 1 && problems[0].text.contains(words), "{more}: {problems:?}");
        assert!(problems[0].text.starts_with("a.b: ") || more.starts_with("rule"), "{problems:?}");
        assert_eq!(problems[0].line, 1);
    }
    for (from, to, words) in [
        ("'a.b'", "'a'", "is no event name"),
        ("'a.b'", "'webhook.sent'", "webhook.* are Tailhook's own"),
        ("'a.b'", "'error.mine'", "error.* are Tailhook's own"),
        ("name = 'a.b'", "", "'name' is missing"),
        ("table = 'public.t'", "", "'table' is missing"),
        ("on = 'update'", "", "'on' is missing"),
        ("tenant = 'tenant_id'", "", "'tenant' is missing"),
        ("tenant = 'tenant_id'", "tenant = ''", "is no column name"),
        ("tenant = 'tenant_id'", "tenant = { const = '' }", "tenant.const is empty"),
        ("'public.t'", "'t'", "is no schema.table"),
        ("'public.t'", "'a.b.c'", "is no schema.table"),
        ("'public.t'", "'.t'", "is no schema.table"),
        ("'update'", "'upsert'", "on = \"upsert\" is not known"),
        ("'update'", "[]", "'on' is missing"),
        ("'update'", "['insert', 'insert']", "names insert twice"),
        ("'update'", "'truncate'", "truncate has no row, so tenant"),
        ("on = 'update'", "on = 'insert'\nchanged = ['a']", "so on must be"),
        ("on = 'update'", "on = ['update', 'delete']\nbecomes = { a = 1 }", "so on must be"),
        ("on = 'update'", "on = 'insert'\nwhen = 'old.a == 1'", "insert has no old row"),
        ("on = 'update'", "on = 'delete'\nwhen = 'new.a == 1'", "delete has no new row"),
        (
            "on = 'update'\ntenant = 'tenant_id'",
            "on = 'truncate'\ntenant = { const = 'x' }\nomit = ['a']",
            "nothing for data",
        ),
    ] {
        let problems = compile(&GOOD.replace(from, to)).unwrap_err();
        assert!(problems.len() == 1 && problems[0].text.contains(words), "{to}: {problems:?}");
    }
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let text = format!("{GOOD}row = 'x'\nwhen = '('\n{GOOD}version = ''\n{}", GOOD.replace("a.b", "c.d"));
    let lines: Vec<usize> = compile(&text).unwrap_err().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 1, 2, 2], "two of the first, a repeated name and a version of the second");
    assert!(compile(&format!("{GOOD}{GOOD}rule = 'other'")).is_ok(), "an event name may come twice");
}

#[test]
fn unknown_keys_are_refused() {
    for more in ["tabel = 'x'", "resource = { typ = 'x' }", "tenant = { cons = 'x' }"] {
        let text = format!("{}{more}", GOOD.replace("tenant = 'tenant_id'\n", ""));
        assert!(toml::from_str::<toml::Table>(&text).is_ok());
        assert!(toml::from_str::<super::EventSpec>(&text.replace("[[event]]", "")).is_err(), "{more}");
    }
}

#[test]
fn wrong_types_are_told_in_words() {
    for (more, words) in [
        ("tenant = 5", "expected a column, or { const"),
        ("on = 5", "expected one value or a list"),
        ("becomes = { a = { b = 1 } }", "expected one value or a list"),
        ("data = 5", "expected a table"),
    ] {
        let error = toml::from_str::<super::EventSpec>(more).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_name_is_as_long_as_it_may_be_and_no_longer() {
    for (more, longest, words) in [
        ("version = '?'", 50, "version is 1 to 50"),
        ("rule = '?'", 100, "rule is 1 to 100"),
        ("resource = { type = '?' }", 100, "resource.type is 1 to 100"),
        ("changed = ['?']", 63, "is no column name"),
    ] {
        let entry = |length| format!("{GOOD}{}", more.replace('?', &"x".repeat(length)));
        assert!(compile(&entry(longest)).is_ok(), "{more}");
        let problems = compile(&entry(longest + 1)).unwrap_err();
        assert!(problems.len() == 1 && problems[0].text.contains(words), "{more}: {problems:?}");
    }
    for (from, to, words) in [
        ("tenant = 'tenant_id'", "tenant = \"a\\u0001\"", "tenant: 'a\\u{1}' is no column name"),
        ("tenant = 'tenant_id'", "tenant = 'tenant_id'\nrule = \"a\\u0001\"", "rule is 1 to 100 printable"),
        ("'public.t'", "\"public.t\\n\"", "is no schema.table"),
        ("'public.t'", "'public.'", "is no schema.table"),
    ] {
        let problems = compile(&GOOD.replace(from, to)).unwrap_err();
        assert!(problems.len() == 1 && problems[0].text.contains(words), "{to}: {problems:?}");
    }
}

#[test]
fn a_truncate_has_no_row_and_what_is_beside_it_has_one() {
    let entry = |on: &str, more: &str| {
        let good = GOOD.replace("'update'", on).replace("'tenant_id'", "{ const = 'x' }");
        compile(&format!("{good}{more}")).map(drop).map_err(|problems| problems[0].text.clone())
    };
    assert_eq!(entry("'truncate'", ""), Ok(()));
    for more in ["data = { a = 'b' }", "omit = ['b']", "resource = { id = 'b' }"] {
        assert!(entry("'truncate'", more).unwrap_err().contains("nothing for data"), "{more}");
        assert_eq!(entry("['truncate', 'delete']", more), Ok(()), "{more}");
        assert_eq!(entry("'delete'", more), Ok(()), "{more}");
    }
}

#[test]
fn where_the_operation_is_missing_nothing_else_is_blamed_for_it() {
    for more in ["changed = ['a']", "becomes = { a = 1 }", "when = 'new.a == old.a'"] {
        let problems = compile(&format!("{}{more}", GOOD.replace("on = 'update'\n", ""))).unwrap_err();
        assert!(problems.len() == 1 && problems[0].text.contains("'on' is missing"), "{problems:?}");
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    for source in ["(".repeat(3000), "1+".repeat(2000) + "1", "not ".repeat(1000) + "op", "x".repeat(5000)] {
        assert!(compile(&format!("{GOOD}when = '{source}'")).is_err());
    }
    assert!(compile(&format!("{GOOD}when = '{}'", "1+".repeat(50) + "1")).is_ok());
}

fn shared<T: Send + Sync + Clone>(_: &T) {}

fn checked(rules: &str, table: Option<&Table>) -> Vec<String> {
    let mapping = compile(rules).unwrap();
    mapping.check(&|_| table).into_iter().map(|problem| problem.text).collect()
}

#[test]
fn names_are_checked_against_the_table() {
    let t = table("public.t", "*id tenant_id status total:numeric paid:bool");
    let fine = format!("{GOOD}when = 'new.total > old.total'\nbecomes = {{ paid = true, total = '1.5' }}");
    assert_eq!(checked(&fine, Some(&t)), [""; 0]);
    for (more, words) in [
        ("when = 'new.totl > 1'", "no column totl"),
        ("when = 'old.Status == 1'", "no column Status; did you mean status?"),
        ("when = \"new['x'] == 1\"", "no column x"),
        ("data = { a = 'nope' }", "no column nope"),
        ("omit = ['nope']", "no column nope"),
        ("changed = ['nope']", "no column nope"),
        ("becomes = { nope = 1 }", "no column nope"),
        ("becomes = { paid = 'maybe' }", "a bool is never 'maybe'"),
        ("becomes = { total = 'much' }", "a numeric is never 'much'"),
        ("resource = { id = 'nope' }", "no column nope"),
        ("resource = { id = ['id', 'nope'] }", "no column nope"),
    ] {
        let problems = checked(&format!("{GOOD}{more}"), Some(&t));
        assert!(problems.len() == 1 && problems[0].contains(words), "{more}: {problems:?}");
    }
    assert!(checked(&GOOD.replace("'tenant_id'", "'org'"), Some(&t))[0].contains("no column org"));
    for word in ["'true'", "'t'", "'false'", "'f'", "true", "false"] {
        assert_eq!(checked(&format!("{GOOD}becomes = {{ paid = {word} }}"), Some(&t)), [""; 0], "{word}");
    }
    for (column, hint) in [
        ("TOTAL", "no column TOTAL; did you mean total?"),
        ("tot", "no column tot; did you mean total?"),
        ("tota", "no column tota; did you mean total?"),
        ("total_net", "no column total_net; did you mean total?"),
        ("to", "no column to (generated"),
        ("nope", "no column nope (generated"),
    ] {
        let problems = checked(&format!("{GOOD}changed = ['{column}']"), Some(&t));
        assert!(problems.len() == 1 && problems[0].contains(hint), "{problems:?}");
    }
}

#[test]
fn missing_tables_and_keys_are_found() {
    assert!(checked(GOOD, None)[0].contains("no table public.t"));
    assert_eq!(checked(&format!("{GOOD}optional = true"), None), [""; 0]);
    let keyless = table("public.t", "id tenant_id status");
    let problems = checked(&format!("{GOOD}changed = ['status']"), Some(&keyless));
    for words in ["remembered by it", "must name a column"] {
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    assert_eq!(checked(&format!("{GOOD}resource = {{ id = 'id' }}"), Some(&keyless)), [""; 0]);
    let truncate = GOOD.replace("'update'", "'truncate'").replace("'tenant_id'", "{ const = 'x' }");
    assert_eq!(checked(&truncate, Some(&keyless)), [""; 0]);
}

#[test]
fn tables_names_and_plan_say_what_is_needed() {
    let rules = format!(
        "{GOOD}changed = ['status']\nwhen = 'new.total > 0'\ndata = {{ x = 'note' }}\n
        [[event]]\nname = 'a.gone'\ntable = 'public.u'\non = 'delete'\ntenant = 'org'\nresource = {{ id = 'code' }}\ndata = {{ n = 'name' }}\noptional = true\n
        [[event]]\nname = 'a.made'\ntable = 'public.u'\non = 'insert'\ntenant = 'org'\ndata = {{ x = 'extra' }}\n
        [[event]]\nname = 'a.v'\ntable = 'public.v'\non = ['insert', 'update']\ntenant = {{ const = 'x' }}\noptional = true"
    );
    let mapping = compile(&rules).unwrap();
    assert_eq!(
        mapping.plan().text(),
        "public.t: status,tenant_id,total\npublic.u: code,name,org\n",
        "insert-only tables and updates without conditions need no memory"
    );
    let needs = mapping.tables();
    let told: Vec<String> = needs
        .iter()
        .map(|need| {
            let columns = need.columns.join(" ");
            format!("{} [{columns}] {} {} {}", need.table, need.optional, need.shadow, need.insert_only)
        })
        .collect();
    assert_eq!(
        told,
        [
            "public.t [note status tenant_id total] false true false",
            "public.u [code extra name org] false true false",
            "public.v [] true false false"
        ]
    );
    let made = compile(&GOOD.replace("on = 'update'", "on = ['insert']")).unwrap();
    assert!(made.tables()[0].insert_only, "{:?}", made.tables());
    let names: Vec<String> = mapping.event_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a.b", "a.gone", "a.made", "a.v"]);
    assert!(mapping.maps("public.u") && !mapping.maps("public.w"));
    shared(&mapping);
    let quoted = compile(
        &GOOD
            .replace("public.t", "public.T x")
            .replace("tenant = 'tenant_id'", "tenant = 'a,b'\nchanged = ['c']"),
    )
    .unwrap();
    assert_eq!(quoted.plan().text(), "\"public.T x\": \"a,b\",c\n");
    let _: Arc<str> = quoted.plan().tables().next().unwrap().table.clone();
}
