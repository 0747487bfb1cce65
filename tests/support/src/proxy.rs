//! A proxy of our own on a loopback address.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::hub::respond;

/// Leads to one server, whatever name it is asked for, or to none, and writes down what it was asked: the first
/// line of each connection, and its `Proxy-Authorization`.
pub struct Proxy {
    /// Its host and port.
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// In front of the server at `url`.
    pub fn before(url: &str) -> Self {
        Self::start(url.trim_start_matches("http://").split('/').next().map(str::to_owned))
    }

    /// With a password that nobody knows.
    pub fn refusing() -> Self {
        Self::start(None)
    }

    fn start(server: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, server) = (log.clone(), server.clone());
                // A client that hangs up early is part of the game.
                std::thread::spawn(move || drop(lead(stream.unwrap(), server.as_deref(), &log)));
            }
        });
        Self { address, asked }
    }

    /// What it was asked since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn lead(mut client: TcpStream, server: Option<&str>, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.trim().is_empty()) {
        head.push(String::new());
        reader.read_line(head.last_mut().unwrap())?;
    }
    // A client may open a connection that it has no use for in the end.
    if head[0].is_empty() {
        return Ok(());
    }
    let with = head.iter().find(|line| line.to_lowercase().starts_with("proxy-authorization")).cloned();
    log.lock().unwrap().push(format!("{} {}", head[0].trim(), with.unwrap_or_default().trim()));
    let Some(server) = server else {
        return respond(&mut client, "407 Proxy Authentication Required", "", b"");
    };
    let mut server = TcpStream::connect(server)?;
    if head[0].starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        server.write_all(head.concat().as_bytes())?;
    }
    let mut up = server.try_clone()?;
    let back = std::thread::spawn(move || std::io::copy(&mut server, &mut client).map(drop));
    std::io::copy(&mut reader, &mut up)?;
    back.join().unwrap_or(Ok(()))
}
