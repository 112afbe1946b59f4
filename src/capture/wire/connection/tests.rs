//! Against servers that say exactly what a test wants: cut, silent, lying. What real servers say is in `tests/postgres`.
use super::*;
use crate::capture::{Feedback, Frame, Lookups, PostgresSource, Settings, Source, SourceError};
use crate::clock::SystemClock;
use crate::domain::Lsn;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

const LIMIT: usize = 1 << 20;

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Login without a password, a version, ready.
fn welcome(version: &[u8]) -> Vec<u8> {
    let version = [b"server_version\0", version, b"\0"].concat();
    [packet(b'R', &[0; 4]), packet(b'S', &version), packet(b'K', &[0; 8]), packet(b'Z', b"I")].concat()
}

/// A row of a simple query with everything around it.
fn answer(cells: &[&str]) -> Vec<u8> {
    let mut row = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        row.extend_from_slice(&(cell.len() as u32).to_be_bytes());
        row.extend_from_slice(cell.as_bytes());
    }
    [packet(b'T', b"\0\0"), packet(b'D', &row), packet(b'C', b"X\0"), packet(b'Z', b"I")].concat()
}

fn keepalive(end: u64) -> Vec<u8> {
    packet(b'd', &[&b"k"[..], &end.to_be_bytes(), &[0; 8], b"\0"].concat())
}

/// A server on a socket. For each part of its script it waits for something to read, then writes the part; it keeps
/// what it has read. An empty script says nothing; at the end of a script it stays silent.
struct Server {
    folder: tempfile::TempDir,
    tasks: JoinSet<()>,
    heard: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Server {
    fn saying(script: Vec<Vec<u8>>, piece: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let ears = Arc::clone(&heard);
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut buffer = BytesMut::new();
            for part in script {
                buffer.clear();
                stream.read_buf(&mut buffer).await.expect("something");
                ears.lock().expect("unpoisoned").extend_from_slice(&buffer);
                for piece in part.chunks(piece) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
            loop {
                buffer.clear();
                let read = stream.read_buf(&mut buffer).await;
                ears.lock().expect("unpoisoned").extend_from_slice(&buffer);
                if !read.is_ok_and(|read| read > 0) {
                    return;
                }
            }
        });
        Self { folder, tasks, heard }
    }

    fn url(&self) -> String {
        format!("postgres://u:secret@/erp?host={}", self.folder.path().display())
    }

    fn address(&self) -> Address {
        Address::parse(&self.url()).expect("parses")
    }

    fn source(&self) -> PostgresSource {
        let settings = Settings::new(self.address(), "th", "th");
        let gone = || SourceError::Retry("not here".into());
        let lookups = Lookups {
            describe: Arc::new(move |_| Box::pin(async move { Err(gone()) })),
            open_snapshot: Arc::new(move |_, _| Box::pin(async move { Err(gone()) })),
            look: Arc::new(move || Box::pin(async move { Err(gone()) })),
            restore: Arc::new(move || Box::pin(async move { Err(gone()) })),
            heartbeat: Arc::new(move || Box::pin(async move { Err(gone()) })),
        };
        PostgresSource::new(settings, lookups, Arc::new(SystemClock))
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().expect("unpoisoned").clone()
    }
}

