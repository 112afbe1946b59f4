//! Real sockets, real TLS, hostile receivers. No test waits for a long deadline, none asserts a short time.
use super::*;
use crate::clock::SystemClock;
use crate::egress::request::tests::request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

mod addresses;
mod faults;
mod reused;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a receiver does with each request of a connection, in order; then it closes.
#[derive(Clone)]
enum Act {
    /// Reads a request, answers with these bytes.
    Answer(Vec<u8>),
    /// Answers before it has read anything, then reads a little and closes.
    Early(Vec<u8>),
    /// Reads a request, answers with these bytes and holds the connection open.
    Hold(Vec<u8>),
}

struct Receiver {
    port: u16,
    requests: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// The n-th connection follows the n-th script; connections beyond the last repeat it.
    async fn start(tls: Option<TlsAcceptor>, scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, requests) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts[n.min(scripts.len() - 1)].clone();
                let (tls, seen) = (tls.clone(), seen.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, script, n, seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, script, n, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, requests, _tasks: tasks }
    }
    async fn plain(scripts: Vec<Vec<Act>>) -> Self {
        Self::start(None, scripts).await
    }
    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/hook?a=1", self.port)
    }
    /// Everything received so far: connection number, head and body of each request.
    fn seen(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: Vec<Act>,
    n: usize,
    seen: mpsc::Sender<String>,
) {
    for act in script {
        match act {
            Act::Answer(bytes) => {
                let Some(text) = read_request(&mut stream).await else { return };
                seen.send(format!("{n} {text}")).await.unwrap();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
            Act::Hold(bytes) => {
                let Some(text) = read_request(&mut stream).await else { return };
                seen.send(format!("{n} {text}")).await.unwrap();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                std::future::pending::<()>().await;
            }
            Act::Early(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut [0; 16]).await;
            }
        }
    }
    let _ = stream.shutdown().await;
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_string();
        if let Some(end) = text.find("\r\n\r\n") {
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .and_then(|value| value.parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A certificate authority in a file, and certificates of it.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }
    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
    fn acceptor(&self, names: &[&str], expired: bool) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], private)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn proxy(ca_files: Vec<PathBuf>) -> Proxy {
    let settings = EgressSettings {
        allow_http: true,
        allow_networks: ["127.0.0.0/8", "::1/128"].map(|n| n.parse().unwrap()).to_vec(),
        ca_files,
        ..EgressSettings::default()
    };
    Proxy::new(&settings, Arc::new(SystemClock)).unwrap()
}

async fn send(proxy: &Proxy, url: &str) -> Outcome {
    proxy.send(request(url, b"{\"a\":1}")).await
}

/// With a deadline that is certain to pass.
async fn send_briefly(proxy: &Proxy, url: &str, body: &'static [u8]) -> Outcome {
    let mut request = request(url, body);
    request.deadline = Duration::from_millis(300);
    proxy.send(request).await
}

fn answer(bytes: &[u8]) -> Vec<Vec<Act>> {
    vec![vec![Act::Answer(bytes.to_vec())]]
}

#[tokio::test]
async fn tls_is_verified_in_every_way() {
    let ours = Authority::new();
    let others = Authority::new();
    let proxy = proxy(vec![ours.file()]);
    let cases: Vec<(&str, TlsAcceptor, &str, Result<u16, Failure>)> = vec![
        ("a trusted name", ours.acceptor(&["localhost"], false), "localhost", Ok(200)),
        ("a trusted address", ours.acceptor(&["127.0.0.1"], false), "127.0.0.1", Ok(200)),
        (
            "an address, a certificate for a name",
            ours.acceptor(&["localhost"], false),
            "127.0.0.1",
            Err(Failure::Tls),
        ),
        ("another name", ours.acceptor(&["other.test"], false), "localhost", Err(Failure::Tls)),
        ("another authority", others.acceptor(&["localhost"], false), "localhost", Err(Failure::Tls)),
        ("an expired certificate", ours.acceptor(&["localhost"], true), "localhost", Err(Failure::Tls)),
    ];
    for (what, acceptor, host, expected) in cases {
        let mut receiver = Receiver::start(Some(acceptor), answer(OK)).await;
        let outcome = send(&proxy, &receiver.url("https", host)).await;
        assert_eq!(outcome.answer, expected, "{what}: {:?}", outcome.detail);
        assert_eq!(receiver.seen().len(), usize::from(expected.is_ok()), "{what}");
    }
    // no TLS where TLS is expected
    let receiver = Receiver::plain(vec![vec![Act::Early(OK.to_vec())]]).await;
    assert_eq!(send(&proxy, &receiver.url("https", "localhost")).await.answer, Err(Failure::Tls));
}

