//! A target of notices on this machine: it takes them, or behaves badly on purpose, and remembers all it got.
//!
//! **Invariant:** it reads HTTP by itself, and nothing of the product's. **Not here:** what should arrive.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a sink answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// This status, with these header lines.
    Status(u16, String),
    /// Nothing, ever.
    Hang,
    /// Bytes that are no HTTP.
    Garbage,
}

impl Manner {
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The header lines and the request line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// A header by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Inside {
    received: Vec<Received>,
    /// What the next requests get, and then the last one for ever.
    manners: VecDeque<Manner>,
}

/// A listener on this machine.
#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Sink {
    /// Answers in these manners, one after the other, and goes on with the last.
    pub async fn start(manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manners = manners.iter().cloned().collect();
        let inside = Arc::new(Mutex::new(Inside { received: Vec::new(), manners }));
        let sink = Self { address, inside };
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        sink
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub fn behave(&self, manner: Manner) {
        self.with(|inside| inside.manners = [manner].into());
    }

    pub fn received(&self) -> Vec<Received> {
        self.with(|inside| inside.received.clone())
    }

    /// The types of the messages so far.
    pub fn types(&self) -> Vec<String> {
        let kind = |received: &Received| received.json()["type"].as_str().unwrap().to_owned();
        self.received().iter().map(kind).collect()
    }

    async fn serve(self, mut stream: TcpStream) {
        let Some(received) = read(&mut stream).await else { return };
        let manner = self.with(|inside| {
            inside.received.push(received);
            match inside.manners.len() {
                0 | 1 => inside.manners.front().cloned(),
                _ => inside.manners.pop_front(),
            }
        });
        let answer = match manner.unwrap_or(Manner::status(204)) {
            Manner::Hang => return std::future::pending().await,
            Manner::Garbage => "\u{1}\u{2} this is not HTTP\r\n\r\n".to_owned(),
            Manner::Status(status, headers) => {
                format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n{headers}\r\n")
            }
        };
        // Whoever left does not want the answer.
        drop(stream.write_all(answer.as_bytes()).await);
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
            let received = Received { head, body: Vec::new() };
            let length: usize = received.header("content-length")?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                return Some(Received { body, ..received });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
