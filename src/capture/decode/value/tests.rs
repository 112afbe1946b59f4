//! Tables per kind (the oracle, a real server, is in `tests/postgres/values.rs`); any bytes give valid JSON.
use super::*;
use proptest::prelude::*;

fn rendered(kind: &TypeKind, text: &str) -> String {
    let bytes = render(kind, &Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn scalars() {
    for (kind, text, expected) in [
        (TypeKind::Bool, "t", "true"),
        (TypeKind::Bool, "f", "false"),
        (TypeKind::Bool, "maybe", r#""maybe""#),
        (TypeKind::Integer, "-9223372036854775808", "-9223372036854775808"),
        (TypeKind::Integer, "12 monkeys", r#""12 monkeys""#),
        (TypeKind::Float, "1e+20", "100000000000000000000"),
        (TypeKind::Float, "-0", "0"),
        (TypeKind::Float, "NaN", r#""NaN""#),
        (TypeKind::Float, "-Infinity", r#""-Infinity""#),
        (TypeKind::Numeric, "1.10", "1.10"),
        (TypeKind::Numeric, "NaN", r#""NaN""#),
        (TypeKind::Timestamp, "2026-02-14 10:30:00.123456", r#""2026-02-14T10:30:00.123456""#),
        (TypeKind::Timestamp, "0044-03-15 12:00:00 BC", r#""0044-03-15T12:00:00 BC""#),
        (TypeKind::Timestamp, "infinity", r#""infinity""#),
        (TypeKind::TimestampTz, "2026-02-14 10:30:00+00", r#""2026-02-14T10:30:00+00:00""#),
        (TypeKind::TimestampTz, "2026-02-14 10:30:00+05:30", r#""2026-02-14T10:30:00+05:30""#),
        (TypeKind::TimestampTz, "0044-03-15 12:00:00-03 BC", r#""0044-03-15T12:00:00-03:00 BC""#),
        (TypeKind::TimestampTz, "-infinity", r#""-infinity""#),
        (TypeKind::Text, "\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}é", "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\u{7f}é\""),
        (TypeKind::Text, r"\xdeadbeef", r#""\\xdeadbeef""#),
        (TypeKind::Other, "(1,2)", r#""(1,2)""#),
    ] {
        assert_eq!(rendered(&kind, text), expected, "{kind:?} {text}");
    }
    assert_eq!(&render(&TypeKind::Text, &Bytes::from_static(b"a\xFFb"))[..], "\"a\u{FFFD}b\"".as_bytes());
}

#[test]
fn arrays() {
    let of = |kind: TypeKind| TypeKind::Array(Box::new(kind), b',');
    for (kind, text, expected) in [
        (of(TypeKind::Integer), "{}", "[]"),
        (of(TypeKind::Integer), "{1,NULL,-3}", "[1, null, -3]"),
        (of(TypeKind::Integer), "{{1,2},{3,4}}", "[[1, 2], [3, 4]]"),
        (of(TypeKind::Integer), "[0:1]={1,2}", "[1, 2]"),
        (of(TypeKind::Integer), "[-1:0][2:3]={{1,2},{3,4}}", "[[1, 2], [3, 4]]"),
        (
            of(TypeKind::Text),
            r#"{"a,b","c\"d\\e",NULL,"NULL",""}"#,
            r#"["a,b", "c\"d\\e", null, "NULL", ""]"#,
        ),
        (of(TypeKind::Json), r#"{"{\"b\":1, \"a\": [1 ]}",2}"#, r#"[{"a": [1], "b": 1}, 2]"#),
        (of(TypeKind::Timestamp), r#"{"2026-02-14 10:30:00"}"#, r#"["2026-02-14T10:30:00"]"#),
        (
            TypeKind::Array(Box::new(TypeKind::Text), b';'),
            "{(1,1),(0,0);(3,3),(2,2)}",
            r#"["(1,1),(0,0)", "(3,3),(2,2)"]"#,
        ),
        // not array text: its text
        (of(TypeKind::Integer), "1 2 3", r#""1 2 3""#),
        (of(TypeKind::Integer), "{1,2", r#""{1,2""#),
        (of(TypeKind::Integer), "{1,}", r#""{1,}""#),
        (of(TypeKind::Integer), "{1}x", r#""{1}x""#),
        (of(TypeKind::Integer), "{{{{{{{1}}}}}}}", r#""{{{{{{{1}}}}}}}""#),
    ] {
        assert_eq!(rendered(&kind, text), expected, "{text}");
    }
}

#[test]
fn json() {
    for (text, expected) in [
        (r#" {"b":1,"aa":[true ,false,null],"a":{}} "#, r#"{"a": {}, "b": 1, "aa": [true, false, null]}"#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#),
        (r#"{"a":1,"a":{"z":1,"y":2}}"#, r#"{"a": {"y": 2, "z": 1}}"#),
        (r#"["\u0041\/\ud83d\ude00\u001F\n"]"#, "[\"A/😀\\u001f\\n\"]"),
        ("[1e2,1.10,-0,-0.0,1E-3]", "[100, 1.10, 0, 0.0, 0.001]"),
        ("[]", "[]"),
        ("\"x\"", "\"x\""),
        // the names that serde_json keeps for itself mean nothing here
        (r#"{"$serde_json::private::Number":"1"}"#, r#"{"$serde_json::private::Number": "1"}"#),
        // valid json that jsonb cannot hold stays as it is
        (r#"{"b":"\u0000","a":1}"#, r#"{"b":"\u0000","a":1}"#),
        (r#"["\ud800"]"#, r#"["\ud800"]"#),
        ("[1e999999]", "[1e999999]"),
        // no JSON: its text
        ("{", "\"{\""),
        ("[1,]", "\"[1,]\""),
        ("01", "\"01\""),
        ("1.e1", "\"1.e1\""),
        ("[1] 2", "\"[1] 2\""),
        ("", "\"\""),
    ] {
        assert_eq!(rendered(&TypeKind::Json, text), expected, "{text}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(rendered(&TypeKind::Json, &deep), deep);
    let bomb = format!("[{}1]", "1e131000,".repeat(1000));
    assert_eq!(rendered(&TypeKind::Json, &bomb), bomb, "left alone rather than made large");
}

fn kinds() -> impl Strategy<Value = TypeKind> {
    let scalar = prop::sample::select(vec![
        TypeKind::Bool,
        TypeKind::Integer,
        TypeKind::Float,
        TypeKind::Numeric,
        TypeKind::Timestamp,
        TypeKind::TimestampTz,
        TypeKind::Json,
        TypeKind::Text,
        TypeKind::Other,
    ]);
    (scalar, prop::option::of(prop::sample::select(vec![b',', b';']))).prop_map(|(kind, array)| match array {
        Some(delimiter) => TypeKind::Array(Box::new(kind), delimiter),
        None => kind,
    })
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
}

proptest! {
    #[test]
    fn any_bytes_become_valid_json(kind in kinds(), text in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(is_json(&render(&kind, &text.into())));
    }

    #[test]
    fn anything_like_a_value_becomes_valid_json(kind in kinds(), text in r#"[-+{}\[\]:;,"\\ a-fntuNUL0-9.eE]{0,30}"#) {
        prop_assert!(is_json(&render(&kind, &text.into())));
    }

    #[test]
    fn what_was_rendered_once_is_normal(text in r#"[\[{]("a":|[0-9]{1,3}|,|\{|\}|\[|\]|"b"|1e5){0,12}[\]}]"#) {
        let once = render(&TypeKind::Json, &text.into());
        if once[0] != b'"' {
            prop_assert_eq!(render(&TypeKind::Json, &once), once);
        }
    }
}
