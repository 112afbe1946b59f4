//! What a connection that was kept may be asked again, and what not.
use super::*;

/// A receiver that answered, however badly, has had the request: it is not sent a second time.
#[tokio::test]
async fn what_was_answered_badly_on_a_kept_connection_is_not_sent_again() {
    let garbage = b"220 mail.example ESMTP\r\n\r\n".to_vec();
    let first = vec![Act::Answer(OK.to_vec()), Act::Answer(garbage)];
    let mut receiver = Receiver::plain(vec![first, vec![Act::Answer(OK.to_vec())]]).await;
    let (proxy, url) = (proxy(vec![]), receiver.url("http", "127.0.0.1"));
    assert_eq!(send(&proxy, &url).await.answer, Ok(200));
    assert_eq!(send(&proxy, &url).await.answer, Err(Failure::Protocol));
    let seen = receiver.seen();
    assert!(seen.len() == 2 && seen.iter().all(|request| request.starts_with("0 ")), "{seen:?}");
}

/// Of a long answer only the beginning is read: what is left of it would be taken for the next answer.
#[tokio::test]
async fn a_body_that_is_not_read_to_its_end_costs_its_connection() {
    for (length, connection) in [(READ, "0 "), (4 * READ, "1 ")] {
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        let first = vec![Act::Answer(long.into_bytes()), Act::Answer(OK.to_vec())];
        let mut receiver = Receiver::plain(vec![first, vec![Act::Answer(OK.to_vec())]]).await;
        let (proxy, url) = (proxy(vec![]), receiver.url("http", "127.0.0.1"));
        assert_eq!(send(&proxy, &url).await.answer, Ok(200));
        assert_eq!(send(&proxy, &url).await.answer, Ok(200));
        let seen = receiver.seen();
        assert!(seen.len() == 2 && seen[1].starts_with(connection), "{length}: {seen:?}");
    }
}
