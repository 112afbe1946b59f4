//! A replication connection: startup, login, simple queries, `CopyBoth`. The only file that knows postgres-protocol.
//! Knows no slot and no pgoutput. No TLS yet: `Address` refuses the modes that want it.
//!
//! Every read and write can be cancelled without losing a byte: what was read stays in `incoming`, what was not yet
//! written in `outgoing`.
use crate::capture::wire::frames::{self, AnswerRow, Packet, ServerError};
use crate::capture::wire::pace::Pace;
use crate::postgres::url::{Address, Host};
use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};

/// Room for one read.
const READ: usize = 64 << 10;
/// A server that does not take a few bytes for so long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What can go wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The server cannot be reached, or went away.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server said no.
    #[error("{0}")]
    Server(ServerError),
    /// Bytes that are not Postgres' protocol.
    #[error("{0}")]
    Protocol(String),
    /// The server wants a password and the URL has none, or wants a login that we cannot do.
    #[error("{0}")]
    Login(String),
    /// The server ended the stream, as it does when it shuts down.
    #[error("the server ended the stream")]
    Ended,
}

type Result<T> = std::result::Result<T, ConnectionError>;

fn unexpected(packet: &Packet, place: &str) -> ConnectionError {
    ConnectionError::Protocol(format!("an unexpected message {:?} {place}", char::from(packet.tag)))
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn open(address: &Address) -> io::Result<Self> {
        match &address.host {
            Host::Tcp(host) => {
                let stream = TcpStream::connect((host.as_str(), address.port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Host::Unix(_) => UnixStream::connect(address.socket()).await.map(Self::Unix),
        }
    }

    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await,
            Self::Unix(stream) => stream.read_buf(buffer).await,
        }
    }

    async fn write(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_buf(buffer).await,
            Self::Unix(stream) => stream.write_buf(buffer).await,
        }
    }
}

/// An open connection in replication mode.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    incoming: BytesMut,
    outgoing: BytesMut,
    max_frame: usize,
    pace: Pace,
    read_at: Option<Instant>,
    /// `server_version`, like `15.18 (Debian 15.18-0+deb12u1)`.
    version: String,
}

impl Connection {
    /// Connects and logs in; no message of more than `max_frame` bytes will be taken.
    pub async fn open(address: &Address, max_frame: usize) -> Result<Self> {
        let limit = address.connect_timeout;
        timeout(limit, Box::pin(Self::log_in(address, max_frame)))
            .await
            .map_err(|_| ConnectionError::Timeout(limit))?
    }

    async fn log_in(address: &Address, max_frame: usize) -> Result<Self> {
        let mut connection = Self {
            socket: Socket::open(address).await?,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            max_frame,
            pace: Pace::default(),
            read_at: None,
            version: String::new(),
        };
        frontend::startup_message(parameters(address), &mut connection.outgoing)?;
        connection.flush().await?;
        connection.authenticate(address).await?;
        loop {
            let mut packet = connection.packet().await?;
            match packet.tag {
                b'S' => {
                    let name = frames::take_string(&mut packet.body);
                    if name.as_deref() == Some("server_version") {
                        connection.version = frames::take_string(&mut packet.body).unwrap_or_default();
                    }
                }
                b'K' | b'N' | b'v' => {}
                b'Z' => return Ok(connection),
                _ => return Err(unexpected(&packet, "after the login")),
            }
        }
    }

    /// The server's major version.
    pub fn major_version(&self) -> u32 {
        let digits: String = self.version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    async fn authenticate(&mut self, address: &Address) -> Result<()> {
        let password = || {
            let missing = || ConnectionError::Login(format!("role \"{}\" needs a password", address.user));
            address.password.as_ref().map(|password| password.expose().as_bytes()).ok_or_else(missing)
        };
        loop {
            let packet = self.packet().await?;
            if packet.tag != b'R' {
                return Err(unexpected(&packet, "during the login"));
            }
            let Some((kind, rest)) = packet.body.split_first_chunk::<4>() else {
                return Err(unexpected(&packet, "during the login"));
            };
            match (u32::from_be_bytes(*kind), rest) {
                (0, _) => return Ok(()),
                (3, _) => frontend::password_message(password()?, &mut self.outgoing)?,
                (5, &[a, b, c, d]) => {
                    let hash = md5_hash(address.user.as_bytes(), password()?, [a, b, c, d]);
                    frontend::password_message(hash.as_bytes(), &mut self.outgoing)?;
                }
                (10, mechanisms) => {
                    self.scram(mechanisms, password()?).await?;
                    continue;
                }
                (kind, _) => {
                    let what = format!(
                        "the server wants a login of kind {kind}; we know passwords (SCRAM, MD5, clear) and trust"
                    );
                    return Err(ConnectionError::Login(what));
                }
            }
            self.flush().await?;
        }
    }

    /// SCRAM-SHA-256, to its end: a server that has not proved that it knows the password too is refused.
    async fn scram(&mut self, mechanisms: &[u8], password: &[u8]) -> Result<()> {
        if !mechanisms.split(|byte| *byte == 0).any(|name| name == sasl::SCRAM_SHA_256.as_bytes()) {
            return Err(ConnectionError::Login("the server offers no SCRAM-SHA-256".into()));
        }
        let mut scram = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut self.outgoing)?;
        let challenge = self.sasl_answer(11).await?;
        scram.update(&challenge).map_err(|error| ConnectionError::Login(format!("SCRAM: {error}")))?;
        frontend::sasl_response(scram.message(), &mut self.outgoing)?;
        let proof = self.sasl_answer(12).await?;
        scram.finish(&proof).map_err(|error| ConnectionError::Login(format!("SCRAM: {error}")))
    }

