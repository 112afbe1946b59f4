//! The whole file: defaults, and every problem with its line.
use super::*;
use crate::domain::Secret;
use std::path::PathBuf;
use std::time::Duration;

fn none(_: &str) -> Option<String> {
    None
}

fn problems(text: &str) -> Vec<String> {
    match parse("t.toml", Path::new(""), text, &none) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

fn assert_same(left: &Config, right: &Config) {
    assert_eq!(left.database, right.database);
    assert_eq!((&left.store, &left.secrets), (&right.store, &right.secrets));
    assert_eq!(left.data_folder, right.data_folder);
    assert_eq!((&left.dispatch, &left.egress), (&right.dispatch, &right.egress));
    assert_eq!((&left.admin, &left.envelope), (&right.admin, &right.envelope));
    assert_eq!((left.metrics, left.log), (right.metrics, right.log));
    assert_eq!((left.events.len(), right.events.len()), (0, 0));
}

const URL: &str = "[database]\nurl = \"postgres://u@h/d\"\n";

#[test]
fn the_shipped_file_is_the_defaults() {
    let environment = |name: &str| (name == "PGPASSWORD").then(|| "pw".to_owned());
    let mut shipped = parse("tailhook.toml", Path::new(""), COMMENTED_DEFAULTS, &environment).unwrap();
    let url = Secret::new("postgres://tailhook:pw@127.0.0.1:5432/erp?sslmode=prefer");
    shipped.resolve_paths(Path::new(""));
    assert_same(&shipped, &Config::defaults(url));
}

#[test]
fn only_the_database_is_needed() {
    let config = parse("t.toml", Path::new(""), URL, &none).unwrap();
    assert_same(&config, &Config::defaults(Secret::new("postgres://u@h/d")));
}

#[test]
fn every_problem_is_listed_with_its_line() {
    let text = "[database]\n\
        url = \"mysql://u:s3cret@h/d\"\n\
        slot = \"Bad Slot\"\n\
        heartbeat = 30\n\
        [delivery]\n\
        timeuot = \"10s\"\n\
        backoff = { base = \"2h\", factor = 0.5 }\n\
        breaker = { failures = 5 }\n\
        ordering = \"random\"\n\
        [egress]\n\
        ports = [443, 70000]\n\
        allow_networks = [\"10.0.0.0/33\", \"10.0.0.1\"]\n\
        [admin]\n\
        listen = \"9400\"\n\
        [[admin.token]]\n\
        name = \"x\"\n\
        sha256 = \"abc\"\n\
        tenant = \"*\"\n\
        scope = \"all\"\n\
        [nonsense]\n\
        [store]\n\
        index = \"rocks\"\n";
    let expected = [
        (2, "database.url: is not a Postgres URL"),
        (3, "database.slot: \"Bad Slot\" is no such name"),
        (4, "database.heartbeat: 30 is not a string"),
        (6, "unknown key `delivery.timeuot`; did you mean `timeout`?"),
        (7, "delivery.backoff.factor: 0.5 is out of range"),
        (7, "delivery.backoff.max: is shorter than base"),
        (8, "delivery.breaker.failures: is more than max_retries + 1"),
        (9, "delivery.ordering: \"random\" is not known"),
        (11, "egress.ports: 70000 is not understood"),
        (12, "egress.allow_networks: \"10.0.0.0/33\" is not understood"),
        (14, "admin.listen: \"9400\" is not understood"),
        (17, "admin.token.sha256: is not 64 hexadecimal digits"),
        (19, "admin.token.scope: \"all\" is not known"),
        (20, "unknown key `nonsense`"),
        (22, "store.index: \"rocks\" is not known; choose \"lsm\" or \"sled\""),
    ];
    let found = problems(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, what), found) in expected.iter().zip(&found) {
        assert!(found.starts_with(&format!("t.toml:{line}: {what}")), "{found}");
        assert!(found.contains("; "), "says what to do: {found}");
        assert!(!found.contains("s3cret"), "{found}");
    }
}

#[test]
fn what_does_nothing_yet_is_refused() {
    for (section, line) in [
        ("database", "slot_failover = true"),
        ("database", "adopt_deliveries = true"),
        ("database", "max_wal = \"20GiB\""),
        ("database", "schema = \"public\""),
        ("messages", "enabled = true"),
        ("messages", "events = [\"a.b\"]"),
        ("store", "archive = true"),
        ("delivery", "profile = \"standard\""),
        ("delivery", "suspend_after = \"5d\""),
        ("egress", "proxy_listen = \"127.0.0.1:9401\""),
        ("admin", "tls = { cert = \"c\", key = \"k\" }"),
        ("admin", "jwt = { key_file = \"k\" }"),
        ("metrics", "tenant_label = true"),
        ("admin", "behind_proxy = true"),
    ] {
        let text = match section {
            "database" => format!("{URL}{line}\n"),
            section => format!("{URL}[{section}]\n{line}\n"),
        };
        let found = problems(&text);
        let at = text.lines().count();
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
        assert!(found[0].starts_with(&format!("t.toml:{at}: {section}.")), "{found:#?}");
        assert!(found[0].contains("not yet"), "{found:#?}");
    }
}

#[test]
fn problems_of_events_name_their_key() {
    let text = "[[event]]\nname = \"invoice.sent\"\ntable = \"invoices\"\non = \"updat\"\ntenant = \"tenant_id\"\n\
        [[event]]\nname = \"invoice.created\"\ntable = \"public.invoices\"\non = \"insert\"\n\
        tenant = \"tenant_id\"\nwhen = \"new.\"\ncolour = 1\n\
        [[event]]\nname = \"invoice.paid\"\n";
    let found = problems(&format!("{URL}{text}"));
    let lines: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        lines,
        ["t.toml:5", "t.toml:6", "t.toml:14", "t.toml:15", "t.toml:15", "t.toml:15"],
        "{found:#?}"
    );
    assert!(found[2].contains("colour"), "{found:#?}");
}

