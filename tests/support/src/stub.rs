//! A server of embeddings, or of anything that takes JSON, on a loopback address, which misbehaves when told
//! to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// Values of an embedding of the stub.
pub const DIM: usize = 8;

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// What was asked for.
    pub path: String,
    /// The header.
    pub authorization: Option<String>,
    /// What was sent.
    pub body: Value,
}

/// What to do with a request.
pub enum Answer {
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Nothing for this long, then the connection is closed.
    Silence(Duration),
    /// The head and half of a body, then the connection is closed.
    HalfClosed,
    /// The connection is closed at once.
    Closed,
}

impl Answer {
    /// It went well, with this body.
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Status(200, Vec::new(), body.into())
    }

    /// It failed, with a message.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), json!({"error": {"message": format!("sent {status}")}}).to_string())
    }

    /// As a server that works: an embedding that is a function of the messages.
    pub fn embedding(request: &Received) -> Self {
        let values: Vec<f32> = (0..DIM)
            .map(|value| {
                let mut hash = DefaultHasher::new();
                (value, request.body["messages"].to_string()).hash(&mut hash);
                (hash.finish() >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
            })
            .collect();
        Self::ok(json!({"data": [{"index": 0, "embedding": values}], "model": "stub"}).to_string())
    }
}

/// Runs until the test program ends.
pub struct Stub {
    /// What its paths are put behind.
    pub base_url: String,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Stub {
    /// A server that answers its `n`-th request, counted from 0, with `answer(n, request)`.
    pub fn start(answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (requests, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*answer));
            }
        });
        Self { base_url, requests }
    }

    /// All so far, in order.
    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Received>>,
    answer: &(dyn Fn(usize, &Received) -> Answer + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = receive(&mut reader) {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        // The client may be gone; that is its own affair.
        let sent = match answer(number, &request) {
            Answer::Status(status, headers, body) => {
                let headers: String =
                    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                write!(
                    stream,
                    "HTTP/1.1 {status} Stub\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Answer::Silence(duration) => {
                std::thread::sleep(duration);
                return;
            }
            Answer::HalfClosed => {
                drop(write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{{\"data\": ["));
                return;
            }
            Answer::Closed => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The next request of a connection; `None` at its end.
fn receive(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        Some(line.trim_end().to_owned())
    };
    let path = line()?.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    while let Some((name, value)) = line()?.split_once(':') {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { path, authorization, body: serde_json::from_slice(&body).unwrap() })
}