    async fn sasl_answer(&mut self, kind: u32) -> Result<Bytes> {
        self.flush().await?;
        let mut packet = self.packet().await?;
        if packet.tag != b'R' || !packet.body.starts_with(&kind.to_be_bytes()) {
            return Err(unexpected(&packet, "during SCRAM"));
        }
        Ok(packet.body.split_off(4))
    }

    /// Runs one statement or replication command; its rows as text.
    pub(in crate::capture) async fn query(&mut self, statement: &str) -> Result<Vec<AnswerRow>> {
        frontend::query(statement, &mut self.outgoing)?;
        self.flush().await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let packet = match self.packet().await {
                // not fatal: ReadyForQuery follows, unless the server closes the connection
                Err(ConnectionError::Server(error)) if refused.is_none() => {
                    refused = Some(error);
                    continue;
                }
                Err(ConnectionError::Io(_)) if refused.is_some() => break,
                other => other?,
            };
            match packet.tag {
                b'D' => {
                    let row = frames::row(packet.body.clone());
                    rows.push(row.ok_or_else(|| unexpected(&packet, "in a row"))?);
                }
                b'T' | b'C' | b'I' | b'S' | b'N' => {}
                b'Z' => break,
                _ => return Err(unexpected(&packet, "in a query")),
            }
        }
        refused.map_or(Ok(rows), |error| Err(ConnectionError::Server(error)))
    }

    /// Runs `START_REPLICATION`; from here on only `copy_data` and `send` are of use.
    pub async fn start_copy(&mut self, command: &str) -> Result<()> {
        frontend::query(command, &mut self.outgoing)?;
        self.flush().await?;
        loop {
            let packet = self.packet().await?;
            match packet.tag {
                // CopyBothResponse, which the vendor crate does not know
                b'W' => return Ok(()),
                b'S' | b'N' => {}
                _ => return Err(unexpected(&packet, "before the stream")),
            }
        }
    }

    /// The content of the next `CopyData` message. Cancel-safe.
    pub async fn copy_data(&mut self) -> Result<Bytes> {
        loop {
            let packet = self.packet().await?;
            match packet.tag {
                b'd' => return Ok(packet.body),
                b'S' | b'N' => {}
                b'c' | b'C' | b'Z' => return Err(ConnectionError::Ended),
                _ => return Err(unexpected(&packet, "in the stream")),
            }
        }
    }

    /// Sends the content of a `CopyData` message. If it is cancelled, what is left goes before the next message.
    pub async fn send(&mut self, content: &[u8]) -> Result<()> {
        frontend::CopyData::new(content)?.write(&mut self.outgoing);
        self.flush().await
    }

    /// Says goodbye, and waits until the server has closed its end: then the slot is free. Bound this in time.
    pub async fn close(mut self, streaming: bool) {
        if streaming {
            frontend::copy_done(&mut self.outgoing);
        }
        frontend::terminate(&mut self.outgoing);
        if self.flush().await.is_err() {
            return;
        }
        while self.socket.read(&mut self.incoming).await.is_ok_and(|read| read > 0) {
            self.incoming.clear();
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let written = timeout(WRITE_TIMEOUT, async {
            while !self.outgoing.is_empty() {
                if self.socket.write(&mut self.outgoing).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::WriteZero));
                }
            }
            Ok(())
        });
        written.await.map_err(|_| ConnectionError::Timeout(WRITE_TIMEOUT))?.map_err(ConnectionError::Io)
    }

    /// The next message of the server; one that says "no" is an error. Cancel-safe.
    async fn packet(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) =
                frames::split(&mut self.incoming, self.max_frame).map_err(ConnectionError::Protocol)?
            {
                if packet.tag == b'E' {
                    return Err(ConnectionError::Server(frames::server_error(packet.body)));
                }
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    /// Reads what is there. The buffer grows with what came, not with what was announced.
    async fn read(&mut self) -> Result<()> {
        if let Some(until) = self.read_at {
            sleep_until(until).await;
            self.read_at = None;
        }
        if self.incoming.capacity() - self.incoming.len() < READ / 4 {
            self.incoming.reserve(READ);
        }
        let asked = Instant::now();
        let read = self.socket.read(&mut self.incoming).await?;
        let now = Instant::now();
        self.pace.read(now - asked, read);
        // an instant and not a duration: a caller that cancels often must not begin the wait anew each time
        self.read_at = self.pace.wait().map(|wait| now + wait);
        if read == 0 {
            let gone = "the server closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, gone).into());
        }
        Ok(())
    }
}

/// What the rendering of values depends on is set here, whatever the role's or database's own settings are.
fn parameters(address: &Address) -> impl Iterator<Item = (&str, &str)> {
    [
        ("user", address.user.as_str()),
        ("database", &address.database),
        ("replication", "database"),
        ("application_name", &address.application_name),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "3"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "0"),
    ]
    .into_iter()
}

/// A name in double quotes, as replication commands take it.
pub(in crate::capture) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text in single quotes, as replication commands take it: they know no backslash escapes.
pub(in crate::capture) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
