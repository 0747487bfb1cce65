//! What the cases answer with, and what they find in the folder of blobs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use gve_test_support::hub::{COMMIT, respond};

use super::{Answer, Asked, SHARDS, Server, git_id, send, sha256};

pub(super) fn status(stream: &mut TcpStream, status: &str, headers: &str) -> Answer {
    Some(respond(stream, status, headers, b""))
}

pub(super) fn listing(stream: &mut TcpStream, body: &str) -> Answer {
    Some(respond(stream, "200 OK", "", body.as_bytes()))
}

/// The index, with another shard in it.
pub(super) fn index_with(asked: &Asked<'_>, stream: &mut TcpStream, shard: &str) -> Answer {
    let index = format!(r#"{{"weight_map": {{"a": "{}", "b": "{shard}"}}}}"#, SHARDS[0]);
    let headers = format!("x-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n", git_id(index.as_bytes()));
    asked.is_of("model.safetensors.index.json").then(|| send(stream, &headers, index.as_bytes(), asked))
}

pub(super) fn etag(server: &Server, asked: &Asked<'_>, stream: &mut TcpStream, etag: &str) -> Answer {
    let shard = SHARDS.into_iter().find(|shard| asked.is_of(shard))?;
    Some(server.to_storage(stream, shard, etag))
}

/// As many bytes of one shard as there should be, but others.
pub(super) fn other_bytes(server: &Server, asked: &Asked<'_>, stream: &mut TcpStream) -> Answer {
    let mut content = server.files[SHARDS[1]].clone();
    content[49_000] ^= 1;
    (asked.is_of_storage() && asked.path.ends_with(SHARDS[1])).then(|| send(stream, "", &content, asked))
}

/// A file on the hub that is served with these headers.
pub(super) fn config(server: &Server, asked: &Asked<'_>, stream: &mut TcpStream, headers: &str) -> Answer {
    asked.is_of("config.json").then(|| send(stream, headers, &server.files["config.json"], asked))
}

pub(super) fn partial_of_shard(folder: &Path, server_bytes: impl Fn(u32) -> u8) {
    // The content is that of `Server::start`.
    let whole: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8 ^ 2).collect();
    let partial: Vec<u8> = (0..20_000).map(server_bytes).collect();
    std::fs::create_dir_all(folder.join("blobs")).unwrap();
    std::fs::write(folder.join("blobs").join(sha256(&whole)).with_extension("part"), partial).unwrap();
}

pub(super) fn right_partial(folder: &Path, _: &Path) {
    partial_of_shard(folder, |i| (i % 251) as u8 ^ 2);
}

pub(super) fn wrong_partial(folder: &Path, _: &Path) {
    partial_of_shard(folder, |_| 7);
}

pub(super) fn nothing(_: &Path, _: &Path) {}

#[cfg(unix)]
pub(super) fn link_in_blobs(folder: &Path, outside: &Path, extension: &str) {
    right_partial(folder, outside);
    let whole: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8 ^ 2).collect();
    let link = folder.join("blobs").join(sha256(&whole)).with_extension(extension);
    drop(std::fs::remove_file(&link));
    std::os::unix::fs::symlink(outside, link).unwrap();
}

pub(super) fn endless(stream: &mut TcpStream, byte: &[u8]) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let chunk = [b"10000\r\n".as_slice(), &byte.repeat(1 << 16), b"\r\n"].concat();
    loop {
        stream.write_all(&chunk)?;
    }
}

pub(super) fn drip(stream: &mut TcpStream, head: &[u8], drop: &[u8]) -> std::io::Result<()> {
    stream.write_all(head)?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(drop)?;
    }
}

/// Until the client gives up.
pub(super) fn hold(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read(&mut [0]).map(|_| ())
}
