//! A name with several addresses. The only test that waits for the limit of connecting, three seconds.
use super::*;

/// Of a name with two addresses the first is dead, or takes the connection and hangs: the second is tried in the same attempt.
#[tokio::test]
async fn the_next_address_of_a_name_is_tried_when_one_does_not_connect() {
    let ours = Authority::new();
    let addresses = ["127.0.0.2", "127.0.0.1"].map(|address| address.parse().unwrap());
    for hangs in [false, true] {
        let acceptor = ours.acceptor(&["two.test"], false);
        let mut receiver = Receiver::start(Some(acceptor), answer(OK)).await;
        // accepts for ever and never speaks TLS
        let silent = TcpListener::bind(("127.0.0.2", receiver.port)).await.unwrap();
        let silent = Some(silent).filter(|_| hangs);
        let proxy = proxy(vec![ours.file()]);
        proxy.inner.resolver.know("two.test", &addresses);
        let mut request = request(&receiver.url("https", "two.test"), b"{}");
        // what one address may take is far less than the attempt
        request.deadline = 4 * CONNECT;
        let outcome = proxy.send(request).await;
        assert_eq!(outcome.answer, Ok(200), "hangs: {hangs}, {:?}", outcome.detail);
        assert_eq!(receiver.seen().len(), 1, "hangs: {hangs}");
        drop(silent);
    }
}
