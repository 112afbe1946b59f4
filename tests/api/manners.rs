//! Hosts, methods, sizes, probes, and the socket itself.
use crate::world::World;
use axum::body::Body;
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread")]
async fn problems_hosts_and_probes() {
    let world = World::start().await;
    assert_eq!(world.call(Method::GET, "//nowhere", None).await.problem(404), "not_found");
    let wrong = world.call(Method::PUT, "/subscriptions", None).await;
    assert_eq!(wrong.problem(405), "method_not_allowed");
    assert!(wrong.header("allow").unwrap().contains("POST"));
    for (body, status, code) in [("{", 400, "json"), ("\"x\"", 400, "json"), ("\u{0}", 400, "json")] {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/tenant/webhooks/subscriptions")
            .header("host", "localhost");
        let request = request.header("authorization", "Bearer root-token").header("x-tenant-id", "a");
        assert_eq!(world.send(request.body(Body::from(body)).unwrap()).await.problem(status), code);
    }
    let evil = |path: &str| {
        Request::builder().uri(path.to_string()).header("host", "evil.example").body(Body::empty()).unwrap()
    };
    assert_eq!(world.send(evil("/metrics")).await.problem(421), "host");
    assert_eq!(world.send(evil("/api/v1/tenant/webhooks/subscriptions")).await.problem(421), "host");
    assert_eq!(world.send(evil("/healthz")).await.status, 200);
    assert_eq!(world.call(Method::GET, "//healthz", None).await.status, 200);
    let unready = world.call(Method::GET, "//readyz", None).await;
    assert_eq!(
        (unready.status.as_u16(), unready.json()["reasons"][0].as_str()),
        (503, Some("not streaming"))
    );
    world.health.set_streaming(true);
    assert_eq!(world.call(Method::GET, "//readyz", None).await.status, 200);
    world.health.set_gap(Some("0/1-0/2".into()));
    assert_eq!(world.call(Method::GET, "//readyz", None).await.json()["reasons"][0], "gap: 0/1-0/2");
    let metrics = world.call(Method::GET, "//metrics", None).await;
    assert!(
        metrics.text.contains("tailhook_build_info")
            && metrics.header("content-type").unwrap().starts_with("text/plain")
    );
    assert_eq!(world.call_with(Method::GET, "//status", None, &[]).await.problem(401), "unauthorized");
    let status =
        world.call_with(Method::GET, "//status", None, &[("authorization", "Bearer reader-token")]).await;
    assert_eq!(status.json()["gap"], "0/1-0/2");
    // refused rows are named to those who see all tenants
    world.cluster.sql("INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url) VALUES ('a', 'Not An Event', 'https://a.example/')");
    world.subscribe("x.y").await;
    let status =
        world.call_with(Method::GET, "//status", None, &[("authorization", "Bearer reader-token")]).await;
    assert!(
        status.json()["refused_subscriptions"][0]["reason"].as_str().unwrap().contains("event"),
        "{}",
        status.text
    );
    let status = world.call_with(Method::GET, "//status", None, &[("authorization", "Bearer b-token")]).await;
    assert!(status.json()["refused_subscriptions"].is_null(), "{}", status.text);
}

async fn exchange(stream: &mut TcpStream, request: &str, until: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(until) {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_on_a_socket_and_ends_gracefully() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = world.router.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        tailhook::admin::serve(listener, router, async move {
            stopped.await.unwrap();
        })
        .await;
    });
    let mut idle = TcpStream::connect(address).await.unwrap();
    let alive = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(exchange(&mut idle, alive, "\"ok\"}").await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut idle, alive, "\"ok\"}").await.starts_with("HTTP/1.1 200"), "kept alive");
    let mut rude = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut rude, "nonsense\r\n\r\n", "\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    // a request under way at the end is answered
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/v1/tenant/webhooks/deliveries HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer b-token\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    assert!(exchange(&mut slow, head, "100").await.starts_with("HTTP/1.1 100"));
    stop.send(()).unwrap();
    assert!(exchange(&mut slow, "{}", "validation").await.contains("HTTP/1.1 400"));
    tasks.join_next().await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0, "the idle one is closed");
}
