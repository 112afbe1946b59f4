//! The grammar of database URLs, row by row: what is read, what is refused, and that no password is repeated.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn short(text: &str) -> String {
    match Address::parse(text) {
        Ok(a) => {
            let password = a.password.as_ref().map_or("-", Secret::expose);
            format!(
                "{a} {} {password} {} {} {}",
                a.user,
                a.database,
                a.connect_timeout.as_secs(),
                a.application_name
            )
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_form_that_libpq_reads() {
    for (text, expected) in [
        ("postgres://u:p@127.0.0.1:5433/erp?sslmode=prefer", "127.0.0.1:5433 u p erp 10 tailhook"),
        ("postgresql://u@db", "db:5432 u - u 10 tailhook"),
        ("postgres://u:p%40s%3As%2F@h/e%20rp", "h:5432 u p@s:s/ e rp 10 tailhook"),
        ("postgres://u:a@b@h/erp", "h:5432 u a@b erp 10 tailhook"),
        ("postgres://u@[::1]:6000/erp", "[::1]:6000 u - erp 10 tailhook"),
        ("postgres://u@%2Ftmp%2Fpg:5433/erp", "/tmp/pg/.s.PGSQL.5433 u - erp 10 tailhook"),
        ("postgres:///erp?host=/tmp/pg&user=u&port=1", "/tmp/pg/.s.PGSQL.1 u - erp 10 tailhook"),
        ("postgres://u@/erp", "/var/run/postgresql/.s.PGSQL.5432 u - erp 10 tailhook"),
        ("postgres://u@h/?connect_timeout=3&application_name=x%20y", "h:5432 u - u 3 x y"),
        (
            "host=/tmp/pg user=u password='a \\'b' dbname=erp sslmode=allow",
            "/tmp/pg/.s.PGSQL.5432 u a 'b erp 10 tailhook",
        ),
    ] {
        assert_eq!(short(text), expected, "{text}");
    }
}

#[test]
fn the_form_of_the_file_has_a_scheme() {
    assert!(has_scheme("postgres://") && has_scheme("postgresql://u@h"));
    assert!(!has_scheme("host=h user=u") && !has_scheme("mysql://h"));
}

#[test]
fn what_is_refused_is_named_and_no_password_is_repeated() {
    for (text, part) in [
        ("", "names no user"),
        ("hunter2", "expected postgres://"),
        ("postgres://h/erp", "names no user"),
        ("postgres://u:hunter2@h:0/erp", "port must be"),
        ("postgres://u:hunter2@h:x/erp", "port must be"),
        ("postgres://u:hunter2@h,i/erp", "several hosts"),
        ("postgres://u:hunter2@h/erp?sslmode=maybe", "sslmode must be disable, allow"),
        ("postgres://u:hunter2@h/erp?hunter2=1", "a parameter is not known"),
        ("postgres://u:hunter2@h/erp?sslmode", "has no value"),
        ("postgres://u:hunter2@[::1/erp", "bracket"),
        ("postgres://u:hunter2%ff@h/erp", "no UTF-8"),
        ("postgres://u%ff:hunter2@h/erp", "no UTF-8"),
        ("postgres://u:hunter2@h/erp?target_session_attrs=hunter2", "a value that is not known"),
        ("postgres://u:hunter2%00@h/erp", "zero byte"),
        ("postgres://u:hunter2@h/erp?connect_timeout=soon", "number of seconds"),
        ("user=u password='hunter2", "quote is not closed"),
    ] {
        let error = short(text);
        assert!(error.contains(part) && !error.contains("hunter2"), "{text}: {error}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = short(&format!("postgres://u@h/erp?sslmode={mode}"));
        assert!(error.contains(&format!("sslmode={mode} is not supported yet")), "{error}");
    }
    let debug = format!("{:?}", Address::parse("postgres://u:hunter2@h/erp"));
    assert!(!debug.contains("hunter2"), "{debug}");
}

/// Ordinary SQL takes what the client crate takes; the replication connection would ignore it.
#[test]
fn both_forms_of_url_and_every_sslmode() {
    for good in [
        "postgres://u:p@127.0.0.1:5432/erp?sslmode=prefer",
        "postgresql://u@h/erp?connect_timeout=3&sslmode=disable",
        "postgres://u@%2Fvar%2Frun/erp",
        "host=/var/run user=u dbname=erp sslmode=allow",
        "postgres:///erp?host=/run",
        "postgres://u@h,i/erp?options=-cgeqo%3Doff",
    ] {
        assert!(DatabaseUrl::parse(good).is_ok(), "{good}");
    }
    for strict in ["require", "verify-ca", "verify-full"] {
        for url in [
            format!("postgres://u:p@h/erp?sslmode={strict}"),
            format!("host=h user=u sslmode={strict}"),
            format!("host=h user=u password='a b' sslmode='{strict}'"),
        ] {
            assert!(matches!(DatabaseUrl::parse(&url), Err(UrlProblem::NotYet(_))), "{url}");
        }
    }
    assert!(matches!(DatabaseUrl::parse("host=h user=u sslmode = require"), Err(UrlProblem::NotYet(_))));
    for bad in
        ["postgres://u:hunter2@h/erp?sslmode=maybe", "postgres://u:hunter2@h/erp?colour=red", "hunter2"]
    {
        let error = PgError::from(DatabaseUrl::parse(bad).unwrap_err());
        assert!(matches!(error, PgError::Setup(_)), "{bad}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn what_replication_would_ignore_is_refused_for_it_alone() {
    for (url, part) in [
        ("postgres://u:hunter2@h/erp?options=-cgeqo%3Doff", "a parameter is not known"),
        ("postgres://u:hunter2@h/erp?keepalives=0", "a parameter is not known"),
        ("postgres://u:hunter2@h/erp?hostaddr=10.0.0.1", "a parameter is not known"),
        ("postgres://u:hunter2@h:1/erp?port=2", "the port is named twice"),
        ("postgres:///erp?host=/run", "names no user"),
    ] {
        let error = DatabaseUrl::parse(url).unwrap().address().unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("hunter2"), "{url}: {error}");
    }
}

#[test]
fn what_is_quoted_or_escaped_does_not_end_a_pair() {
    assert_eq!(pairs(r"a=1  b='x \' y' c=d\ e").collect::<Vec<_>>(), ["a=1", r"b='x \' y'", r"c=d\ e"]);
    assert_eq!(
        short("user=u password='a sslmode=require b' host=h"),
        "h:5432 u a sslmode=require b u 10 tailhook"
    );
    assert_eq!(short("postgres://u@h/e@p?application_name=a@b"), "h:5432 u - e@p 10 a@b");
}
