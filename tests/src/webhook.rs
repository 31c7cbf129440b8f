//! A webhook that answers as a test wants it to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// What is answered to a question: status, more header lines, body. `None`: nothing, for ever.
pub type Answer = fn(&Value) -> Option<(u16, &'static str, String)>;

/// Listens until the process ends.
pub struct Webhook {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no port.
    #[must_use]
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            // Those that get no answer wait here.
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                held.extend(serve(stream, answer, &log));
            }
        });
        Self { address, asked }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/admit", self.address)
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, asked: &Mutex<Vec<Value>>) -> Option<TcpStream> {
    let question = read(&mut stream)?;
    let answer = answer(&question);
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
    let Some((status, headers, body)) = answer else { return Some(stream) };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).ok();
    None
}

fn read(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
            if body.len() >= length.trim().parse().ok()? {
                return serde_json::from_str(body).ok();
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
