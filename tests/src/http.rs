//! One HTTP/1.1 request per connection: all that the tests need, without a client library's opinion of errors.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a peer may take for one answer. A new browser session is the slowest thing asked for.
const ANSWER: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header block, in lower case.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// Sends one request and reads the whole answer; `None` when nobody answers.
#[must_use]
pub fn request(to: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Option<Response> {
    request_with(to, method, path, "", body)
}

/// The same with more header lines, each with its end.
#[must_use]
pub fn request_with(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&Value>,
) -> Option<Response> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect_timeout(&to, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    read_response(&mut stream)
}

/// `POST path` with a text of that type and more header lines, each with its end.
#[must_use]
pub fn post(to: SocketAddr, path: &str, headers: &str, kind: &str, body: &str) -> Option<Response> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect_timeout(&to, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    read_response(&mut stream)
}

/// `GET path`.
#[must_use]
pub fn get(to: SocketAddr, path: &str) -> Option<Response> {
    request(to, "GET", path, None)
}

fn read_response(stream: &mut TcpStream) -> Option<Response> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(response) = complete(&bytes) {
            return Some(response);
        }
        match stream.read(&mut chunk).ok()? {
            0 => return to_the_end(&bytes),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The answer, once as many bytes are there as it announced.
fn complete(bytes: &[u8]) -> Option<Response> {
    let (status, headers, body) = split(bytes)?;
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let body = body.get(..length.trim().parse().ok()?)?.to_vec();
    Some(Response { status, headers, body })
}

/// The answer of a peer that announced no length and has closed.
fn to_the_end(bytes: &[u8]) -> Option<Response> {
    let (status, headers, body) = split(bytes)?;
    let body = if headers.contains("transfer-encoding: chunked") { unchunk(body)? } else { body.to_vec() };
    Some(Response { status, headers, body })
}

fn split(bytes: &[u8]) -> Option<(u16, String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    Some((status, headers, &bytes[end + 4..]))
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 4 + size..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_announced_length() {
        assert!(complete(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc").is_none());
        let response = complete(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc").expect("all is there");
        assert_eq!((response.status, response.text().as_str()), (404, "abc"));
    }

    #[test]
    fn joins_chunks() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(to_the_end(bytes).expect("it is whole").text(), "abcde");
    }
}
