//! What each refusal of a server becomes, by a server that says only that.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use tokio::io::AsyncWriteExt;
use tokio_postgres::{Config, NoTls};

/// A message of the protocol: its letter, its length, its body.
fn message(letter: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[letter], length.to_be_bytes().as_slice(), body].concat()
}

/// The error of a login to a server that answers with this.
async fn login(answer: &[u8]) -> PgError {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs.write_all(answer).await.unwrap();
    theirs.shutdown().await.unwrap();
    Config::new().user("u").connect_raw(ours, NoTls).await.map(|_| ()).unwrap_err().into()
}

async fn refused(code: &str, hint: &str) -> PgError {
    let hint = if hint.is_empty() { String::new() } else { format!("H{hint}\0") };
    login(&message(b'E', format!("SFATAL\0C{code}\0Mso it is\0{hint}\0").as_bytes())).await
}

#[tokio::test]
async fn a_refusal_is_told_by_its_sqlstate() {
    let login = |more: &str| PgError::Login(format!("postgres refuses the login: so it is; check {more}"));
    let away = || PgError::Unreachable("the database does not serve us now: so it is".into());
    let setup = || PgError::Setup("so it is; has `tailhook migrate` been run?".into());
    let busy = || PgError::Busy("the database is busy: so it is".into());
    for (code, expected) in [
        ("28P01", login("the password in database.url")),
        ("28000", login("user, pg_hba.conf and database.url")),
        ("3D000", login("the database's name in database.url")),
        ("53300", away()),
        ("57P01", away()),
        ("57P03", away()),
        ("08006", away()),
        ("42501", PgError::Privilege("a right is missing: so it is (do this)".into())),
        ("42P01", setup()),
        ("3F000", setup()),
        ("42703", setup()),
        ("55P03", busy()),
        ("57014", busy()),
        ("40P01", busy()),
        ("40001", busy()),
        ("22012", PgError::Statement("postgres says: so it is (SQLSTATE 22012) (do this)".into())),
    ] {
        assert_eq!(refused(code, "do this").await, expected, "{code}");
    }
    assert_eq!(refused("42501", "").await, PgError::Privilege("a right is missing: so it is".into()));
}

#[tokio::test]
async fn what_the_client_refuses_itself_is_a_login_and_what_breaks_is_not() {
    let asks = |how: u32| message(b'R', &how.to_be_bytes());
    let (password, kerberos, closed) = (login(&asks(3)).await, login(&asks(2)).await, login(&[]).await);
    assert!(matches!(&password, PgError::Login(why) if why.contains("wants a password")), "{password:?}");
    assert!(
        matches!(&kerberos, PgError::Login(why) if why.starts_with("the login does not work")),
        "{kerberos:?}"
    );
    assert!(
        matches!(&closed, PgError::Unreachable(why) if why.starts_with("the database cannot be reached")),
        "{closed:?}"
    );
}

#[test]
fn what_may_work_later_is_transient() {
    let text = || "x".to_owned();
    for (error, transient, unreachable) in [
        (PgError::Unreachable(text()), true, true),
        (PgError::Login(text()), true, false),
        (PgError::Busy(text()), true, false),
        (PgError::Privilege(text()), false, false),
        (PgError::Setup(text()), false, false),
        (PgError::NotYet(text()), false, false),
        (PgError::Statement(text()), false, false),
    ] {
        assert_eq!((error.is_transient(), error.is_unreachable()), (transient, unreachable), "{error:?}");
    }
}

/// An error with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Because(&'static str, #[source] Option<Box<Because>>);

#[test]
fn causes_follow_in_one_line_and_none_is_said_twice() {
    let cause = |what, why| Some(Box::new(Because(what, why)));
    let error = Because("no way", cause("a\nb", cause("way", cause("c", None))));
    assert_eq!(chain(&error), "no way: a b: c");
}
