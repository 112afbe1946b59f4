//! Connections of the API: bounded in number, slow ones cut, a graceful end. Knows no route.
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Connections at once; the next wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 256;
/// From the first byte of a request (or from the last answer) to the end of its head.
const HEAD: Duration = Duration::from_secs(15);
/// A connection lives at most this long: one that never reads its answers frees its place.
const LIFETIME: Duration = Duration::from_secs(600);
/// Requests under way at the end may take this long.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `shutdown` resolves, then lets the requests under way end (at most 3 s).
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &permits) => {
                let Some((stream, permit)) = accepted else { continue };
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    connection(stream, router, stopped).await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests of the admin API were cut off at the end");
    }
}

/// A place first, then a connection. Out of descriptors, it waits rather than spin.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "the admin API cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // small answers must not wait for an ACK
    stream.set_nodelay(true).unwrap_or_else(|error| tracing::debug!(%error, "no TCP_NODELAY"));
    let service = TowerToHyperService::new(
        router.map_request(|request: http::Request<hyper::body::Incoming>| request.map(Body::new)),
    );
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut lifetime = pin!(tokio::time::sleep(LIFETIME));
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection of the admin API ended");
                }
                return;
            }
            _ = stopped.wait_for(|stopped| *stopped), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = lifetime.as_mut() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_is_answered_and_kept_and_ends_with_the_service() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = Router::new().route("/hello", get(|| async { "hello" }));
        let mut service = JoinSet::new();
        service.spawn(serve(listener, router, async { stopped.await.unwrap_or_default() }));
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut text = String::new();
        for answers in 1..=2 {
            client.write_all(b"GET /hello HTTP/1.1\r\nHost: any\r\n\r\n").await.unwrap();
            while text.matches("\r\n\r\nhello").count() < answers {
                let mut part = [0; 1024];
                let length = client.read(&mut part).await.unwrap();
                assert!(length > 0, "it hung up after {text}");
                text.push_str(std::str::from_utf8(&part[..length]).unwrap());
            }
        }
        stop.send(()).unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "a connection that waits is closed");
        service.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