async fn refusal(script: Vec<Vec<u8>>) -> String {
    let server = Server::saying(script, usize::MAX);
    Connection::open(&server.address(), LIMIT).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn a_server_that_lies_is_refused() {
    let scram = || packet(b'R', b"\0\0\0\x0ASCRAM-SHA-256\0\0");
    for (script, expected) in [
        // it must prove that it knows the password too
        (vec![scram(), packet(b'R', &[0; 4])], "an unexpected message 'R' during SCRAM"),
        (vec![scram(), packet(b'R', b"\0\0\0\x0Br=other,s=c2FsdA==,i=4096")], "SCRAM: invalid nonce"),
        (vec![packet(b'R', b"\0\0\0\x0AOTHER\0\0")], "the server offers no SCRAM-SHA-256"),
        (vec![packet(b'R', b"\0\0\0\x07")], "the server wants a login of kind 7"),
        (vec![packet(b'R', b"\0")], "an unexpected message 'R' during the login"),
        (vec![packet(b'R', b"\0\0\0\x05ab")], "the server wants a login of kind 5"),
        (vec![b"R\x7F\xFF\xFF\xFF".to_vec()], "the server announces a message 'R' of 2147483647 bytes"),
        (vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()], "the server announces a message 'H' of"),
        (vec![packet(b'E', b"C28P01\0Mno\0\0")], "no (28P01)"),
        (
            vec![[packet(b'R', &[0; 4]), packet(b'D', b"")].concat()],
            "an unexpected message 'D' after the login",
        ),
    ] {
        let line = refusal(script).await;
        assert!(line.starts_with(expected) && !line.contains("secret"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_waited_for() {
    assert_eq!(refusal(vec![vec![]]).await, "no answer within 10s");
}

#[tokio::test]
async fn a_server_that_goes_away_says_so() {
    let mut server = Server::saying(vec![packet(b'R', b"\0\0\0\x03")], usize::MAX);
    let address = server.address();
    let opened = Connection::open(&address, LIMIT);
    let stopped = async {
        while !server.heard().ends_with(b"secret\0") {
            tokio::task::yield_now().await;
        }
        server.tasks.shutdown().await;
    };
    let (opened, ()) = tokio::join!(opened, stopped);
    assert!(matches!(opened, Err(ConnectionError::Io(_))), "{opened:?}");
}

#[tokio::test]
async fn the_startup_asks_for_everything_that_rendering_depends_on() {
    let server = Server::saying(vec![welcome(b"15.18 (Debian 15.18-0)")], 1);
    let connection = Connection::open(&server.address(), LIMIT).await.expect("welcome, byte by byte");
    assert_eq!(connection.major_version(), 15);
    let heard = String::from_utf8_lossy(&server.heard()).into_owned();
    for pair in ["replication\0database\0", "DateStyle\0ISO\0", "TimeZone\0UTC\0", "client_encoding\0UTF8\0"]
    {
        assert!(heard.contains(pair), "{pair:?}");
    }
}

/// The script of a source that is streaming, then `frames`.
fn streaming(frames: Vec<u8>) -> Vec<Vec<u8>> {
    vec![
        welcome(b"15.1"),
        answer(&["77", "1", "0/AA", "erp"]),
        answer(&["logical", "th", "pgoutput", "erp", "0/10", "0/8", "reserved", "4711", "f"]),
        [packet(b'N', b"\0"), packet(b'W', b"\0\0\0"), frames].concat(),
    ]
}

async fn started(server: &Server) -> PostgresSource {
    let mut source = server.source();
    let survey = source.survey().await.expect("looks around");
    assert_eq!((survey.system_id.as_str(), survey.wal_end), ("77", Lsn(0xAA)));
    let slot = survey.slot.expect("a slot");
    assert_eq!((slot.confirmed, slot.restart, slot.active_pid), (Lsn(0x10), Some(Lsn(8)), Some(4711)));
    source.start(Lsn(0x10)).await.expect("streams");
    source
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let frames: Vec<u8> = (0..500).flat_map(|n| [keepalive(n), packet(b'N', b"\0")].concat()).collect();
    let server = Server::saying(streaming(frames), 7);
    let mut source = started(&server).await;
    let (mut seen, mut cancelled) = (0, 0);
    while seen < 500 {
        tokio::select! {
            biased;
            frame = source.next() => {
                assert_eq!(frame, Ok(Frame::Keepalive { end: Lsn(seen), reply: false }));
                seen += 1;
            }
            () = tokio::task::yield_now() => cancelled += 1,
        }
    }
    assert!(cancelled > 10, "{cancelled}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_asked_once_and_then_given_up() {
    let server = Server::saying(streaming(keepalive(0x20)), usize::MAX);
    let mut source = started(&server).await;
    source.next().await.expect("the keepalive");
    source.feedback(Feedback { written: Lsn(0x20), flushed: Lsn(0x18) }).await.expect("told");
    let begun = Instant::now();
    let error = source.next().await.expect_err("silence");
    assert_eq!(error, SourceError::Retry("the server said nothing for 90 seconds".into()));
    assert_eq!(begun.elapsed().as_secs(), 90);
    let heard = server.heard();
    let told = &heard[heard.len() - 34..];
    assert_eq!((told[0], told[33]), (b'r', 1), "a status update that wants an answer");
    assert_eq!(
        told[1..17],
        [0x20_u64.to_be_bytes(), 0x18_u64.to_be_bytes()].concat(),
        "and says what was said last"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_listen_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(&welcome(b"15.1")).await.expect("written");
        std::future::pending::<()>().await;
    });
    let url = format!("postgres://u@/erp?host={}", folder.path().display());
    let mut connection =
        Connection::open(&Address::parse(&url).expect("parses"), LIMIT).await.expect("welcome");
    let content = vec![0; 4096];
    let error = loop {
        if let Err(error) = connection.send(&content).await {
            break error;
        }
    };
    assert_eq!(error.to_string(), "no answer within 10s");
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let server = Server::saying(vec![welcome(b"13.4")], usize::MAX);
    let error = server.source().survey().await.expect_err("too old");
    assert!(matches!(&error, SourceError::Operator(line) if line.contains("PostgreSQL 13")), "{error}");
}

#[test]
fn names_are_quoted() {
    assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    assert_eq!(literal(&identifier("it's \"x\"")), "'\"it''s \"\"x\"\"\"'");
}
