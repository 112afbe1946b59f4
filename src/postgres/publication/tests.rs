//! What follows of how the publications stand: the statements, what they mend, what is refused and what is too much.
use super::super::harm::tests::{bare, held, keyed};
use super::*;
use serde_json::{Value, json};

const SERVER: Server = Server { version: 180_000, sends_stored: false };

fn right(schemas: &[&str]) -> Standing {
    let schemas = schemas.iter().map(|schema| (*schema).to_owned()).collect();
    Standing { all_tables: false, options_right: true, sends_stored: false, schemas }
}

/// Both publications, as they should be.
fn both() -> Vec<(&'static str, Standing)> {
    vec![("main", right(&[])), ("main_insert", right(&[]))]
}

fn planned(standing: Vec<(&str, Standing)>, tables: &[Held], wanted: &[(&str, bool)]) -> PublicationPlan {
    let standing = standing.into_iter().map(|(name, standing)| (name.to_owned(), standing)).collect();
    let mut draft = Draft { main: "main", insert: "main_insert", standing, plan: PublicationPlan::default() };
    let wanted: Vec<Wanted> = wanted
        .iter()
        .map(|(name, insert_only)| Wanted { table: TableName::parse(name), insert_only: *insert_only })
        .collect();
    draft.fill(tables, &wanted, SERVER);
    draft.plan
}

fn by(publication: &str, direct: bool, filtered: bool) -> Value {
    json!([{"publication": publication, "direct": direct, "filtered": filtered, "columns": null}])
}

fn whats(refusals: &[Refusal]) -> Vec<&str> {
    refusals.iter().map(|refusal| refusal.what.as_str()).collect()
}

#[test]
fn both_are_made_with_the_tables_that_belong_there() {
    let none = json!([]);
    let tables = [held("docs", &none, &[keyed("docs")]), held("logs", &none, &[bare("logs")])];
    let plan = planned(vec![], &tables, &[("docs", false), ("logs", true), ("absent", false)]);
    assert!(!plan.exists && plan.refused.is_empty() && plan.mended.is_empty());
    assert_eq!(
        plan.sql,
        [
            format!(
                "CREATE PUBLICATION main FOR TABLE ONLY public.docs, ONLY public.absent WITH ({OPTIONS});"
            ),
            format!("CREATE PUBLICATION main_insert FOR TABLE ONLY public.logs WITH ({INSERT_OPTIONS});"),
            "SELECT pg_logical_emit_message(true, 'tailhook.publication', 'main_insert');".to_owned(),
        ]
    );
    // beside a new one the second is made empty; beside an old one, when it is needed
    let docs = &tables[..1];
    let plan = planned(vec![], docs, &[("docs", false)]);
    assert_eq!(plan.sql[1], format!("CREATE PUBLICATION main_insert WITH ({INSERT_OPTIONS});"));
    let here = held("docs", &by("main", true, false), &[keyed("docs")]);
    let old = || vec![("main", right(&[]))];
    let plan = planned(old(), std::slice::from_ref(&here), &[("docs", false)]);
    assert!(plan.exists && plan.sql.is_empty(), "{plan:?}");
    let plan = planned(old(), &[here, tables[1].clone()], &[("docs", false), ("logs", true)]);
    assert_eq!(plan.sql.len(), 2, "{plan:?}");
}

