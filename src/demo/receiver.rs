//! A TLS receiver: takes requests, notes when the last byte of each arrived, answers 200. Knows no signature, no event.
use anyhow::Context;
use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// A body is never larger than `delivery.max_payload` with its envelope.
const LARGEST_BODY: usize = 1 << 20;

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
    pub body: bytes::Bytes,
}

impl Received {
    /// A header as text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A bound receiver that does not run yet.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    address: SocketAddr,
}

impl Receiver {
    /// Takes a free port of 127.0.0.1.
    pub async fn bind(tls: Arc<ServerConfig>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        Ok(Self { listener, tls, address })
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
                        connections.spawn(serve(acceptor.clone(), stream, sink.clone()));
                    }
                }
            }
        }
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, sink: mpsc::Sender<Received>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let answer = service_fn(move |request| take(request, sink.clone()));
    // A connection that breaks is the sender's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn take(
    request: Request<Incoming>,
    sink: mpsc::Sender<Received>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let taken = match axum::body::to_bytes(Body::new(body), LARGEST_BODY).await {
        Ok(body) => {
            let at = Instant::now();
            sink.send(Received { at, path: head.uri.path().to_owned(), headers: head.headers, body })
                .await
                .is_ok()
        }
        Err(_) => false,
    };
    let mut response = Response::new(Body::empty());
    if !taken {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