#[tokio::test]
async fn the_request_is_whole_and_a_connection_carries_the_next_one() {
    let ours = Authority::new();
    let proxy = proxy(vec![ours.file()]);
    let chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let script = vec![Act::Answer(chunked.to_vec()), Act::Answer(OK.to_vec()), Act::Answer(OK.to_vec())];
    let mut receiver = Receiver::start(Some(ours.acceptor(&["localhost"], false)), vec![script]).await;
    let url = receiver.url("https", "localhost");
    assert_eq!(send(&proxy, &url).await.answer, Ok(200));
    assert_eq!(send(&proxy, &url).await.answer, Ok(200));
    // Another tenant never shares a connection.
    let mut other = request(&url, b"{}");
    other.endpoint.tenant = crate::domain::TenantId::new("t2");
    assert_eq!(proxy.send(other).await.answer, Ok(200));
    let seen = receiver.seen();
    assert_eq!(seen.iter().map(|text| &text[..2]).collect::<Vec<_>>(), ["0 ", "0 ", "1 "]);
    let head = format!(
        "POST /hook?a=1 HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nUser-Agent: GestiqCloud-Webhooks/1.0\r\nX-Event: invoice.created\r\n",
        receiver.port
    );
    assert!(seen[0][2..].starts_with(&head), "{}", seen[0]);
    assert!(seen[0].contains("\r\nX-Signature: sha256=") && seen[0].contains("\r\nwebhook-signature: v1,"));
    assert!(seen[0].ends_with("\r\nContent-Length: 7\r\n\r\n{\"a\":1}"), "{}", seen[0]);
}

/// What is answered; the outcome's answer, detail and `Retry-After`.
type Case<'a> = (&'a [u8], Result<u16, Failure>, Option<&'a str>, Option<u64>);

#[tokio::test]
async fn answers_become_outcomes() {
    let proxy = proxy(vec![]);
    let long = format!("HTTP/1.1 400 Bad\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let cases: Vec<Case> = vec![
        (b"HTTP/1.1 204 No Content\r\n\r\n", Ok(204), None, None),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Ok(302),
            None,
            None,
        ),
        (
            b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 9\r\n\r\nlater\r\n\x1b!",
            Ok(503),
            Some("later !"),
            Some(120_000),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", Ok(200), None, None),
        (b"HTTP/1.0 500 Old\r\n\r\nuntil the end", Ok(500), Some("until the end"), None),
        (
            b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n",
            Ok(500),
            Some("abc"),
            None,
        ),
        (b"HTTP/1.1 422 No\r\nContent-Length: 50\r\n\r\nbroken off", Ok(422), Some("broken off"), None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nbroken off", Ok(200), None, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Err(Failure::Protocol), Some("the answer is no HTTP"), None),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            Err(Failure::Protocol),
            Some("the answer is no HTTP answer to a POST"),
            None,
        ),
        (b"", Err(Failure::Connection), Some("the connection was closed before an answer"), None),
        (
            b"HTTP/1.1 200 OK\r\nContent-",
            Err(Failure::Connection),
            Some("the connection was closed before an answer"),
            None,
        ),
    ];
    for (bytes, expected, detail, retry_after) in cases {
        let what = String::from_utf8_lossy(bytes);
        let mut receiver = Receiver::plain(answer(bytes)).await;
        let outcome = send(&proxy, &receiver.url("http", "127.0.0.1")).await;
        assert_eq!(outcome.answer, expected, "{what}");
        assert_eq!(outcome.detail.as_deref(), detail, "{what}");
        assert_eq!(outcome.retry_after_ms, retry_after, "{what}");
        assert_eq!(receiver.seen().len(), 1, "sent once, redirects not followed: {what}");
    }
    let mut receiver = Receiver::plain(answer(long.as_bytes())).await;
    let outcome = send(&proxy, &receiver.url("http", "127.0.0.1")).await;
    assert_eq!((outcome.answer, outcome.detail), (Ok(400), Some("x".repeat(500))));
    assert_eq!(send(&proxy, &receiver.url("http", "127.0.0.1")).await.answer, Ok(400));
    let seen = receiver.seen();
    assert!(seen[1].starts_with("1 "), "a body that was not read to its end costs the connection");
}

