//! The real way out, on pingora's connectors, in-process (DESIGN 5). Knows one attempt: no retries, no store.
//!
//! Five steps, one deadline: guard → resolve → connect (or pool) → send → read. What pingora leaves to its caller is
//! done here: names are resolved and checked before it sees an address; the server name is never empty (that would
//! switch verification off; for an address rustls then checks the certificate's IP names and sends no SNI); the pool
//! is keyed by tenant, anchors and ALPN too; the body is capped; its own timeouts, which are per read and run on
//! another timer, are not used. One limit of its rustls connector: an underscore in a name's first label is sent
//! and verified as a dash.
use super::answer::{printable, retry_after_ms};
use super::guard::{Guard, Target};
use super::resolve::Resolver;
use super::trust::Bundle;
use super::{EgressError, Request, Transport};
use crate::clock::SharedClock;
use crate::domain::{Failure, Outcome};
use crate::fault;
use crate::settings::EgressSettings;
use http::{HeaderValue, StatusCode};
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{ErrorTrait, ErrorType};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use xxhash_rust::xxh3::Xxh3;

/// Establishing a connection, TLS included (SPEC 3).
const CONNECT: Duration = Duration::from_secs(3);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Idle connections kept, all endpoints.
const POOL: usize = 1024;
/// Bytes of an answer's body that are read; a longer body costs its connection.
const READ: usize = 64 * 1024;
/// Bytes of a refusal's body that are looked at for `last_error`.
const KEEP: usize = 4 * 1024;
/// Informational answers that are skipped before it is no HTTP any more.
const INFORMATIONAL: usize = 8;

/// The outbound proxy; clones share one pool.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<ProxyInner>,
}

struct ProxyInner {
    connector: TransportConnector,
    guard: Guard,
    resolver: Resolver,
    user_agent: HeaderValue,
    /// Under which anchors connections are verified; part of the pool's key.
    trust: u64,
    clock: SharedClock,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("guard", &self.inner.guard).finish_non_exhaustive()
    }
}

/// What an attempt came to, short of how long it took.
struct Answer {
    status: u16,
    detail: Option<String>,
    retry_after_ms: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
struct AttemptFault {
    failure: Failure,
    detail: String,
    /// The connection broke before any answer: on a reused one that says nothing about the receiver.
    stale: bool,
}

impl AttemptFault {
    fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into(), stale: false }
    }
    fn timeout(what: &str) -> Self {
        Self::new(Failure::Timeout, format!("timeout while {what}"))
    }
}

impl Transport for Proxy {
    async fn send(&self, request: Request) -> Outcome {
        let start = Instant::now();
        // Boxed: the vendor's futures are large, and hundreds of attempts are in flight.
        let result = Box::pin(self.inner.attempt(&request, start + request.deadline)).await;
        let duration_us = start.elapsed().as_micros() as u64;
        match result {
            Ok(Answer { status, detail, retry_after_ms }) => {
                Outcome { answer: Ok(status), detail, retry_after_ms, duration_us }
            }
            Err(fault) => Outcome {
                answer: Err(fault.failure),
                detail: printable(fault.detail.as_bytes()),
                retry_after_ms: None,
                duration_us,
            },
        }
    }
}

impl Proxy {
    /// Reads the trust anchors and opens the way out.
    pub fn new(settings: &EgressSettings, clock: SharedClock) -> Result<Self, EgressError> {
        let platform = pingora_core::tls::load_native_certs().unwrap_or_else(|error| {
            tracing::warn!(%error, "the platform's trust anchors cannot be read");
            Vec::new()
        });
        let bundle = Bundle::new(platform, &settings.ca_files)?;
        if bundle.count == 0 {
            tracing::warn!(
                "no trust anchors: every https endpoint will fail (install ca-certificates or set egress.ca_files)"
            );
        }
        let user_agent = HeaderValue::from_str(&settings.user_agent).map_err(|_| EgressError::UserAgent)?;
        let mut options = ConnectorOptions::new(POOL);
        options.ca_file = Some(bundle.path());
        Ok(Self {
            inner: Arc::new(ProxyInner {
                connector: TransportConnector::new(Some(options)),
                guard: Guard::new(settings),
                resolver: Resolver::default(),
                user_agent,
                trust: bundle.fingerprint,
                clock,
            }),
        })
    }

