//! What the server or the network said → one clear line with the remedy, and what may be done about it (the SQLSTATE
//! table of DESIGN 3). Pure. Names roles and slots, never a password.
use crate::capture::SourceError;
use crate::capture::wire::connection::{ConnectionError, identifier};
use crate::capture::wire::frames::ServerError;
use crate::postgres::url::Address;

/// What we were about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) enum ConnectionStage {
    /// Connecting and logging in.
    Connect,
    /// Looking around.
    Survey,
    /// `CREATE_REPLICATION_SLOT` or `DROP_REPLICATION_SLOT`.
    Slot,
    /// `START_REPLICATION`.
    Start,
    /// Inside the stream.
    Stream,
}

/// Where we were, for the line.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture) struct FailurePlace<'a> {
    pub(in crate::capture) stage: ConnectionStage,
    pub(in crate::capture) address: &'a Address,
    pub(in crate::capture) slot: &'a str,
    pub(in crate::capture) publication: &'a str,
}

/// Explains a failure.
pub(in crate::capture) fn explain(error: &ConnectionError, place: FailurePlace<'_>) -> SourceError {
    let address = place.address;
    match error {
        ConnectionError::Server(error) => refused(error, place),
        ConnectionError::Protocol(what) => SourceError::Malformed(format!(
            "what answers at {address} does not speak Postgres' protocol: {what}"
        )),
        ConnectionError::Login(what) => {
            SourceError::RetrySlowly(format!("{what}: correct user and password in database.url"))
        }
        ConnectionError::Ended => SourceError::Retry("the server ended the stream".into()),
        ConnectionError::Io(_) | ConnectionError::Timeout(_) if place.stage == ConnectionStage::Connect => {
            SourceError::Retry(format!(
                "the database at {address} cannot be reached: {error} (is it running, and is database.url right?)"
            ))
        }
        ConnectionError::Io(_) | ConnectionError::Timeout(_) => {
            SourceError::Retry(format!("the connection to the database at {address} broke: {error}"))
        }
    }
}

fn refused(error: &ServerError, place: FailurePlace<'_>) -> SourceError {
    let FailurePlace { stage, address, slot, publication } = place;
    let (user, database) = (&address.user, &address.database);
    match (error.code.as_str(), stage) {
        ("28P01", _) => SourceError::RetrySlowly(format!(
            "the password of role \"{user}\" is wrong (28P01): correct it in database.url"
        )),
        (code, _) if code.starts_with("28") => SourceError::RetrySlowly(format!(
            "the server refuses role \"{user}\": {error}: allow it database \"{database}\" in pg_hba.conf, or correct database.url"
        )),
        ("3D000", _) => SourceError::RetrySlowly(format!(
            "database \"{database}\" does not exist (3D000): correct database.url"
        )),
        ("42501", _) => SourceError::Operator(format!(
            "role \"{user}\" lacks a right: {error}: ALTER ROLE {} REPLICATION; and let it CONNECT to \"{database}\"",
            identifier(user)
        )),
        ("53300", _) => SourceError::Retry(format!(
            "{error}: raise max_wal_senders or max_connections, or end connections that nobody needs"
        )),
        ("53400", _) => SourceError::Operator(
            "no replication slot is free (53400): raise max_replication_slots, or drop a slot that nobody needs".into(),
        ),
        ("55006", _) => SourceError::Retry(format!("{error}: another process streams from slot \"{slot}\"")),
        ("42710", ConnectionStage::Slot) => SourceError::Retry(format!("slot \"{slot}\" exists already (42710)")),
        ("42704", ConnectionStage::Start | ConnectionStage::Slot) => {
            SourceError::Gap(format!("slot \"{slot}\" does not exist (42704)"))
        }
        // it is looked up as it was when the change was written: that it exists by now does not help
        ("42704", ConnectionStage::Stream) => SourceError::Gap(format!(
            "publication \"{publication}\" did not exist when a change behind our position was written: it was dropped ({error})"
        )),
        ("55000", ConnectionStage::Slot) => SourceError::Operator(format!(
            "slot \"{slot}\" cannot be made: {error}: set wal_level = logical and max_replication_slots, and restart the server"
        )),
        ("55000", ConnectionStage::Start | ConnectionStage::Stream) => {
            SourceError::Gap(format!("slot \"{slot}\" has lost what follows our position: {error}"))
        }
        ("0A000" | "42601", _) => {
            SourceError::Operator(format!("the server does not know what Tailhook needs: {error}"))
        }
        // 57P0x, 08xxx, 58P01 and what nobody foresaw: another connection may be luckier, and the line says what it was
        _ => SourceError::Retry(format!("the server said: {error}")),
    }
}

