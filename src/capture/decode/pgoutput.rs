//! pgoutput, protocol version 1, decoded without copying
//! (<https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html>). Pure: any bytes give a message or
//! an error that says what and where, never a panic. Knows no tables beyond what a message says, no values' meaning.
use crate::domain::{Lsn, ReplicaIdentity};
use crate::fault;
use bytes::{Buf, Bytes};

/// Most columns that a table can have: `MaxTupleAttributeNumber`.
const MAX_COLUMNS: u16 = 1664;
/// Postgres counts microseconds from 2000-01-01; Unix from 1970-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `B`: a committed transaction begins.
    Begin {
        /// LSN of its commit record.
        commit_lsn: Lsn,
        /// Commit time, Unix microseconds.
        commit_us: i64,
        /// Transaction id.
        xid: u32,
    },
    /// `C`: it is complete.
    Commit {
        /// LSN of the commit record.
        commit_lsn: Lsn,
        /// End of the commit record.
        end_lsn: Lsn,
        /// Commit time, Unix microseconds.
        commit_us: i64,
    },
    /// `O`: the transaction came from another node.
    Origin {
        /// Its name.
        name: String,
    },
    /// `R`: how the tuples of a relation look from here on.
    Relation(Relation),
    /// `Y`: a type that is not built in.
    Type {
        /// Its object id.
        oid: u32,
        /// Its schema; empty: `pg_catalog`.
        schema: String,
        /// Its name.
        name: String,
    },
    /// `I`
    Insert {
        /// Object id of the relation.
        relation: u32,
        /// The new row.
        new: Tuple,
    },
    /// `U`
    Update {
        /// Object id of the relation.
        relation: u32,
        /// What the replica identity makes the server send of the old row.
        old: Option<OldTuple>,
        /// The new row.
        new: Tuple,
    },
    /// `D`
    Delete {
        /// Object id of the relation.
        relation: u32,
        /// What the replica identity makes the server send of the old row.
        old: OldTuple,
    },
    /// `T`
    Truncate {
        /// Object ids of the relations.
        relations: Vec<u32>,
        /// `CASCADE` was said.
        cascade: bool,
        /// `RESTART IDENTITY` was said.
        restart_identity: bool,
    },
    /// `M`: `pg_logical_emit_message`.
    Logical {
        /// Part of a transaction.
        transactional: bool,
        /// Where it stands.
        lsn: Lsn,
        /// Its prefix.
        prefix: String,
        /// Its content.
        content: Bytes,
    },
}

/// A relation as its tuples are about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Object id.
    pub oid: u32,
    /// Schema; an empty one on the wire is `pg_catalog`.
    pub schema: String,
    /// Name at the time of the change.
    pub name: String,
    /// Replica identity.
    pub identity: ReplicaIdentity,
    /// In the order of the tuples' cells.
    pub columns: Vec<RelationColumn>,
}

/// One column of a relation message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity's key (with `FULL`: every column).
    pub key: bool,
    /// Name.
    pub name: String,
    /// Object id of the type.
    pub type_oid: u32,
    /// Type modifier.
    pub type_modifier: i32,
}

/// What was sent of an old row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldTuple {
    /// `K`: only the key; nulls of other columns mean "not sent".
    Key(Tuple),
    /// `O`: all of it.
    Row(Tuple),
}

/// A row's cells.
pub type Tuple = Vec<TupleValue>;

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TupleValue {
    /// `n`
    Null,
    /// `u`: unchanged and in TOAST, so not sent.
    Unchanged,
    /// `t`: as the type's output function writes it.
    Text(Bytes),
    /// `b`: as the type's send function writes it. Only when asked for.
    Binary(Bytes),
}

/// Bytes that are no pgoutput.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pgoutput message {kind:?}, byte {at}: {what}")]
pub struct DecodeError {
    /// The message's first byte.
    pub kind: char,
    /// Offset in the message.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// Decodes one message. Cells are slices of `data`.
pub fn decode(data: Bytes) -> Result<Message, DecodeError> {
    let mut reader =
        MessageReader { total: data.len(), kind: data.first().map_or('\0', |b| char::from(*b)), data };
    let message = reader.message()?;
    match reader.data.remaining() {
        0 => Ok(message),
        left => Err(reader.error(format!("{left} bytes too many"))),
    }
}

struct MessageReader {
    data: Bytes,
    total: usize,
    kind: char,
}

impl MessageReader {
    fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError { kind: self.kind, at: self.total - self.data.remaining(), what: what.into() }
    }

    fn need(&self, bytes: usize, what: &str) -> Result<(), DecodeError> {
        let left = self.data.remaining();
        if left < bytes {
            Err(self.error(format!("{what} needs {bytes} bytes, {left} are left")))
        } else {
            Ok(())
        }
    }

