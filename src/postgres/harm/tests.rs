//! What each identity means for the writes of the ERP, and the SQL that mends it, row by row. That Postgres sees it so is asked
//! by `tests/sql/harm.rs`.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]
use super::*;
use serde_json::{Value, json};

const BEFORE_18: Server = Server { version: GENERATED_REFUSED - 1, sends_stored: false };
const FROM_18: Server = Server { version: GENERATED_REFUSED, sends_stored: false };
const SENDS: Server = Server { version: GENERATED_REFUSED, sends_stored: true };

/// An index of the column of its name.
fn unique(name: &str, kind: &str) -> Value {
    let is = |word: &str| kind.split(' ').any(|said| said == word);
    let generated = if is("stored") { "s" } else { "" };
    json!({"name": name, "primary": is("primary"), "identity": is("identity"), "nullable": is("nullable"),
           "generated": generated, "columns": [name]})
}

/// A table that rows are written to: kind, identity, kinds of generated columns.
pub(in crate::postgres) fn written(
    name: &str,
    letters: [char; 2],
    generated: &str,
    indexes: &[Value],
) -> Value {
    let [kind, identity] = letters;
    json!({"schema": "public", "name": name, "kind": kind, "persistence": "p", "identity": identity,
           "generated": generated, "indexes": indexes})
}

pub(in crate::postgres) fn keyed(name: &str) -> Value {
    written(name, ['r', 'd'], "", &[unique("id", "primary")])
}

pub(in crate::postgres) fn bare(name: &str) -> Value {
    written(name, ['r', 'd'], "", &[])
}

pub(in crate::postgres) fn held(name: &str, members: &Value, relations: &[Value]) -> Held {
    serde_json::from_value(
        json!({"schema": "public", "name": name, "members": members, "relations": relations}),
    )
    .unwrap()
}

fn harm(server: Server, relations: &[Value]) -> Vec<(String, String)> {
    let harm = held("docs", &json!([]), relations).harm("main", server);
    harm.into_iter().map(|refusal| (refusal.what, refusal.remedy_sql)).collect()
}

#[track_caller]
fn refused(server: Server, relation: &Value, why: &str, remedy: &str) {
    let what = format!("public.docs {why}: once it is published, its updates and deletes would fail");
    assert_eq!(harm(server, std::slice::from_ref(relation)), [(what, remedy.to_owned())]);
}

#[test]
fn an_identity_that_postgres_can_send_does_no_harm() {
    let docs = |identity, generated, indexes: &[Value]| written("docs", ['r', identity], generated, indexes);
    for (server, fine) in [
        (FROM_18, docs('d', "", &[unique("id", "primary")])),
        (FROM_18, docs('d', "sv", &[unique("id", "primary")])),
        (FROM_18, docs('i', "", &[unique("u", "identity")])),
        (FROM_18, docs('f', "", &[])),
        // generated columns are refused from 18 on, and stored ones that are sent are not
        (BEFORE_18, docs('f', "sv", &[])),
        (BEFORE_18, docs('d', "s", &[unique("id", "primary stored")])),
        (SENDS, docs('f', "s", &[])),
        (SENDS, docs('i', "s", &[unique("u", "identity stored")])),
    ] {
        assert_eq!(harm(server, std::slice::from_ref(&fine)), [], "{fine}");
    }
}

#[test]
fn what_an_identity_lacks_is_said_with_the_sql_that_mends_it() {
    let docs = |identity, generated, indexes: &[Value]| written("docs", ['r', identity], generated, indexes);
    let full = "ALTER TABLE public.docs REPLICA IDENTITY FULL;";
    let default = "ALTER TABLE public.docs REPLICA IDENTITY DEFAULT;";
    let index = "ALTER TABLE public.docs REPLICA IDENTITY USING INDEX u;";
    let key = "ALTER TABLE public.docs ADD PRIMARY KEY (…);";
    let other = "-- make a unique index of columns that are NOT NULL and not generated, then: \
                 ALTER TABLE public.docs REPLICA IDENTITY USING INDEX …;";
    let full_generated = "has REPLICA IDENTITY FULL and a generated column that is not published";
    let key_generated = "has a generated column in its replica identity that is not published";
    let (no_key, lost) = ("has no primary key", "has lost the index of its REPLICA IDENTITY");
    let nothing = "has REPLICA IDENTITY NOTHING";
    for (server, relation, why, remedy) in [
        (FROM_18, docs('d', "", &[]), no_key, full),
        (FROM_18, docs('d', "", &[unique("u", "")]), no_key, index),
        (FROM_18, docs('d', "", &[unique("u", "nullable")]), no_key, full),
        // the index of another identity is not the key
        (FROM_18, docs('d', "", &[unique("u", "identity")]), no_key, index),
        (FROM_18, docs('n', "", &[unique("id", "primary")]), nothing, default),
        (FROM_18, docs('n', "", &[]), nothing, full),
        (FROM_18, docs('i', "", &[unique("id", "primary")]), lost, default),
        (FROM_18, docs('i', "", &[unique("n", "nullable"), unique("u", "")]), lost, index),
        (FROM_18, docs('f', "s", &[unique("id", "primary")]), full_generated, default),
        (FROM_18, docs('f', "s", &[unique("id", "primary stored"), unique("u", "")]), full_generated, index),
        (FROM_18, docs('f', "s", &[]), full_generated, key),
        (FROM_18, docs('f', "s", &[unique("x", "stored"), unique("u", "")]), full_generated, index),
        (SENDS, docs('f', "v", &[]), full_generated, key),
        (FROM_18, docs('d', "s", &[unique("id", "primary stored")]), key_generated, other),
        (
            FROM_18,
            docs('i', "s", &[unique("u", "identity stored"), unique("id", "primary")]),
            key_generated,
            default,
        ),
    ] {
        refused(server, &relation, why, remedy);
    }
}

