//! The bytes of Postgres' protocol that the vendor crate does not know or would copy: message frames, rows, errors, and
//! what stands inside `CopyBoth` (<https://www.postgresql.org/docs/15/protocol-message-formats.html>). Pure; no length
//! is trusted. Knows no socket.
use crate::capture::{Feedback, Frame};
use crate::domain::Lsn;
use crate::fault;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Postgres counts microseconds from 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A message of the server: its first byte and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) struct Packet {
    pub(in crate::capture) tag: u8,
    pub(in crate::capture) body: Bytes,
}

/// Takes the next whole message, if it is there. Its body is a slice of the buffer.
pub(in crate::capture) fn split(buffer: &mut BytesMut, limit: usize) -> Result<Option<Packet>, String> {
    let Some(header) = buffer.first_chunk::<5>() else { return Ok(None) };
    let tag = header[0];
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if (length < 4 || length > limit) && !fault::planted("length-believed") {
        return Err(format!(
            "the server announces a message {:?} of {length} bytes; the limit is {limit}",
            char::from(tag)
        ));
    }
    if buffer.len() <= length {
        return Ok(None);
    }
    let mut body = buffer.split_to(length + 1).freeze();
    body.advance(5);
    Ok(Some(Packet { tag, body }))
}

/// What the server said in an `ErrorResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// Primary message.
    pub message: String,
    /// Detail, if any.
    pub detail: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Reads an `ErrorResponse`; what is missing stays empty.
pub(in crate::capture) fn server_error(mut body: Bytes) -> ServerError {
    let mut error = ServerError::default();
    while body.has_remaining() {
        let field = body.get_u8();
        let Some(text) = take_string(&mut body) else { break };
        match field {
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            _ => {}
        }
    }
    error
}

/// Reads a zero-terminated string.
pub(in crate::capture) fn take_string(body: &mut Bytes) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(&body.split_to(end)).into_owned();
    body.advance(1);
    Some(text)
}

/// A row of a simple query, as text.
pub(in crate::capture) type AnswerRow = Vec<Option<String>>;

/// Reads a `DataRow`.
pub(in crate::capture) fn row(mut body: Bytes) -> Option<AnswerRow> {
    let count = body.try_get_u16().ok()?;
    let mut row = AnswerRow::new();
    for _ in 0..count {
        // a negative length is SQL's NULL
        row.push(match usize::try_from(body.try_get_i32().ok()?) {
            Ok(length) if length > body.len() => return None,
            Ok(length) => Some(String::from_utf8_lossy(&body.split_to(length)).into_owned()),
            Err(_) => None,
        });
    }
    body.is_empty().then_some(row)
}

/// Reads what stands in a `CopyData` message of a replication stream.
pub(in crate::capture) fn frame(mut body: Bytes) -> Result<Frame, String> {
    match (body.try_get_u8(), body.len()) {
        (Ok(b'w'), 24..) => {
            let (start, end) = (Lsn(body.get_u64()), Lsn(body.get_u64()));
            body.advance(8);
            Ok(Frame::Wal { start, end, data: body })
        }
        (Ok(b'k'), 17) => {
            let end = Lsn(body.get_u64());
            body.advance(8);
            Ok(Frame::Keepalive { end, reply: body.get_u8() != 0 })
        }
        (Ok(kind), left) => Err(format!("a replication frame {:?} of {left} bytes", char::from(kind))),
        (Err(_), _) => Err("an empty replication frame".into()),
    }
}

/// A standby status update, as the content of a `CopyData` message.
pub(in crate::capture) fn status(feedback: Feedback, now_us: i64, reply: bool) -> [u8; 34] {
    let mut bytes = [0; 34];
    let mut rest = &mut bytes[..];
    rest.put_u8(b'r');
    rest.put_u64(feedback.written.0);
    rest.put_u64(feedback.flushed.0);
    rest.put_u64(feedback.flushed.0);
    rest.put_i64(now_us.saturating_sub(EPOCH_US));
    rest.put_u8(u8::from(reply));
    bytes
}