    /// For the admin API: would this URL be refused now? (SPEC 6; a name that does not resolve is no error.)
    pub async fn check_url(&self, url: &str) -> Result<(), String> {
        self.inner.resolver.check(&self.inner.guard, url).await
    }
}

impl ProxyInner {
    async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Answer, AttemptFault> {
        let target =
            self.guard.parse(&request.endpoint.url).map_err(|why| AttemptFault::new(Failure::Guard, why))?;
        let addresses = timeout_at(deadline, self.resolver.addresses(&self.guard, &target))
            .await
            .map_err(|_| AttemptFault::timeout("resolving the name"))?
            .map_err(|(failure, why)| AttemptFault::new(failure, why))?;
        let peers: Vec<HttpPeer> = addresses.iter().map(|a| self.peer(request, &target, *a)).collect();
        for peer in &peers {
            let Some(stream) = self.connector.reused_stream(peer).await else { continue };
            match self.exchange(request, &target, peer, stream, deadline).await {
                // Once more at once, on a new connection: same id, not counted.
                Err(fault) if fault.stale => break,
                result => return result,
            }
        }
        let (peer, stream) = self.connect(&peers, deadline).await?;
        fault::crash_point("egress.connected");
        self.exchange(request, &target, peer, stream, deadline).await
    }

    fn peer(&self, request: &Request, target: &Target, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, target.https, target.server_name());
        let mut key = Xxh3::new();
        key.update(request.endpoint.tenant.as_str().as_bytes());
        key.update(&[0]);
        key.update(&self.trust.to_le_bytes());
        key.update(b"http/1.1");
        peer.group_key = key.digest();
        peer.options.set_http_version(1, 1);
        peer.options.verify_cert = true;
        peer.options.verify_hostname = true;
        peer
    }

    /// Connects to the first address that lets us.
    async fn connect<'a>(
        &self,
        peers: &'a [HttpPeer],
        deadline: Instant,
    ) -> Result<(&'a HttpPeer, Stream), AttemptFault> {
        let mut last = AttemptFault::new(Failure::Dns, "the name has no address");
        for peer in peers {
            let until = deadline.min(Instant::now() + CONNECT);
            last = match timeout_at(until, self.connector.new_stream(peer)).await {
                Ok(Ok(stream)) => return Ok((peer, stream)),
                Ok(Err(error)) => connect_fault(&error),
                Err(_) => AttemptFault::timeout("connecting"),
            };
            // Our own trouble and a deadline that has passed are the same at the next address.
            if last.failure == Failure::Local || Instant::now() >= deadline {
                break;
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        request: &Request,
        target: &Target,
        peer: &HttpPeer,
        stream: Stream,
        deadline: Instant,
    ) -> Result<Answer, AttemptFault> {
        let wire = request.wire(&self.user_agent, &target.authority, &target.path);
        let mut stream = stream;
        let written = timeout_at(deadline, write(&mut stream, &wire)).await;
        fault::crash_point("egress.written");
        let mut session = HttpSession::new_with_options(stream, peer);
        let answered = match written {
            Ok(Ok(())) => timeout_at(deadline, read_head(&mut session)).await,
            // The receiver may have answered and hung up without reading us to the end: look.
            Ok(Err(error)) => match timeout_at(deadline, read_head(&mut session)).await {
                Ok(Err(fault)) if fault.failure == Failure::Connection => {
                    Ok(Err(io_fault_text(format!("the connection broke while sending: {error}"))))
                }
                other => other,
            },
            Err(_) => timeout(Duration::ZERO, read_head(&mut session)).await,
        };
        let status = answered.map_err(|_| AttemptFault::timeout("waiting for the answer"))??;
        fault::crash_point("egress.answered");
        let retry_after_ms = session
            .get_header(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after_ms(value, self.clock.now_ms()));
        let keep = if status.is_success() { 0 } else { KEEP };
        let kept = timeout_at(deadline, read_body(&mut session, keep))
            .await
            .map_err(|_| AttemptFault::timeout("reading the answer's body"))?;
        if kept.complete {
            self.release(session, peer).await;
        }
        Ok(Answer { status: status.as_u16(), detail: printable(&kept.bytes), retry_after_ms })
    }

    /// Keeps the connection for the next request, if the receiver does.
    async fn release(&self, mut session: HttpSession, peer: &HttpPeer) {
        session.respect_keepalive();
        if !session.will_keepalive() {
            return;
        }
        if let Some(stream) = session.reuse().await {
            self.connector.release_stream(stream, peer.reuse_hash(), Some(IDLE));
        }
    }
}

/// Head and body in one write, so in one TLS record and one system call: the vendor's session makes two of each, which
/// was a tenth of the sidecar's CPU time.
async fn write(stream: &mut Stream, wire: &[u8]) -> std::io::Result<()> {
    stream.write_all(wire).await?;
    stream.flush().await
}

/// Reads up to the final status; informational answers are skipped.
async fn read_head(session: &mut HttpSession) -> Result<StatusCode, AttemptFault> {
    for _ in 0..INFORMATIONAL {
        session.read_response().await.map_err(|error| read_fault(&error))?;
        match session.get_status() {
            Some(StatusCode::SWITCHING_PROTOCOLS) | None => break,
            Some(status) if status.is_informational() => {}
            Some(status) => return Ok(status),
        }
    }
    Err(AttemptFault::new(Failure::Protocol, "the answer is no HTTP answer to a POST"))
}

struct Body {
    bytes: Vec<u8>,
    /// Read to its end: the connection may carry another request.
    complete: bool,
}

/// Reads the body to its end or its cap. What breaks here costs the connection, not the status, which has arrived.
async fn read_body(session: &mut HttpSession, keep: usize) -> Body {
    let mut body = Body { bytes: Vec::new(), complete: false };
    let mut total = 0;
    while total <= READ {
        match session.read_body_ref().await {
            Ok(Some(part)) => {
                total += part.len();
                let room = keep.saturating_sub(body.bytes.len()).min(part.len());
                body.bytes.extend_from_slice(&part[..room]);
            }
            Ok(None) => {
                body.complete = true;
                break;
            }
            Err(_) => break,
        }
    }
    body
}

fn connect_fault(error: &pingora_core::Error) -> AttemptFault {
    if let Some(io) = io_cause(error).filter(|io| is_ours(io)) {
        return AttemptFault::new(Failure::Local, format!("no connection can be made from here: {io}"));
    }
    match error.etype() {
        ErrorType::ConnectRefused => AttemptFault::new(Failure::Connection, "the connection was refused"),
        ErrorType::ConnectNoRoute => {
            AttemptFault::new(Failure::Connection, "there is no route to the address")
        }
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            AttemptFault::new(Failure::Tls, reason(error))
        }
        // How the connector reports a host that is no valid name for TLS.
        ErrorType::InternalError if reason(error).contains("parse domain") => {
            AttemptFault::new(Failure::Tls, reason(error))
        }
        _ => AttemptFault::new(Failure::Connection, reason(error)),
    }
}