/// Logical decoding is off.
pub(in crate::capture) fn wal_level(is: &str) -> SourceError {
    SourceError::Operator(format!(
        "wal_level is {is}: ALTER SYSTEM SET wal_level = 'logical'; and restart the server"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn explained(error: &ConnectionError, stage: ConnectionStage) -> String {
        let address = Address::parse("postgres://u:hunter2@127.0.0.1/erp").expect("parses");
        let place = FailurePlace { stage, address: &address, slot: "th", publication: "pub" };
        let explained = explain(error, place);
        let kind = format!("{explained:?}");
        let kind = kind.split('(').next().unwrap_or_default();
        format!("{kind}: {explained}")
    }

    #[test]
    fn every_sqlstate_has_its_kind_and_its_remedy() {
        for (code, stage, expected) in [
            ("28P01", ConnectionStage::Connect, "RetrySlowly: the password of role \"u\" is wrong"),
            (
                "28000",
                ConnectionStage::Connect,
                "RetrySlowly: the server refuses role \"u\": said (28000): allow it database \"erp\"",
            ),
            ("3D000", ConnectionStage::Connect, "RetrySlowly: database \"erp\" does not exist"),
            (
                "42501",
                ConnectionStage::Connect,
                "Operator: role \"u\" lacks a right: said (42501): ALTER ROLE \"u\" REPLICATION;",
            ),
            ("53300", ConnectionStage::Connect, "Retry: said (53300): raise max_wal_senders"),
            ("53400", ConnectionStage::Slot, "Operator: no replication slot is free"),
            (
                "55006",
                ConnectionStage::Start,
                "Retry: said (55006): another process streams from slot \"th\"",
            ),
            ("42710", ConnectionStage::Slot, "Retry: slot \"th\" exists already"),
            ("42704", ConnectionStage::Start, "Gap: slot \"th\" does not exist"),
            ("42704", ConnectionStage::Stream, "Gap: publication \"pub\" did not exist when a change"),
            (
                "55000",
                ConnectionStage::Slot,
                "Operator: slot \"th\" cannot be made: said (55000): set wal_level = logical",
            ),
            ("55000", ConnectionStage::Start, "Gap: slot \"th\" has lost what follows"),
            ("0A000", ConnectionStage::Start, "Operator: the server does not know"),
            ("57P01", ConnectionStage::Stream, "Retry: the server said: said (57P01)"),
            ("57P03", ConnectionStage::Connect, "Retry: the server said"),
            ("08006", ConnectionStage::Stream, "Retry: the server said"),
            ("58P01", ConnectionStage::Start, "Retry: the server said"),
            ("XX000", ConnectionStage::Stream, "Retry: the server said"),
        ] {
            let error = ServerError { code: code.into(), message: "said".into(), detail: None };
            let line = explained(&ConnectionError::Server(error), stage);
            assert!(line.starts_with(expected), "{code} {stage:?}: {line}");
        }
    }

    #[test]
    fn what_is_not_the_servers_word() {
        let io = || ConnectionError::Io(io::Error::other("refused"));
        for (error, stage, expected) in [
            (
                io(),
                ConnectionStage::Connect,
                "Retry: the database at 127.0.0.1:5432 cannot be reached: refused",
            ),
            (
                io(),
                ConnectionStage::Stream,
                "Retry: the connection to the database at 127.0.0.1:5432 broke: refused",
            ),
            (ConnectionError::Ended, ConnectionStage::Stream, "Retry: the server ended the stream"),
            (
                ConnectionError::Protocol("x".into()),
                ConnectionStage::Connect,
                "Malformed: what answers at 127.0.0.1:5432",
            ),
            (
                ConnectionError::Login("x".into()),
                ConnectionStage::Connect,
                "RetrySlowly: x: correct user and password",
            ),
        ] {
            let line = explained(&error, stage);
            assert!(line.starts_with(expected) && !line.contains("hunter2"), "{line}");
        }
    }
}