#[tokio::test]
async fn a_reset_on_a_reused_connection_is_tried_once_more_at_once() {
    let proxy = proxy(vec![]);
    let once = vec![Act::Answer(OK.to_vec()), Act::Answer(Vec::new())];
    let again = vec![Act::Answer(OK.to_vec()), Act::Answer(Vec::new())];
    let mut receiver = Receiver::plain(vec![once, again]).await;
    let url = receiver.url("http", "127.0.0.1");
    assert_eq!(send(&proxy, &url).await.answer, Ok(200));
    assert_eq!(send(&proxy, &url).await.answer, Ok(200), "the second connection answers");
    let seen = receiver.seen();
    assert_eq!(seen.iter().map(|text| &text[..2]).collect::<Vec<_>>(), ["0 ", "0 ", "1 "]);
    assert_eq!(seen[1][2..].lines().nth(5), seen[2][2..].lines().nth(5), "the same delivery");

    // On a fresh connection it is a failure.
    let mut receiver = Receiver::plain(answer(b"")).await;
    assert_eq!(send(&proxy, &receiver.url("http", "127.0.0.1")).await.answer, Err(Failure::Connection));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn one_deadline_covers_everything() {
    let proxy = proxy(vec![]);
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"] {
        let receiver = Receiver::plain(vec![vec![Act::Hold(bytes.to_vec())]]).await;
        let outcome = send_briefly(&proxy, &receiver.url("http", "127.0.0.1"), b"{}").await;
        assert_eq!(outcome.answer, Err(Failure::Timeout), "{bytes:?}");
        assert!(outcome.duration_us >= 300_000);
    }
    // accepts, and never speaks TLS
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    assert_eq!(send_briefly(&proxy, &url, b"{}").await.answer, Err(Failure::Timeout));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_sent_counts() {
    let proxy = proxy(vec![]);
    let body: &'static [u8] = vec![b' '; 8 << 20].leak();
    let early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig".to_vec();
    let receiver = Receiver::plain(vec![vec![Act::Early(early.clone())]]).await;
    let outcome = proxy.send(request(&receiver.url("http", "127.0.0.1"), body)).await;
    // The receiver's reset may overtake its own answer; then it is a broken connection, never a hang.
    assert!(matches!(outcome.answer, Ok(413) | Err(Failure::Connection)), "{outcome:?}");

    // Answered, but neither reads on nor closes.
    let receiver =
        Receiver::plain(vec![vec![Act::Early(early), Act::Early(Vec::new()), Act::Hold(Vec::new())]]).await;
    let outcome = send_briefly(&proxy, &receiver.url("http", "127.0.0.1"), body).await;
    assert!(outcome.answer == Ok(413) || outcome.answer == Err(Failure::Timeout), "{outcome:?}");
}

#[tokio::test]
async fn what_is_refused_is_never_dialled() {
    let mut receiver = Receiver::plain(answer(OK)).await;
    let strict =
        Proxy::new(&EgressSettings { allow_http: true, ..EgressSettings::default() }, Arc::new(SystemClock))
            .unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = receiver.url("http", host);
        assert_eq!(send(&strict, &url).await.answer, Err(Failure::Guard), "{url}");
        assert!(strict.check_url(&url).await.is_err(), "{url}");
    }
    assert!(receiver.seen().is_empty());
    // nobody listens
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let outcome = send(&proxy(vec![]), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome.answer, Err(Failure::Connection));
}

#[test]
fn our_own_trouble_is_told_from_theirs() {
    for (code, failure) in
        [(24, Failure::Local), (23, Failure::Local), (99, Failure::Local), (104, Failure::Connection)]
    {
        let io = std::io::Error::from_raw_os_error(code);
        let inner = pingora_core::Error::because(ErrorType::SocketError, "socket", io);
        let outer = pingora_core::Error::because(ErrorType::InternalError, "connect", inner);
        assert_eq!(connect_fault(&outer).failure, failure, "{code}");
    }
}
