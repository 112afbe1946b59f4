//! One plain HTTP request to the sidecar's own API. Knows just enough of the protocol for that.
use anyhow::{Context, bail};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LARGEST_ANSWER: u64 = 4 << 20;

/// Status and body of an answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// A request with a connection of its own. `headers` are whole lines without their ends.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[String],
    body: &str,
) -> anyhow::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let request =
        format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let Some(status) = status.filter(|_| head.starts_with("HTTP/1.1 ")) else {
        bail!("the answer is no HTTP")
    };
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = parse("HTTP/1.1 201 Created\r\nA: b\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (201, "{\"a\":1}"));
        for hostile in ["", "HTTP/1.1", "HTTP/1.1 2x1\r\n\r\n", "SSH-2.0 200 \r\n\r\n"] {
            assert!(parse(hostile).is_err(), "{hostile}");
        }
    }
}