/// The ends of earlier timelines, from a history file: `timeline, LSN, reason` in each line.
pub(in crate::capture) fn timeline_history(content: &str) -> Vec<(u32, Lsn)> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    content.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn messages_are_split_wherever_a_read_ends() {
        let stream = [packet(b'd', b"one"), packet(b'Z', b""), packet(b'd', b"two")].concat();
        for cut in 0..=stream.len() {
            let mut buffer = BytesMut::new();
            let mut bodies = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(packet) = split(&mut buffer, 100).expect("fits") {
                    bodies.push((packet.tag, packet.body));
                }
            }
            let expected: [(u8, &[u8]); 3] = [(b'd', b"one"), (b'Z', b""), (b'd', b"two")];
            assert!(bodies.iter().map(|(tag, body)| (*tag, &body[..])).eq(expected), "cut at {cut}");
        }
    }

    #[test]
    fn no_length_is_trusted() {
        for length in [0_u32, 3, 101, u32::MAX] {
            let mut buffer = BytesMut::from(&[&b"d"[..], &length.to_be_bytes()].concat()[..]);
            assert!(split(&mut buffer, 100).is_err(), "{length}");
        }
        assert_eq!(row(Bytes::from_static(b"\0\x01\x7F\xFF\xFF\xFFab")), None);
        assert_eq!(row(Bytes::from_static(b"\0\x02\0\0\0\x01a")), None);
        assert_eq!(row(Bytes::from_static(b"\0\x01\0\0\0\x01ab")), None);
        let whole = row(Bytes::from_static(b"\0\x02\0\0\0\x01a\xFF\xFF\xFF\xFF"));
        assert_eq!(whole, Some(vec![Some("a".into()), None]));
    }

    #[test]
    fn errors_as_the_server_says_them() {
        let body = Bytes::from_static(b"SFATAL\0C28P01\0Mpassword authentication failed\0Dwhy\0\0");
        assert_eq!(server_error(body).to_string(), "password authentication failed (28P01): why");
        assert_eq!(server_error(Bytes::from_static(b"Mcut")), ServerError::default());
    }

    #[test]
    fn replication_frames() {
        let words = [1_u64.to_be_bytes(), 2_u64.to_be_bytes(), [0; 8]].concat();
        let wal = [b"w", &words[..], b"data"].concat();
        let expected = Frame::Wal { start: Lsn(1), end: Lsn(2), data: Bytes::from_static(b"data") };
        assert_eq!(frame(wal.into()), Ok(expected));
        let keepalive = [b"k", &words[..16], b"\x01"].concat();
        assert_eq!(frame(keepalive.clone().into()), Ok(Frame::Keepalive { end: Lsn(1), reply: true }));
        for bad in [b"".to_vec(), b"w".to_vec(), keepalive[..17].to_vec(), b"s123".to_vec()] {
            assert!(frame(bad.clone().into()).is_err(), "{bad:?}");
        }
        let feedback = Feedback { written: Lsn(3), flushed: Lsn(2) };
        let expected = [
            b"r",
            &3_u64.to_be_bytes()[..],
            &2_u64.to_be_bytes(),
            &2_u64.to_be_bytes(),
            &7_u64.to_be_bytes(),
            b"\0",
        ];
        assert_eq!(status(feedback, EPOCH_US + 7, false)[..], expected.concat());
    }

    #[test]
    fn a_history_file() {
        let content =
            "1\t0/3000000\tno recovery target specified\n\n2\t0/5000A28\tbefore 2000-01-01\nnonsense\n";
        assert_eq!(timeline_history(content), [(1, Lsn(0x0300_0000)), (2, Lsn(0x0500_0A28))]);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _any = (frame(bytes.clone().into()), row(bytes.clone().into()), server_error(bytes.clone().into()));
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = split(&mut buffer, 64) {}
        }
    }
}