#[test]
fn a_condition_that_is_refused_has_its_line_and_a_hint() {
    let rule = |name: &str, when: &str| {
        format!(
            "[[event]]\nname = \"{name}\"\ntable = \"public.t\"\non = \"update\"\ntenant = \"tenant_id\"\nwhen = {when}\n"
        )
    };
    let text = [
        URL,
        &rule("a.one", "\"new.a == null\""),
        &rule("a.two", "\"new.a == 'x' && new.b\""),
        &rule("a.three", "\"\"\"\nnew.a > 0\nand new.b = 1\"\"\""),
    ];
    let found = problems(&text.concat());
    let expected = [
        (
            "t.toml:8: event a.one: when: 'null' is not known; NULL is none: write 'is none' or 'is not none'",
            "",
        ),
        ("t.toml:14: event a.two: when: ", "write 'and' instead of '&&'"),
        ("t.toml:20: event a.three: when: ", "write '==' to compare (line 2 of the expression)"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((begins, holds), found) in expected.iter().zip(&found) {
        assert!(found.starts_with(begins) && found.contains(holds), "{found}");
    }
}

#[test]
fn the_pack_is_read() {
    let text = format!("{URL}{}", include_str!("../../config/gestiqcloud.toml"));
    let config = parse("t.toml", Path::new(""), &text, &none).unwrap();
    assert_eq!(config.mapping.event_names().len(), config.events.len());
}

#[test]
fn tls_to_postgres_is_refused_and_never_downgraded() {
    for (mode, problem) in [
        ("disable", None),
        ("allow", None),
        ("prefer", None),
        ("require", Some("not yet")),
        ("verify-ca", Some("not yet")),
        ("verify-full", Some("not yet")),
        ("Require", Some("not known")),
    ] {
        let found =
            problems(&format!("[database]\nurl = \"postgres://u@h/d?connect_timeout=3&sslmode={mode}\"\n"));
        match problem {
            None => assert!(found.is_empty(), "{mode}: {found:?}"),
            Some(word) => {
                assert!(found[0].starts_with("t.toml:2:") && found[0].contains(word), "{mode}: {found:?}");
            }
        }
    }
}

#[test]
fn broken_toml_is_named_line_by_line() {
    let found = problems("[database]\nurl = \"postgres://u@h/d\n[store]\nhistory = \"x\"\n= 3\n");
    assert!(found.iter().any(|line| line.starts_with("t.toml:2: is not TOML")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("t.toml:5: is not TOML")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("t.toml:4: store.history")), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("database.url: is missing")), "{found:#?}");
}

#[test]
fn what_is_missing_is_said_once() {
    assert_eq!(problems("").len(), 1);
    let found = problems("[database]\nurl = \"postgres://u:${NOPE}@h/d\"\n");
    assert_eq!(found, ["t.toml:2: the environment has no NOPE; set it, or write the value here"]);
}

#[test]
fn the_old_variables_go_before_the_file() {
    let environment = |name: &str| match name {
        "WEBHOOK_TIMEOUT_SECONDS" => Some("7".to_owned()),
        "WEBHOOK_MAX_RETRIES" => Some("9".to_owned()),
        "WEBHOOK_USER_AGENT" => Some("Old/1".to_owned()),
        _ => None,
    };
    let config = parse("t.toml", Path::new(""), URL, &environment).unwrap();
    assert_eq!((config.dispatch.timeout, config.dispatch.max_retries), (Duration::from_secs(7), 9));
    assert_eq!(config.egress.user_agent, "Old/1");
    let hostile = |name: &str| name.starts_with("WEBHOOK_").then(|| "a\nb".to_owned());
    let problems = parse("t.toml", Path::new(""), URL, &hostile).unwrap_err();
    assert_eq!(problems.found().iter().filter(|(line, _)| *line == 0).count(), 3, "{problems}");
    let fewer = |name: &str| (name == "WEBHOOK_MAX_RETRIES").then(|| "1".to_owned());
    let followed = parse("t.toml", Path::new(""), URL, &fewer).unwrap().dispatch;
    assert_eq!((followed.max_retries, followed.breaker.failures), (1, 2));
    let written = format!(
        "{URL}[delivery]
breaker = {{ failures = 3 }}
"
    );
    let problems = parse("t.toml", Path::new(""), &written, &fewer).unwrap_err();
    assert!(matches!(problems.found(), [(4, _)]), "{problems}");
}

#[test]
fn paths_are_meant_from_the_files_folder() {
    let config = parse("/etc/t/t.toml", Path::new("/etc/t"), URL, &none).unwrap();
    assert_eq!(config.data_folder, PathBuf::from("/etc/t/./tailhook-data"));
    assert_eq!(config.secrets.master_key_file, PathBuf::from("/etc/t/./master.key"));
}

#[test]
fn nothing_secret_is_printed() {
    let text = format!(
        "[database]\nurl = \"postgres://u:s3cret@h/d\"\napi_url = \"postgres://v:s3cret@h/d\"\n\
        [[admin.token]]\nname = \"n\"\nsha256 = \"{}\"\ntenant = \"*\"\nscope = \"read\"\n",
        "ab".repeat(32)
    );
    let config = parse("t.toml", Path::new(""), &text, &none).unwrap();
    assert_eq!(config.admin.tokens[0].sha256, [0xab; 32]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("171"), "{shown}");
}
