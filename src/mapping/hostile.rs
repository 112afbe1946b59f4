//! What an operator and a row could hold, against conditions: calls and what must hold of their answers, for `fuzz/` and
//! `tests/corpora`. Knows no fuzzer. Panics on purpose, where a promise is broken.
use crate::domain::{Cell, Column, Image, Operation, ReplicaIdentity, Table, TypeKind};
use crate::mapping::when::evaluate::{Scene, holds};
use crate::mapping::when::expression::Expression;
use bytes::Bytes;
use serde_json::value::RawValue;

/// A `when`, then the values of `n m s b j f` of the old row and of the new one, all parted by NUL; a value that is no JSON was
/// not sent.
pub fn expression(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let Ok(source) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let Ok(expression) = Expression::compile(source) else { return };
    // no sentence goes on with an @, so it is refused unless the reader forgets what stands behind a sentence
    assert!(Expression::compile(&format!("{source}@")).is_err(), "nothing is forgotten behind an expression");
    let table = table();
    let mut image = || -> Image {
        let cell = |json: &[u8]| match serde_json::from_slice::<&RawValue>(json) {
            Ok(value) if value.get() == "null" => Cell::Null,
            Ok(value) => Cell::Json(Bytes::copy_from_slice(value.get().as_bytes())),
            Err(_) => Cell::NotSent,
        };
        parts.by_ref().take(table.columns.len()).map(cell).collect()
    };
    let (old, new) = (image(), image());
    for (op, old) in [(Operation::Update, Some(&old)), (Operation::Insert, None)] {
        let scene = Scene { table: &table, table_name: "public.t", op, old, new: Some(&new) };
        let judged = holds(&expression.root, scene);
        assert_eq!(judged, holds(&expression.root, scene), "a judgement is a function of its rows");
    }
}

fn table() -> Table {
    let kinds = [
        ("n", TypeKind::Numeric),
        ("m", TypeKind::Numeric),
        ("s", TypeKind::Text),
        ("b", TypeKind::Bool),
        ("j", TypeKind::Json),
        ("f", TypeKind::Float),
    ];
    let column = |(name, kind): (&str, TypeKind)| Column {
        name: name.into(),
        kind,
        type_oid: 0,
        type_name: String::new(),
        not_null: false,
    };
    Table {
        oid: 1,
        schema: "public".into(),
        name: "t".into(),
        columns: kinds.into_iter().map(column).collect(),
        primary_key: vec![0],
        replica_identity: ReplicaIdentity::Full,
    }
}
