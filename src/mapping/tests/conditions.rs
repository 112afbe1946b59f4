//! `docs/CONDITIONS.md`, example by example, and the hints of refused expressions. What the page says is what is.
use super::{compile, table};
use crate::domain::{Cell, Image, Operation, Table};
use crate::mapping::when::evaluate::{Scene, holds};
use crate::mapping::when::expression::Expression;
use crate::mapping::when::value::Stop;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::collections::HashMap;

const PAGE: &str = include_str!("../../../docs/CONDITIONS.md");

/// The lines of all fenced blocks of a kind.
fn examples(kind: &str) -> Vec<&'static str> {
    let mut inside = false;
    let fence = format!("```{kind}");
    let lines = PAGE.lines().filter(|line| {
        if line.starts_with("```") {
            inside = *line == fence;
            return false;
        }
        inside && !line.is_empty()
    });
    lines.collect()
}

fn image(table: &Table, text: &str) -> Image {
    let given: HashMap<&str, &RawValue> = serde_json::from_str(text).unwrap();
    for name in given.keys() {
        assert!(table.position(name).is_some(), "{name} is no column of the page's table");
    }
    let cell = |name| match given.get(name).map(|value| value.get()) {
        None | Some("null") => Cell::Null,
        Some("\"?\"") => Cell::NotSent,
        Some(json) => Cell::Json(Bytes::copy_from_slice(json.as_bytes())),
    };
    table.columns.iter().map(|column| cell(&*column.name)).collect()
}

/// `yes`, `no`, `unknown`, or `error` with the reason.
pub(super) fn judged(expression: &str, row: &str) -> String {
    let columns = "*id:int number status notes total:numeric paid:numeric urgent:bool details:json";
    let table = table("public.invoices", columns);
    let (op, old, new) = match row.split_once("->").map(|(old, new)| (old.trim(), new.trim())) {
        None => (Operation::Insert, None, Some(row)),
        Some((old, "")) => (Operation::Delete, Some(old), None),
        Some((old, new)) => (Operation::Update, Some(old), Some(new)),
    };
    let (old, new) = (old.map(|row| image(&table, row)), new.map(|row| image(&table, row)));
    let expression = Expression::compile(expression).unwrap();
    for (_, column) in &expression.columns {
        assert!(table.position(column).is_some(), "{column} is no column of the page's table");
    }
    let scene =
        Scene { table: &table, table_name: "public.invoices", op, old: old.as_ref(), new: new.as_ref() };
    match holds(&expression.root, scene) {
        Ok(true) => "yes".into(),
        Ok(false) => "no".into(),
        Err(Stop::Unknown(_)) => "unknown".into(),
        Err(Stop::Failed(text)) => format!("error {text}"),
    }
}

#[test]
fn every_example_of_the_page_is_true() {
    let examples = examples("conditions");
    assert!(examples.len() >= 70, "only {} examples were found", examples.len());
    for line in examples {
        let [result, row, expression] = line.rsplitn(3, " | ").collect::<Vec<_>>()[..] else {
            panic!("no 'expression | row | result': {line}");
        };
        let found = judged(expression, row);
        let fits = if result.starts_with("error ") { found.starts_with(result) } else { found == result };
        assert!(fits, "{line}: {found}");
    }
}

#[test]
fn every_refusal_of_the_page_is_said() {
    let examples = examples("conditions-refused");
    assert!(examples.len() >= 24, "only {} examples were found", examples.len());
    for line in examples {
        // the first bar that leaves words of the message behind it, for a filter has a bar too
        let said = line.match_indices(" | ").any(|(at, bar)| {
            Expression::compile(&line[..at]).is_err_and(|text| text.contains(&line[at + bar.len()..]))
        });
        assert!(said, "{line}");
    }
}