    fn u8(&mut self, what: &str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.data.get_u8())
    }

    fn u16(&mut self, what: &str) -> Result<u16, DecodeError> {
        self.need(2, what)?;
        Ok(self.data.get_u16())
    }

    fn u32(&mut self, what: &str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.data.get_u32())
    }

    fn u64(&mut self, what: &str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.data.get_u64())
    }

    fn lsn(&mut self, what: &str) -> Result<Lsn, DecodeError> {
        self.u64(what).map(Lsn)
    }

    fn time(&mut self) -> Result<i64, DecodeError> {
        Ok(self.u64("commit time")?.cast_signed().saturating_add(EPOCH_US))
    }

    /// Bytes with a four-byte length before them.
    fn sized(&mut self, what: &str) -> Result<Bytes, DecodeError> {
        let length = self.u32(what)? as usize;
        if !fault::planted("decoder-overrun") {
            self.need(length, what)?;
        }
        Ok(self.data.split_to(length))
    }

    /// A zero-terminated string. Names in an `SQL_ASCII` database may be any bytes, so what is no UTF-8 is replaced.
    fn string(&mut self, what: &str) -> Result<String, DecodeError> {
        let Some(end) = self.data.iter().position(|b| *b == 0) else {
            return Err(self.error(format!("{what} has no end")));
        };
        let text = String::from_utf8_lossy(&self.data.split_to(end)).into_owned();
        self.data.advance(1);
        Ok(text)
    }

    fn message(&mut self) -> Result<Message, DecodeError> {
        match self.u8("a message")? {
            b'B' => Ok(Message::Begin {
                commit_lsn: self.lsn("commit LSN")?,
                commit_us: self.time()?,
                xid: self.u32("transaction id")?,
            }),
            b'C' => self.commit(),
            b'O' => {
                self.u64("origin LSN")?;
                Ok(Message::Origin { name: self.string("origin name")? })
            }
            b'R' => self.relation().map(Message::Relation),
            b'Y' => Ok(Message::Type {
                oid: self.u32("type id")?,
                schema: self.string("type schema")?,
                name: self.string("type name")?,
            }),
            b'I' => self.insert(),
            b'U' => self.update(),
            b'D' => self.delete(),
            b'T' => self.truncate(),
            b'M' => self.logical(),
            _ => Err(self.error("unknown kind of message")),
        }
    }

    fn commit(&mut self) -> Result<Message, DecodeError> {
        self.u8("flags")?;
        Ok(Message::Commit {
            commit_lsn: self.lsn("commit LSN")?,
            end_lsn: self.lsn("end LSN")?,
            commit_us: self.time()?,
        })
    }

    fn relation(&mut self) -> Result<Relation, DecodeError> {
        let oid = self.u32("relation id")?;
        let mut schema = self.string("schema")?;
        if schema.is_empty() {
            schema.push_str("pg_catalog");
        }
        let name = self.string("relation name")?;
        let identity = match self.u8("replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            other => return Err(self.error(format!("unknown replica identity {other}"))),
        };
        let columns = (0..self.columns()?).map(|_| self.column()).collect::<Result<_, _>>()?;
        Ok(Relation { oid, schema, name, identity, columns })
    }

    fn columns(&mut self) -> Result<u16, DecodeError> {
        match self.u16("number of columns")? {
            count if count <= MAX_COLUMNS => Ok(count),
            count => Err(self.error(format!("{count} columns are more than a table can have"))),
        }
    }

    fn column(&mut self) -> Result<RelationColumn, DecodeError> {
        Ok(RelationColumn {
            key: self.u8("column flags")? & 1 == 1,
            name: self.string("column name")?,
            type_oid: self.u32("type id")?,
            type_modifier: self.u32("type modifier")?.cast_signed(),
        })
    }

    fn insert(&mut self) -> Result<Message, DecodeError> {
        let relation = self.u32("relation id")?;
        match self.u8("kind of tuple")? {
            b'N' => Ok(Message::Insert { relation, new: self.tuple()? }),
            other => Err(self.error(format!("unknown kind of tuple {other}"))),
        }
    }

    fn update(&mut self) -> Result<Message, DecodeError> {
        let relation = self.u32("relation id")?;
        let mut kind = self.u8("kind of tuple")?;
        let old = match kind {
            b'K' => Some(OldTuple::Key(self.tuple()?)),
            b'O' => Some(OldTuple::Row(self.tuple()?)),
            _ => None,
        };
        if old.is_some() {
            kind = self.u8("kind of tuple")?;
        }
        match kind {
            b'N' => Ok(Message::Update { relation, old, new: self.tuple()? }),
            other => Err(self.error(format!("unknown kind of tuple {other}"))),
        }
    }

    fn delete(&mut self) -> Result<Message, DecodeError> {
        let relation = self.u32("relation id")?;
        let old = match self.u8("kind of tuple")? {
            b'K' => OldTuple::Key(self.tuple()?),
            b'O' => OldTuple::Row(self.tuple()?),
            other => return Err(self.error(format!("unknown kind of tuple {other}"))),
        };
        Ok(Message::Delete { relation, old })
    }

    fn tuple(&mut self) -> Result<Tuple, DecodeError> {
        (0..self.columns()?).map(|_| self.value()).collect()
    }

    fn value(&mut self) -> Result<TupleValue, DecodeError> {
        match self.u8("kind of cell")? {
            b'n' => Ok(TupleValue::Null),
            b'u' => Ok(TupleValue::Unchanged),
            b't' => self.sized("cell").map(TupleValue::Text),
            b'b' => self.sized("cell").map(TupleValue::Binary),
            other => Err(self.error(format!("unknown kind of cell {other}"))),
        }
    }

    fn truncate(&mut self) -> Result<Message, DecodeError> {
        let count = self.u32("number of relations")? as usize;
        let options = self.u8("options")?;
        self.need(count.saturating_mul(4), "relation ids")?;
        let relations = (0..count).map(|_| self.u32("relation id")).collect::<Result<_, _>>()?;
        Ok(Message::Truncate { relations, cascade: options & 1 == 1, restart_identity: options & 2 == 2 })
    }

    fn logical(&mut self) -> Result<Message, DecodeError> {
        Ok(Message::Logical {
            transactional: self.u8("flags")? & 1 == 1,
            lsn: self.lsn("message LSN")?,
            prefix: self.string("prefix")?,
            content: self.sized("content")?,
        })
    }
}

#[cfg(test)]
mod tests;