fn read_fault(error: &pingora_core::Error) -> AttemptFault {
    match error.etype() {
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error => {
            AttemptFault::new(Failure::Protocol, "the answer is no HTTP")
        }
        ErrorType::ConnectionClosed => io_fault_text("the connection was closed before an answer"),
        ErrorType::ReadError | ErrorType::WriteError => io_fault(error, "waiting for the answer"),
        _ => AttemptFault::new(Failure::Protocol, reason(error)),
    }
}

fn io_fault(error: &pingora_core::Error, doing: &str) -> AttemptFault {
    let why = io_cause(error).map_or_else(|| error.etype().as_str().to_string(), ToString::to_string);
    io_fault_text(format!("the connection broke while {doing}: {why}"))
}

fn io_fault_text(detail: impl Into<String>) -> AttemptFault {
    AttemptFault { failure: Failure::Connection, detail: detail.into(), stale: true }
}

/// The vendor's one-line reason.
fn reason(error: &pingora_core::Error) -> String {
    let context = error.context.as_ref().map_or("", |text| text.as_str());
    format!("{} {context}", error.etype().as_str())
}

fn io_cause(error: &pingora_core::Error) -> Option<&std::io::Error> {
    // The vendor's own errors are walked by `root_cause`, what they wrap by `source`.
    let mut next: Option<&(dyn ErrorTrait + 'static)> = Some(error.root_cause());
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

/// No descriptors, buffers, memory or local ports: nothing the receiver did.
fn is_ours(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::PERM];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests;