#[test]
fn one_that_stands_is_brought_to_what_it_should_be() {
    let tables = [
        held("docs", &by("main", true, false), &[keyed("docs")]),
        held("more", &json!([]), &[keyed("more")]),
        held("logs", &by("main_insert", true, false), &[bare("logs")]),
    ];
    let wanted = [("docs", false), ("more", false), ("logs", true)];
    let plan = planned(both(), &tables, &wanted);
    assert_eq!(plan.sql, ["ALTER PUBLICATION main ADD TABLE ONLY public.more;"]);
    let mut standing = both();
    for (_, standing) in &mut standing {
        standing.options_right = false;
    }
    let plan = planned(standing, &tables, &wanted);
    assert_eq!(
        plan.sql[1..],
        [
            format!("ALTER PUBLICATION main SET ({OPTIONS});"),
            format!("ALTER PUBLICATION main_insert SET ({INSERT_OPTIONS});")
        ]
    );
    // a table in the wrong one moves
    let wrong = held("logs", &by("main_insert", true, false), &[keyed("logs")]);
    let plan = planned(both(), &[wrong], &[("logs", false)]);
    assert_eq!(
        whats(&plan.mended),
        ["the publication main_insert holds public.logs, which belongs into main"]
    );
    assert_eq!(
        plan.sql,
        [
            "ALTER PUBLICATION main_insert DROP TABLE ONLY public.logs;",
            "ALTER PUBLICATION main ADD TABLE ONLY public.logs;"
        ]
    );
}

#[test]
fn what_would_harm_or_hide_is_refused() {
    let mut standing = both();
    standing[1].1.all_tables = true;
    let plan = planned(standing, &[], &[("docs", false)]);
    assert_eq!(plan.refused[0].remedy_sql, "DROP PUBLICATION main_insert;");
    assert!(plan.exists && plan.sql.is_empty(), "{plan:?}");
    for (members, table, part) in [
        (by("main", true, true), keyed("docs"), "filters the rows of public.docs"),
        (json!([]), bare("docs"), "has no primary key"),
    ] {
        let plan = planned(both(), &[held("docs", &members, &[table])], &[("docs", false)]);
        assert!(plan.refused.len() == 1 && plan.refused[0].what.contains(part), "{plan:?}");
        assert_eq!(plan.sql, Vec::<String>::new());
        let error = refuse(&plan).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("; remedy: "), "{error}");
    }
}

#[test]
fn what_nobody_needs_goes_where_it_harms_and_is_named_where_not() {
    let tables = [
        held("fine", &by("main", true, false), &[keyed("fine")]),
        held("bare", &by("main", true, false), &[bare("bare")]),
        // it sends no updates
        held("logs", &by("main_insert", true, false), &[bare("logs")]),
        held("theirs", &by("main", false, false), &[keyed("theirs")]),
    ];
    let plan = planned(both(), &tables, &[]);
    assert_eq!(plan.sql, ["ALTER PUBLICATION main DROP TABLE ONLY public.bare;"]);
    let what = whats(&plan.mended).join("");
    assert!(
        what.starts_with("the publication main holds public.bare, which no rule needs: public.bare has no"),
        "{what}"
    );
    let superfluous: Vec<String> =
        plan.superfluous.iter().map(|it| format!("{} {}", it.publication, it.table)).collect();
    assert_eq!(superfluous, ["main public.fine", "main_insert public.logs"]);
}

#[test]
fn a_whole_schema_leaves_with_the_tables_that_it_harms_named() {
    let tables = [
        held("bare", &by("main", false, false), &[bare("bare")]),
        held("docs", &by("main", false, false), &[keyed("docs")]),
    ];
    let with = |main: &[&str], insert: &[&str]| vec![("main", right(main)), ("main_insert", right(insert))];
    let plan = planned(with(&["public"], &[]), &tables, &[]);
    assert_eq!(plan.sql, ["ALTER PUBLICATION main DROP TABLES IN SCHEMA public;"]);
    let harm = "updates and deletes fail of public.bare";
    assert_eq!(whats(&plan.mended), [format!("the publication main holds the whole schema public: {harm}")]);
    for (standing, name, schema) in
        [(with(&["other"], &[]), "main", "other"), (with(&[], &["public"]), "main_insert", "public")]
    {
        let plan = planned(standing, &tables, &[]);
        let later = "later tables without a key would fail";
        assert_eq!(
            whats(&plan.mended),
            [format!("the publication {name} holds the whole schema {schema}: {later}")]
        );
    }
}
