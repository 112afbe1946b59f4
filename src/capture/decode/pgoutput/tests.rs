//! Tables of whole messages; every one cut at every byte; any bytes at all.
use super::*;
use proptest::prelude::*;

fn message(kind: u8, parts: &[&[u8]]) -> Bytes {
    let mut bytes = vec![kind];
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes.into()
}

fn text(value: &'static str) -> TupleValue {
    TupleValue::Text(Bytes::from_static(value.as_bytes()))
}

const RELATION: [u8; 4] = 16384_u32.to_be_bytes();
const NEW: &[u8] = b"N\0\x03t\0\0\0\x017nu";
const KEY: &[u8] = b"K\0\x03t\0\0\0\x017nn";
const ROW: &[u8] = b"O\0\x01b\0\0\0\x02\x01\x02";

fn cases() -> Vec<(Bytes, Message)> {
    let lsn = 0x16_B374_D848_u64.to_be_bytes();
    let time = 5_000_000_u64.to_be_bytes();
    let commit_us = 946_684_805_000_000;
    let new = vec![text("7"), TupleValue::Null, TupleValue::Unchanged];
    let key = vec![text("7"), TupleValue::Null, TupleValue::Null];
    let row = vec![TupleValue::Binary(Bytes::from_static(&[1, 2]))];
    vec![
        (
            message(b'B', &[&lsn, &time, &9_u32.to_be_bytes()]),
            Message::Begin { commit_lsn: Lsn(0x16_B374_D848), commit_us, xid: 9 },
        ),
        (
            message(b'C', &[&[0], &lsn, &lsn, &time]),
            Message::Commit { commit_lsn: Lsn(0x16_B374_D848), end_lsn: Lsn(0x16_B374_D848), commit_us },
        ),
        (message(b'O', &[&lsn, b"there\0"]), Message::Origin { name: "there".into() }),
        (
            message(
                b'R',
                &[
                    &RELATION,
                    b"\0invoices\0d\0\x02",
                    b"\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF",
                    b"\0n\0\0\0\0\x19\0\0\0\x05",
                ],
            ),
            Message::Relation(Relation {
                oid: 16384,
                schema: "pg_catalog".into(),
                name: "invoices".into(),
                identity: ReplicaIdentity::Default,
                columns: vec![
                    RelationColumn { key: true, name: "id".into(), type_oid: 23, type_modifier: -1 },
                    RelationColumn { key: false, name: "n".into(), type_oid: 25, type_modifier: 5 },
                ],
            }),
        ),
        (
            message(b'Y', &[&RELATION, b"public\0mood\0"]),
            Message::Type { oid: 16384, schema: "public".into(), name: "mood".into() },
        ),
        (message(b'I', &[&RELATION, NEW]), Message::Insert { relation: 16384, new: new.clone() }),
        (message(b'U', &[&RELATION, NEW]), Message::Update { relation: 16384, old: None, new: new.clone() }),
        (
            message(b'U', &[&RELATION, KEY, NEW]),
            Message::Update { relation: 16384, old: Some(OldTuple::Key(key.clone())), new: new.clone() },
        ),
        (
            message(b'U', &[&RELATION, ROW, NEW]),
            Message::Update { relation: 16384, old: Some(OldTuple::Row(row.clone())), new },
        ),
        (message(b'D', &[&RELATION, KEY]), Message::Delete { relation: 16384, old: OldTuple::Key(key) }),
        (message(b'D', &[&RELATION, ROW]), Message::Delete { relation: 16384, old: OldTuple::Row(row) }),
        (
            message(b'T', &[&2_u32.to_be_bytes(), &[3], &RELATION, &RELATION]),
            Message::Truncate { relations: vec![16384, 16384], cascade: true, restart_identity: true },
        ),
        (
            message(b'M', &[&[1], &lsn, b"tailhook.event\0\0\0\0\x02{}"]),
            Message::Logical {
                transactional: true,
                lsn: Lsn(0x16_B374_D848),
                prefix: "tailhook.event".into(),
                content: Bytes::from_static(b"{}"),
            },
        ),
    ]
}

#[test]
fn every_kind_of_message() {
    for (bytes, expected) in cases() {
        assert_eq!(decode(bytes), Ok(expected));
    }
}

#[test]
fn cut_anywhere_or_with_a_byte_too_many_it_is_refused() {
    for (bytes, _) in cases() {
        for length in 0..bytes.len() {
            let error = decode(bytes.slice(..length)).expect_err("cut");
            assert!(error.at <= length, "{error}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode(longer.into()).expect_err("longer").what.contains("1 bytes too many"));
    }
}

#[test]
fn errors_say_what_and_where() {
    for (bytes, line) in [
        (message(b'?', &[]), "pgoutput message '?', byte 1: unknown kind of message"),
        (Bytes::new(), "pgoutput message '\\0', byte 0: a message needs 1 bytes, 0 are left"),
        (
            message(b'I', &[&RELATION, b"N\0\x01t\x7F\xFF\xFF\xFFab"]),
            "pgoutput message 'I', byte 13: cell needs 2147483647 bytes, 2 are left",
        ),
        (
            message(b'I', &[&RELATION, b"N\xFF\xFF"]),
            "pgoutput message 'I', byte 8: 65535 columns are more than a table can have",
        ),
        (
            message(b'T', &[b"\xFF\xFF\xFF\xFF\0"]),
            "pgoutput message 'T', byte 6: relation ids needs 17179869180 bytes, 0 are left",
        ),
        (message(b'I', &[&RELATION, b"K"]), "pgoutput message 'I', byte 6: unknown kind of tuple 75"),
        (message(b'O', &[&[0; 8], b"abc"]), "pgoutput message 'O', byte 9: origin name has no end"),
    ] {
        assert_eq!(decode(bytes).expect_err(line).to_string(), line);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_message_or_an_error(kind in prop::sample::select(b"BCORYIUDTM?".to_vec()),
                                            rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = message(kind, &[&rest]);
        if let Err(error) = decode(bytes.clone()) {
            prop_assert!(error.at <= bytes.len());
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(case in 0_usize..13, at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = cases()[case].0.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _either = decode(bytes.into());
    }
}