#[test]
fn a_partitioned_table_is_judged_by_its_root_and_its_leaves() {
    let root = |indexes: &[Value]| written("docs", ['p', 'd'], "", indexes);
    let key = unique("id", "primary");
    let next = "once it is published, updates and deletes of its next new partition would fail";
    let no_key = format!("public.docs is partitioned and has no primary key: {next}");
    let add = |columns: &str| format!("ALTER TABLE public.docs ADD PRIMARY KEY ({columns});");
    assert_eq!(harm(FROM_18, &[root(std::slice::from_ref(&key)), keyed("docs_1")]), []);
    // the key that the root lacks is not asked of its leaves too; what else they lack is
    assert_eq!(harm(FROM_18, &[root(&[]), bare("docs_1")]), [(no_key.clone(), add("…"))]);
    let nothing = written("docs_1", ['r', 'n'], "", std::slice::from_ref(&key));
    assert_eq!(harm(FROM_18, &[root(&[]), nothing]).len(), 2);
    assert_eq!(
        harm(FROM_18, &[root(std::slice::from_ref(&key)), bare("docs_1")])[0].0.split(':').next(),
        Some("public.docs_1 has no primary key")
    );
    // between root and leaves no row is written
    let between = written("docs_1", ['p', 'n'], "", &[]);
    assert_eq!(harm(FROM_18, &[root(&[key]), between, keyed("docs_1_1")]), []);
    // a unique index says what the key may be
    let unfit = [unique("n", "nullable"), unique("x", "stored"), unique("Odd", "")];
    assert_eq!(harm(FROM_18, &[root(&unfit)]), [(no_key.clone(), add("\"Odd\""))]);
    assert_eq!(harm(FROM_18, &[root(&unfit[..2])]), [(no_key, add("…"))]);
    let generated = harm(FROM_18, &[root(&[unique("x", "primary stored")])]);
    assert_eq!(
        generated[0].0,
        format!("public.docs is partitioned and has a generated column in its primary key: {next}")
    );
    assert!(
        generated[0].1.starts_with("-- map its partitions, or publish only inserts of it"),
        "{generated:?}"
    );
}

#[test]
fn a_column_list_must_cover_the_identity() {
    let member = |publication: &str, columns: &[&str]| json!([{"publication": publication, "direct": true, "filtered": false, "columns": columns}]);
    let cut = |members: &Value, relation: Value| {
        let harm = held("docs", members, &[relation]).harm("main", FROM_18);
        harm.into_iter().map(|refusal| (refusal.what, refusal.remedy_sql)).collect::<Vec<_>>()
    };
    assert_eq!(cut(&member("main", &["id", "n"]), keyed("docs")), []);
    assert_eq!(cut(&member("other", &["n"]), keyed("docs")), []);
    let full = written("docs", ['r', 'f'], "", &[]);
    let renew = "ALTER PUBLICATION main DROP TABLE ONLY public.docs; ALTER PUBLICATION main ADD TABLE ONLY public.docs;";
    let stop = " -- to stop the harm at once: ALTER PUBLICATION main DROP TABLE ONLY public.docs;";
    for relation in [keyed("docs"), full] {
        let harm = cut(&member("main", &["n"]), relation);
        assert_eq!(harm.len(), 1, "{harm:?}");
        assert!(harm[0].0.starts_with("the publication main lists columns of public.docs without its whole"));
        assert_eq!(harm[0].1, format!("{renew}{stop}"));
    }
    // without an identity that alone is the harm, and it is there already
    let harm = cut(&member("main", &["n"]), bare("docs"));
    assert_eq!(harm.len(), 1, "{harm:?}");
    assert_eq!(
        harm[0].0,
        "public.docs has no primary key: it is published, and its updates and deletes fail"
    );
    assert!(harm[0].1.ends_with(stop), "{harm:?}");
}

#[test]
fn a_table_is_held_by_name_or_by_its_schema() {
    let by =
        |direct: bool| json!([{"publication": "main", "direct": direct, "filtered": false, "columns": null}]);
    let (named, by_schema) = (held("docs", &by(true), &[]), held("docs", &by(false), &[]));
    assert_eq!((named.is_in("main"), named.is_named_by("main")), (true, true));
    assert_eq!((by_schema.is_in("main"), by_schema.is_named_by("main")), (true, false));
    assert_eq!((named.is_in("other"), named.is_named_by("other")), (false, false));
}

#[test]
fn what_no_publication_can_hold_is_unfit() {
    let unfit = |relations: &[Value]| -> Vec<(String, String)> {
        let unfit = held("docs", &json!([]), relations).unfit();
        unfit.into_iter().map(|refusal| (refusal.what, refusal.remedy_sql)).collect()
    };
    assert_eq!(unfit(&[written("docs", ['p', 'd'], "", &[]), keyed("docs_1")]), []);
    let mut loose = keyed("docs");
    loose["persistence"] = json!("u");
    let (view, loose) = (unfit(&[written("docs", ['v', 'd'], "", &[])]), unfit(&[loose]));
    assert_eq!(view[0].0, "public.docs is no ordinary table: it cannot be published");
    assert_eq!(loose[0].1, "ALTER TABLE public.docs SET LOGGED;");
}
