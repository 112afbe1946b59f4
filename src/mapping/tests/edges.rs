//! `when` beyond what `docs/CONDITIONS.md` shows: each kind of value in each place, and each limit from both sides.
use super::conditions::judged;
use crate::mapping::when::expression::Expression;

#[test]
fn each_kind_of_value_in_each_place() {
    for (expression, row, expected) in [
        // truth
        ("not new.details", r#"{"details": {}}"#, "yes"),
        ("not new.details", r#"{"details": []}"#, "yes"),
        ("not new.details", r#"{"details": {"a": 0}}"#, "no"),
        ("not new.details", r#"{"details": [0]}"#, "no"),
        ("not [] and [0] and new.total == 0", r#"{"total": 0}"#, "yes"),
        ("new.total", r#"{"total": 0.0}"#, "no"),
        // text
        ("new.urgent ~ new.paid ~ new.total == 'true7.50'", r#"{"urgent": true, "total": 7.50}"#, "yes"),
        ("new.urgent ~ '' == 'false'", r#"{"urgent": false}"#, "yes"),
        ("new.details ~ '' == ''", r#"{"details": {}}"#, "error an object has no text"),
        ("new.details ~ '' == ''", r#"{"details": []}"#, "error a list has no text"),
        ("old ~ '' == ''", "{} -> {}", "error a row has no text"),
        ("'a' + 'bcd' == 'abcd'", "{}", "yes"),
        ("'a' - 'a' == ''", "{}", "error arithmetic with a text and a text"),
        ("'1' + 1 == 2", "{}", "error arithmetic with a text and a number"),
        ("new.details.x + 1 == 1", r#"{"details": {}}"#, "error a key is not there"),
        ("-new.urgent == 1", r#"{"urgent": true}"#, "error '-' before a boolean"),
        ("-new.paid is none", "{}", "yes"),
        // items
        ("[7, 8][0] == 7 and [7, 8][1] == 8 and [7, 8][-1] == 8 and [7, 8][-2] == 7", "{}", "yes"),
        ("[7][1] is undefined and [7][-2] is undefined and [7]['0'] is undefined", "{}", "yes"),
        ("new.details[0] == 7 and new.details[-2] == 7", r#"{"details": [7, 8]}"#, "yes"),
        ("new.details[2] is undefined and new.details[-3] is undefined", r#"{"details": [7, 8]}"#, "yes"),
        ("new.details.x is undefined and new.details['0'] is undefined", r#"{"details": [7]}"#, "yes"),
        ("new.details.x.y == 1", r#"{"details": {}}"#, "error a key is not there"),
        ("new.details.x.y is none", r#"{"details": {"x": null}}"#, "yes"),
        ("new.urgent.x is none", r#"{"urgent": true}"#, "error a boolean has no keys"),
        // equality and order
        ("new.urgent == true and new.urgent != false", r#"{"urgent": true}"#, "yes"),
        ("new.urgent == true", r#"{"urgent": false}"#, "no"),
        ("new.details == old.details", r#"{"details": {"a": 1}} -> {"details": {"a": 1}}"#, "yes"),
        ("new.details == old.details", r#"{"details": {"a": 1}} -> {"details": {"a": 2}}"#, "no"),
        ("[1, 'a'] == [1.0, 'a']", "{}", "yes"),
        ("[1, 2] == [1]", "{}", "no"),
        ("[1, 2] == [1, 3]", "{}", "no"),
        ("new.details == [1]", r#"{"details": [1, 2]}"#, "no"),
        ("[1, 3] == new.details", r#"{"details": [1, 2]}"#, "no"),
        ("false < true and not true < false", "{}", "yes"),
        ("1 <= 1 and 1 >= 1 and not 1 < 1 and not 1 > 1", "{}", "yes"),
        ("new.details.x != 1", r#"{"details": {}}"#, "error a key is not there"),
        ("1 != new.details.x", r#"{"details": {}}"#, "error a key is not there"),
        ("'a' in new.urgent", r#"{"urgent": true}"#, "error 'in': a boolean contains nothing"),
        (
            "1 in new.notes",
            r#"{"notes": "1"}"#,
            "error 'in': only a text is looked for in a text, not a number",
        ),
        ("new.paid in new.notes or 'a' in new.paid or 'a' not in 'a'", r#"{"notes": "1"}"#, "no"),
        // filters
        ("[7, 8] | length == 2 and new.details | count == 1", r#"{"details": {"a": 1}}"#, "yes"),
        ("new.details | length == 3", r#"{"details": [1, 2, 3]}"#, "yes"),
        ("new.total | length == 3", r#"{"total": 100}"#, "error a filter does not take a number"),
        ("new.urgent | int == 1 and false | float == 0", r#"{"urgent": true}"#, "yes"),
        ("' 7.9 ' | int == 7 and ' 7.9 ' | float == 7.9", "{}", "yes"),
        ("new.details.x | lower == 'a'", r#"{"details": {}}"#, "error a key is not there"),
        ("new.details.x | d(7) == 7 and new.paid | d(7) == 7 and 0 | d(7) == 0", r#"{"details": {}}"#, "yes"),
        ("new.paid | length is none and new.paid | int is none", "{}", "yes"),
        // tests
        ("new.details.x is none", r#"{"details": {}}"#, "error a key is not there"),
        ("new.details.x is undefined and new.total is not undefined", r#"{"details": {}}"#, "yes"),
        ("new.urgent is false and new.urgent is not true", r#"{"urgent": false}"#, "yes"),
        ("new.urgent is false or new.total is true", r#"{"urgent": true, "total": 1}"#, "no"),
        ("new.total is startingwith('1') or 'a' is endingwith(1)", r#"{"total": 1}"#, "no"),
        ("2 is eq(2) and 2 is equalto(2) and 2 is ne(3) and 2 is in([2])", "{}", "yes"),
        ("2 is lt(3) and 2 is lessthan(3) and 2 is le(2) and 2 is ge(2)", "{}", "yes"),
        ("2 is gt(1) and 2 is greaterthan(1) and 2 is not gt(2)", "{}", "yes"),
        ("2 is eq(3) or 2 is ne(2) or 2 is lt(2) or 2 is le(1) or 2 is ge(3) or 2 is in([3])", "{}", "no"),
    ] {
        let found = judged(expression, row);
        assert!(
            found == expected || expected.starts_with("error") && found.starts_with(expected),
            "{expression} | {row}: {found}"
        );
    }
}

#[test]
fn an_expression_runs_for_as_long_as_it_may_and_no_longer() {
    let times = |times: usize, part: &str| vec![part; times].join(" or ");
    let notes = |length: usize| format!(r#"{{"notes": "{}"}}"#, "x".repeat(length));
    let list = |items: usize| format!(r#"{{"details": [{}]}}"#, vec!["null"; items].join(","));
    for (expression, row, expected) in [
        // texts that are read, joined and added cost by the kilobyte: less than one is free, some are no hindrance
        (times(25, "new.notes == ''"), notes(1_000), "no"),
        (times(25, "new.notes ~ '' == ''"), notes(1_000), "no"),
        (times(25, "new.notes + '' == ''"), notes(1_000), "no"),
        ("new.notes ~ new.notes == new.notes + new.notes".to_owned(), notes(5_000), "yes"),
        // lists that are searched cost by their items
        (format!("2 in [{}]", vec!["1"; 300].join(",")), notes(1), "no"),
        ("2 in new.details".to_owned(), list(3_000), "no"),
        (times(3, "2 in new.details"), list(100_000), "error the expression runs too long"),
    ] {
        let short: String = expression.chars().take(40).collect();
        assert_eq!(judged(&expression, &row), expected, "{short}");
    }
}

#[test]
fn the_limits_of_a_source_are_met_exactly() {
    let text = |length: usize, of: &str| format!("'{}'", of.repeat(length));
    let refused = |source: &str| Expression::compile(source).map_or_else(|why| why, |_| String::new());
    assert_eq!(refused(&text(4_094, "x")), "");
    assert!(refused(&text(4_095, "x")).starts_with("longer than 4096 bytes"));
    assert_eq!(refused(&text(1_000, "-")), "");
    assert!(refused(&text(1_001, "-")).starts_with("more than 1000 of"));
    assert!(
        refused(&format!("{} and {}", text(501, "-"), text(500, "not"))).starts_with("more than 1000 of")
    );
    assert_eq!(refused(&format!("{}true", "not ".repeat(99))), "");
    assert!(refused(&format!("{}true", "not ".repeat(100))).starts_with("nested deeper than 100"));
    // no line is named where none was looked at
    assert!(!refused("new.a == 1\n}").contains("(line"));
}

#[test]
fn not_in_may_stand_in_a_chain() {
    assert_eq!(judged("1 < 2 not in [2]", "{}"), "no");
    assert_eq!(judged("1 < 2 not in [3]", "{}"), "yes");
}

#[test]
fn a_quote_that_is_escaped_does_not_end_its_text() {
    for source in [r"new.a == 'it\'s } here'", r#"new.a == "\"" ~ 'x'"#, r"new.a == '\\' and new.b == '}'"] {
        assert!(Expression::compile(source).is_ok(), "{source}");
    }
}

#[test]
fn each_column_is_named_once_with_its_row() {
    let found = Expression::compile("new.a == old.a and new.b == new.a or old.a").unwrap().columns;
    let names: Vec<String> = found.iter().map(|(side, name)| format!("{side:?} {name}")).collect();
    assert_eq!(names, ["New a", "Old a", "New b"]);
}

#[test]
fn arguments_are_counted_and_have_no_names() {
    for source in [
        "new.a | lower(1)",
        "new.a | default",
        "new.a | default(value=1)",
        "new.a is none(1)",
        "new.a is eq(1, 2)",
    ] {
        assert!(Expression::compile(source).unwrap_err().contains("argument"), "{source}");
    }
}

#[test]
fn a_name_that_holds_a_word_of_others_gets_no_hint() {
    for source in ["nwe.a_null", "nwe.nullable", "_null == nwe.a"] {
        let text = Expression::compile(source).unwrap_err();
        assert!(!text.contains("NULL is none"), "{source}: {text}");
    }
}

/// A number of a JSON column is read like one inside of it: longer than arithmetic takes, it is text, and the row is judged all the same.
#[test]
fn a_long_number_of_a_json_column_is_judged() {
    let (long, short) = ("1".repeat(2_500), "1".repeat(20));
    for (column, judgement) in [(&short, "yes"), (&long, "no")] {
        let row = format!(r#"{{"details": {column}}}"#);
        assert_eq!(judged(&format!("new.details == {short}"), &row), judgement, "{} digits", column.len());
        let inside = format!(r#"{{"details": [{column}]}}"#);
        assert_eq!(judged(&format!("new.details[0] == {short}"), &inside), judgement);
    }
}
