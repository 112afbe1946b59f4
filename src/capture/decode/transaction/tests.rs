//! Whole streams of messages, written by hand: what comes out, and what is refused.
use super::*;
use crate::domain::{Column, ReplicaIdentity, TypeKind};

fn frame(kind: u8, parts: &[&[u8]]) -> Bytes {
    let mut bytes = vec![kind];
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes.into()
}

fn begin(commit: u64) -> Bytes {
    frame(b'B', &[&commit.to_be_bytes(), &1_000_000_u64.to_be_bytes(), &42_u32.to_be_bytes()])
}

fn commit(commit: u64, end: u64) -> Bytes {
    frame(b'C', &[&[0], &commit.to_be_bytes(), &end.to_be_bytes(), &1_000_000_u64.to_be_bytes()])
}

const OID: [u8; 4] = 7_u32.to_be_bytes();

/// `public.t(id int4 primary key, note text)`
fn relation() -> Bytes {
    let columns: [&[u8]; 2] = [b"\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF", b"\0note\0\0\0\0\x19\xFF\xFF\xFF\xFF"];
    frame(b'R', &[&OID, b"public\0t\0d\0\x02", columns[0], columns[1]])
}

fn table() -> Table {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        type_oid: 0,
        type_name: String::new(),
        not_null: false,
    };
    Table {
        oid: 7,
        schema: "public".into(),
        name: "t".into(),
        columns: vec![column("id", TypeKind::Integer), column("note", TypeKind::Text)],
        primary_key: vec![0],
        replica_identity: ReplicaIdentity::Default,
    }
}

fn feed(assembler: &mut Assembler, frames: Vec<Bytes>) -> Result<Vec<Transaction>, SourceError> {
    let mut done = Vec::new();
    for (number, data) in frames.into_iter().enumerate() {
        match assembler.feed(Lsn(number as u64), data)? {
            Step::Nothing => {}
            Step::Describe(oid) => {
                assert_eq!(oid, 7);
                assembler.described(&table());
            }
            Step::Transaction(transaction) => done.push(*transaction),
        }
    }
    Ok(done)
}

fn json(text: &'static str) -> Cell {
    Cell::Json(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_transaction_of_every_operation() {
    let insert = frame(b'I', &[&OID, b"N\0\x02t\0\0\0\x011t\0\0\0\x02hi"]);
    let moved = frame(b'U', &[&OID, b"K\0\x02t\0\0\0\x011n", b"N\0\x02t\0\0\0\x012u"]);
    let plain = frame(b'U', &[&OID, b"N\0\x02t\0\0\0\x012n"]);
    let full = frame(b'D', &[&OID, b"O\0\x02t\0\0\0\x012n"]);
    let truncate = frame(b'T', &[&2_u32.to_be_bytes(), &[0], &OID, &OID]);
    let heartbeat = frame(b'M', &[&[1], &[0; 8], b"tailhook.heartbeat\0\0\0\0\0"]);
    let mut assembler = Assembler::new(DEFAULT_LIMIT);
    let frames = vec![
        begin(90),
        relation(),
        insert,
        moved,
        plain,
        relation(),
        full,
        truncate,
        heartbeat,
        commit(90, 100),
    ];
    let done = feed(&mut assembler, frames).expect("decodes");
    let [transaction] = &done[..] else { panic!("one transaction, not {}", done.len()) };
    assert_eq!(
        (transaction.xid, transaction.commit_lsn, transaction.end_lsn, transaction.commit_us),
        (42, Lsn(90), Lsn(100), 946_684_801_000_000)
    );
    let changes: Vec<_> = transaction.changes.iter().map(|c| (c.op, c.old.clone(), c.new.clone())).collect();
    assert_eq!(
        changes,
        [
            (Operation::Insert, None, Some(vec![json("1"), json("\"hi\"")])),
            (Operation::Update, Some(vec![json("1"), Cell::NotSent]), Some(vec![json("2"), Cell::NotSent])),
            (Operation::Update, None, Some(vec![json("2"), Cell::Null])),
            (Operation::Delete, Some(vec![json("2"), Cell::Null]), None),
            (Operation::Truncate, None, None),
            (Operation::Truncate, None, None),
        ]
    );
    assert!(!assembler.is_open());
}

#[test]
fn a_transaction_without_changes_moves_the_position() {
    let done = feed(&mut Assembler::new(0), vec![begin(90), commit(90, 100)]).expect("decodes");
    assert_eq!((done[0].changes.len(), done[0].end_lsn), (0, Lsn(100)));
}

#[test]
fn what_is_no_stream_is_refused_with_its_place() {
    let insert = || frame(b'I', &[&OID, b"N\0\x02t\0\0\0\x011n"]);
    let short = frame(b'I', &[&OID, b"N\0\x01n"]);
    let binary = frame(b'I', &[&OID, b"N\0\x02b\0\0\0\x011n"]);
    for (frames, line) in [
        (vec![begin(9), begin(9)], "at 0/1: transaction 42 begins inside 42"),
        (vec![commit(9, 9)], "at 0/0: commit 0/9 of no transaction"),
        (
            vec![begin(9), commit(8, 9)],
            "at 0/1: transaction 42 began for commit 0/9 and ended with commit 0/8, end 0/9",
        ),
        (vec![begin(9), insert()], "at 0/1: a change of relation 7, which was not announced"),
        (vec![relation(), insert()], "at 0/1: a change of relation 7 outside a transaction"),
        (vec![begin(9), relation(), short], "at 0/2: public.t has 2 columns, a tuple of it 1"),
        (vec![begin(9), relation(), binary], "at 0/2: public.t.id came in binary, which was not asked for"),
        (vec![frame(b'!', &[])], "at 0/0: pgoutput message '!', byte 1: unknown kind of message"),
    ] {
        let error = feed(&mut Assembler::new(DEFAULT_LIMIT), frames).expect_err(line);
        assert_eq!(error, SourceError::Malformed(line.into()));
    }
    let mut assembler = Assembler::new(DEFAULT_LIMIT);
    assert_eq!(assembler.feed(Lsn(1), relation()), Ok(Step::Describe(7)));
    let error = assembler.feed(Lsn(2), begin(9)).expect_err("not described");
    assert_eq!(error, SourceError::Malformed("at 0/2: relation 7 was never described".into()));
}

#[test]
fn a_transaction_is_bounded() {
    let insert = || frame(b'I', &[&OID, b"N\0\x02t\0\0\0\x011n"]);
    let mut frames = vec![begin(9), relation()];
    frames.extend((0..10_000).map(|_| insert()));
    let error = feed(&mut Assembler::new(1 << 20), frames).expect_err("too large");
    let SourceError::Operator(line) = error else { panic!("{error}") };
    assert!(line.contains("transaction 42 holds more than 1 MiB"), "{line}");
}