#[test]
fn a_hint_for_each_habit() {
    for (expression, hint) in [
        ("new.a == null", "NULL is none: write 'is none' or 'is not none'"),
        ("new.a == Null", "NULL is none"),
        ("NULL == new.a", "NULL is none"),
        ("new.a is not null", "NULL is none"),
        ("new.a IS NOT NULL", "write 'is' in lower case; write 'not' in lower case; NULL is none"),
        ("new.a == NONE", "write 'none' in lower case"),
        ("new.a && new.b", "write 'and' instead of '&&'"),
        ("new.a AND new.b", "write 'and' in lower case"),
        ("new.a||new.b", "write 'or' instead of '||'"),
        ("new.a OR new.b", "write 'or' in lower case"),
        ("!new.a", "write 'not' instead of '!'"),
        ("new.a and !(new.b)", "write 'not' instead of '!'"),
        ("NOT new.a", "write 'not' in lower case"),
        ("new.a NOT IN ['x']", "write 'not' in lower case; write 'in' in lower case"),
        ("new.a = 1", "write '==' to compare"),
        ("new.a=='x' and new.b='y'", "write '==' to compare"),
        ("new.a === 1", "write '==' instead of '==='"),
        ("new.a !== 1", "write '!=' instead of '!=='"),
        ("new.a <> 1", "write '!=' instead of '<>'"),
        ("new.a == TRUE", "write 'true' in lower case"),
        ("new.a == FALSE", "write 'false' in lower case"),
        ("new.a like 'x%'", "instead of LIKE"),
        ("new.a BETWEEN 1 AND 2", "instead of BETWEEN"),
        ("new.a::text == 'x'", "instead of a cast"),
        ("new.a == 'x';", "leave the ';' out"),
        ("new.a == 'it''s'", "write \\' for a quote inside a text"),
        ("new.a == \"say \"\"so\"\"\"", "write \\\" for a quote inside a text"),
        ("new.a == 'x", "close the text with '"),
        ("new.a == \"x", "close the text with \""),
        ("new.a == sent", "a text stands in quotes"),
        ("a == 'sent'", "a column is new.x or old.x"),
        ("upper(new.a) == 'X'", "a filter stands behind its value"),
    ] {
        let text = Expression::compile(expression).unwrap_err();
        assert!(text.contains(hint), "{expression}: {text}");
        assert!(!text.contains('\n'), "{expression}: {text}");
        assert_eq!(text.matches(hint).count(), 1, "once: {text}");
    }
}

#[test]
fn no_hint_where_nothing_is_meant_by_it() {
    for expression in [
        "new.null is none and new.AND == 'NULL'",
        "new.a == 'x = y && !z <> null' or new.b == \"it's = NOT\"",
        "new.a == True or new.a == False or new.a == None",
        "new.a <= 1 and new.b >= 2 and new.c != 3",
        "new.a == 'a \\' = b'",
    ] {
        Expression::compile(expression).unwrap();
    }
    // a mistake of another kind beside them gets no wrong advice
    for expression in ["nwe.a != 'x = y && NULL'", "nwe.null == \"a \\\" = b\"", "nwe.a <= 1 and true"] {
        let text = Expression::compile(expression).unwrap_err();
        assert_eq!(text, Expression::compile("nwe.a").unwrap_err(), "{expression}");
    }
}

#[test]
fn nothing_is_forgotten_behind_a_text() {
    for rest in
        ["&& new.b", "!new.b", ";", "@ x", "'y'", "\"y\"", "'y", "1_", "\\", "? 1", "# new.b", "'\\q'", "$"]
    {
        for source in ["new.a == 'x'", "new.b and new.a in ['x', 'y'] or new.a == \"x\"", "'x'"] {
            for gap in ["", " ", "\n"] {
                let source = format!("{source}{gap}{rest}");
                assert!(Expression::compile(&source).is_err(), "{source:?}");
            }
        }
    }
    Expression::compile("new.a == 'x' \n\t").unwrap();
}

#[test]
fn the_line_is_named_where_there_are_several() {
    for (expression, line) in [
        ("new.a > 0\nand new.b = 1", 2),
        ("new.a > 0\n  and\n  new.b == null", 3),
        ("new.a > 0\nand\nnew.b is odd\nand new.c", 3),
        ("new.a > 0\nand new.b | safe", 2),
    ] {
        let text = Expression::compile(expression).unwrap_err();
        assert!(text.ends_with(&format!(" (line {line} of the expression)")), "{expression:?}: {text}");
    }
    let text = Expression::compile("new.a = 1\n").unwrap_err();
    assert!(!text.contains("(line"), "{text}");
    let entry =
        "[[event]]\nname = 'a.b'\ntable = 'public.t'\non = 'update'\ntenant = 't'\nwhen = 'new.a = 1'\n";
    let problem = &compile(entry).unwrap_err()[0];
    assert!(problem.text.starts_with("a.b: when: ") && problem.text.ends_with("; write '==' to compare"));
}
