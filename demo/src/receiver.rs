//! A TLS receiver: takes requests, notes when the last byte of each arrived, answers 200 unless it was told to behave worse.
//! Knows no signature, no event.
use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

/// A body is never larger than `delivery.max_payload` with its envelope.
const LARGEST_BODY: usize = 1 << 20;

/// What becomes of a request once it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answered with this status.
    Status(u16),
    /// Answered 200, so much later.
    Late(Duration),
    /// The connection is closed: the answer is lost.
    HangUp,
}

/// One request, whole.
#[derive(Debug)]
pub struct Received {
    /// When its last byte was here.
    pub at: Instant,
    /// Where it went.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How it is answered once it is noted.
    pub manner: Manner,
}

impl Received {
    /// A header as text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Chooses the manner of a request by its path.
type Choose = Arc<dyn Fn(&str) -> Manner + Send + Sync>;

/// A bound receiver that does not run yet.
pub struct Receiver {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    address: SocketAddr,
    choose: Choose,
}

impl Receiver {
    /// Takes a free port of 127.0.0.1.
    pub async fn bind(tls: Arc<ServerConfig>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        Ok(Self { listener, tls, address, choose: Arc::new(|_| Manner::Status(200)) })
    }
    /// It behaves as `choose` says, request by request.
    #[must_use]
    pub fn behaving(mut self, choose: impl Fn(&str) -> Manner + Send + Sync + 'static) -> Self {
        self.choose = Arc::new(choose);
        self
    }
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Serves until it is dropped; each request goes to `sink` before it is answered.
    pub async fn run(self, sink: mpsc::Sender<Received>) -> Infallible {
        let acceptor = TlsAcceptor::from(self.tls);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => {
                    // What fails here fails for one connection; the sender will come again.
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(acceptor.clone(), stream, sink.clone(), self.choose.clone()));
                    }
                }
            }
        }
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, sink: mpsc::Sender<Received>, choose: Choose) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let answer = service_fn(move |request| {
        let manner = choose(request.uri().path());
        take(request, sink.clone(), manner)
    });
    // A connection that breaks is the sender's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// An error makes hyper close the connection.
async fn take(
    request: Request<Incoming>,
    sink: mpsc::Sender<Received>,
    manner: Manner,
) -> io::Result<Response<Empty<Bytes>>> {
    let (head, body) = request.into_parts();
    let taken = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let at = Instant::now();
            let path = head.uri.path().to_owned();
            sink.send(Received { at, path, headers: head.headers, body, manner }).await.is_ok()
        }
        Err(_) => false,
    };
    let status = match manner {
        _ if !taken => StatusCode::SERVICE_UNAVAILABLE,
        Manner::Status(status) => StatusCode::from_u16(status).map_err(io::Error::other)?,
        Manner::Late(pause) => {
            sleep(pause).await;
            StatusCode::OK
        }
        Manner::HangUp => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
