//! The ways of misbehaving.

use std::io::Write;

use gve_test_support::hub::{COMMIT, ID, respond};

use super::answers::{
    config, drip, endless, etag, hold, index_with, link_in_blobs, listing, nothing, other_bytes,
    right_partial, status, wrong_partial,
};
use super::{Case, Misbehaviour, PASSWORD, SHARDS, SIGNATURE, TOKEN, escape, git_id, send, sha256};

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    [bytes(), redirects(), names(), bodies(), ranges(), statuses(), folders()].into_iter().flatten().collect()
}

/// Names of blobs, and what is in them.
fn bytes() -> Vec<Case> {
    let case = |what, expected, does: Misbehaviour| Case { what, does, before: nothing, expected };
    let with = |what, expected, before, does: Misbehaviour| Case { what, does, before, expected };
    vec![
        case("is honest, and has its storage on another host", Ok(()), |_, _, _| None),
        case("sends everything to another host", Ok(()), |server, asked, stream| {
            let here = asked.path.starts_with(&format!("/{ID}/resolve")) && asked.before == 0;
            let location = server.location(asked.path);
            // The other host answers the second request for the path.
            let on_hub =
                server.requests.lock().unwrap().last().is_some_and(|(port, _)| *port == server.ports[0]);
            (here && on_hub).then(|| respond(stream, "302 Found", &location, b""))
        }),
        case("has paths for ETags", Ok(()), |server, asked, stream| {
            etag(server, asked, stream, &format!("\"../../../../escape-{}\"", asked.path.len()))
        }),
        case("has an absolute path for an ETag", Ok(()), |server, asked, stream| {
            let headers = format!("x-repo-commit: {COMMIT}\r\netag: {}\r\n", escape());
            config(server, asked, stream, &headers)
        }),
        case("has backslashes in an ETag", Ok(()), |server, asked, stream| {
            etag(server, asked, stream, "\"..\\..\\escape\"")
        }),
        case("has one ETag for two files", Ok(()), |server, asked, stream| {
            etag(server, asked, stream, "\"65a4-c350\"")
        }),
        case("has an ETag that ends as a lock", Ok(()), |server, asked, stream| {
            config(server, asked, stream, &format!("x-repo-commit: {COMMIT}\r\netag: \"x.lock\"\r\n"))
        }),
        case("has no ETag", Err("etag"), |server, asked, stream| {
            config(server, asked, stream, &format!("x-repo-commit: {COMMIT}\r\n"))
        }),
        case("sends other bytes of the right length", Err("digest"), other_bytes),
        case("sends other bytes and announces them weakly", Err("digest"), |server, asked, stream| {
            let shard = SHARDS.into_iter().find(|shard| asked.path.ends_with(shard))?;
            let weak = format!("W/\"{}\"", sha256(&server.files[shard]));
            other_bytes(server, asked, stream).or_else(|| etag(server, asked, stream, &weak))
        }),
        case("sends another small file of the right length", Err("digest"), |server, asked, stream| {
            let mut content = server.files["config.json"].clone();
            content[5] ^= 1;
            let headers =
                format!("x-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n", git_id(&server.files["config.json"]));
            asked.is_of("config.json").then(|| send(stream, &headers, &content, asked))
        }),
        with("is honest, but what is resumed is not", Ok(()), wrong_partial, |_, _, _| None),
        with("sends other bytes after what is resumed", Err("digest"), right_partial, other_bytes),
    ]
}

/// Where it leads.
fn redirects() -> Vec<Case> {
    let case = |what, expected, does: Misbehaviour| Case { what, does, before: nothing, expected };
    vec![
        case("redirects to itself", Err("redirects"), |_, asked, stream| {
            let location = format!("location: {}\r\n", asked.path);
            asked.is_of("config.json").then(|| respond(stream, "302 Found", &location, b""))
        }),
        case("redirects its list to itself", Err("redirects"), |_, asked, stream| {
            let location = format!("location: {}?again\r\n", asked.path);
            asked.is_listing().then(|| respond(stream, "307 Temporary Redirect", &location, b""))
        }),
        case("redirects to and fro between two hosts", Err("redirects"), |server, asked, stream| {
            let last = server.requests.lock().unwrap().last().map_or(0, |(port, _)| *port);
            let other = if last == server.ports[0] { server.ports[1] } else { server.ports[0] };
            let location = format!("location: http://127.0.0.1:{other}{}\r\n", asked.path);
            asked.path.ends_with(SHARDS[0]).then(|| respond(stream, "302 Found", &location, b""))
        }),
        case("redirects to ever new places", Err("redirects"), |_, asked, stream| {
            let location = format!("location: {}/x\r\n", asked.path);
            asked.path.contains("/config.json").then(|| respond(stream, "301 Moved", &location, b""))
        }),
        case("redirects nowhere", Err("302"), |_, asked, stream| {
            asked.is_of("config.json").then(|| respond(stream, "302 Found", "", b""))
        }),
        case("answers 304", Err("304"), |_, asked, stream| {
            asked.is_of("config.json").then(|| respond(stream, "304 Not Modified", "", b""))
        }),
        case("announces a file and then redirects nowhere", Err("302"), |_, asked, stream| {
            let headers = format!("x-repo-commit: {COMMIT}\r\netag: \"abc\"\r\n");
            asked.is_of("config.json").then(|| respond(stream, "302 Found", &headers, b""))
        }),
        case("offers a choice", Err("300"), |_, asked, stream| {
            asked.is_listing().then(|| respond(stream, "300 Multiple Choices", "location: /x\r\n", b""))
        }),
        case("redirects to a file", Err("file:///etc/passwd"), |_, asked, stream| {
            asked
                .is_of("config.json")
                .then(|| respond(stream, "302 Found", "location: file:///etc/passwd\r\n", b""))
        }),
        case("redirects to another protocol", Err("ftp://"), |_, asked, stream| {
            let location = format!("location: ftp://u:{SIGNATURE}@host/x\r\n");
            asked.is_listing().then(|| respond(stream, "302 Found", &location, b""))
        }),
    ]
}

/// What it calls commits, files and shards.
fn names() -> Vec<Case> {
    let case = |what, expected, does: Misbehaviour| Case { what, does, before: nothing, expected };
    vec![
        case("names a path for a commit", Err("no commit hash"), |server, asked, stream| {
            asked.is_listing().then(|| listing(stream, &server.listing("../../../escape", ""))).flatten()
        }),
        case("names an absolute path for a commit", Err("no commit hash"), |server, asked, stream| {
            asked.is_listing().then(|| listing(stream, &server.listing(&escape(), ""))).flatten()
        }),
        case("lists paths among its files", Ok(()), |server, asked, stream| {
            let more =
                ["../../escape", "/etc/passwd", "..\\\\escape", "a\\u0000b", "C:\\\\x", "../config.json"]
                    .map(|file| format!(r#"{{"rfilename": "{file}"}}, "#))
                    .concat();
            asked.is_listing().then(|| listing(stream, &server.listing(COMMIT, &more))).flatten()
        }),
        case("has a shard above the folder", Err("is no file name"), |_, asked, stream| {
            index_with(asked, stream, "../../../escape.safetensors")
        }),
        case("has a shard with an absolute path", Err("is no file name"), |_, asked, stream| {
            index_with(asked, stream, &escape())
        }),
        case("has a shard on another drive", Err("is no file name"), |_, asked, stream| {
            index_with(asked, stream, "C:escape.safetensors")
        }),
        case("has a shard with backslashes", Err("is no file name"), |_, asked, stream| {
            index_with(asked, stream, "..\\\\escape.safetensors")
        }),
        case("answers for another commit", Err("commit"), |server, asked, stream| {
            let headers = format!("x-repo-commit: {}\r\netag: \"abc\"\r\n", "f".repeat(40));
            config(server, asked, stream, &headers)
        }),
        case("is no hub", Err("x-repo-commit"), |server, asked, stream| {
            config(server, asked, stream, "etag: \"abc\"\r\n")
        }),
    ]
}

/// Answers that are too long, too short or too slow, or none.
fn bodies() -> Vec<Case> {
    let case = |what, expected, does: Misbehaviour| Case { what, does, before: nothing, expected };
    vec![
        case("promises a list of 2^60 bytes", Err("cannot reach"), |_, asked, stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1152921504606846976\r\nconnection: close\r\n\r\n{";
            asked.is_listing().then(|| stream.write_all(head.as_bytes()))
        }),
        case("promises a shard of 2^60 bytes", Err("cannot reach"), |server, asked, stream| {
            let shard = SHARDS.into_iter().find(|shard| asked.is_of(shard))?;
            let headers = format!(
                "x-repo-commit: {COMMIT}\r\nx-linked-etag: \"abc\"\r\nx-linked-size: 1152921504606846976\r\n{}",
                server.location(&format!("/storage/{shard}"))
            );
            status(stream, "302 Found", &headers)
        }),
        case("gives no length", Err("how long"), |server, asked, stream| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-repo-commit: {COMMIT}\r\netag: \"abc\"\r\nconnection: close\r\n\r\n"
            );
            let content = &server.files["config.json"];
            asked
                .is_of("config.json")
                .then(|| stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content)))
        }),
        case("breaks off every time", Err("cannot reach"), |server, asked, stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 50000\r\nconnection: close\r\n\r\n";
            let content = &server.files[SHARDS[0]][..300];
            asked
                .is_of_storage()
                .then(|| stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content)))
        }),
        case("breaks off after each byte", Err("cannot reach"), |server, asked, stream| {
            let (start, content) = (asked.start(), &server.files[SHARDS[0]]);
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-49999/50000\r\ncontent-length: {}\r\n\r\n",
                50_000 - start
            );
            asked.is_of_storage().then(|| {
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content[start..=start]))
            })
        }),
        case("sends a shard without an end", Err("more than the 50000 bytes"), |_, asked, stream| {
            asked.is_of_storage().then(|| endless(stream, b"x"))
        }),
        case("sends a list without an end", Err("more than"), |_, asked, stream| {
            asked.is_listing().then(|| endless(stream, b" "))
        }),
        case("sends a shard in chunks", Ok(()), |server, asked, stream| {
            let content = server.files.get(asked.path.rsplit('/').next()?)?;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
            asked.is_of_storage().then(|| {
                stream.write_all(head.as_bytes())?;
                for chunk in content.chunks(7000) {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")
            })
        }),
        case("lets a shard drip", Err("cannot reach"), |_, asked, stream| {
            asked
                .is_of_storage()
                .then(|| drip(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n", b"x"))
        }),
        case("lets a list drip", Err("cannot reach"), |_, asked, stream| {
            asked
                .is_listing()
                .then(|| drip(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n", b" "))
        }),
        case("lets its headers drip", Err("cannot reach"), |_, asked, stream| {
            asked.is_listing().then(|| drip(stream, b"HTTP/1.1 200 OK\r\n", b"x"))
        }),
        case("says nothing", Err("cannot reach"), |_, asked, stream| {
            asked.is_listing().then(|| hold(stream))
        }),
        case("stops in the middle", Err("cannot reach"), |_, asked, stream| {
            asked.is_of_storage().then(|| {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\nxxx")?;
                hold(stream)
            })
        }),
        case("has headers of a megabyte", Err("cannot fetch"), |_, asked, stream| {
            let header = format!("x-long: {}\r\n", "x".repeat(1 << 20));
            asked.is_listing().then(|| respond(stream, "200 OK", &header, b"{}"))
        }),
        case("speaks no HTTP", Err("cannot reach"), |_, asked, stream| {
            asked.is_listing().then(|| stream.write_all(b"220 smtp.example ESMTP\r\n\r\n"))
        }),
    ]
}

/// What it makes of a request for the rest of a file.
fn ranges() -> Vec<Case> {
    let with = |what, expected, before, does: Misbehaviour| Case { what, does, before, expected };
    vec![
        with("sends another range", Err("another range"), right_partial, |server, asked, stream| {
            let content = &server.files[SHARDS[1]];
            let headers = "content-range: bytes 5-49999/50000\r\n";
            (asked.is_of_storage() && asked.path.ends_with(SHARDS[1]))
                .then(|| respond(stream, "206 Partial Content", headers, &content[5..]))
        }),
        with(
            "sends a range of another file",
            Err("another range"),
            right_partial,
            |server, asked, stream| {
                let (start, content) = (asked.start(), &server.files[SHARDS[1]]);
                let headers = format!("content-range: bytes {start}-49999/60000\r\n");
                (asked.is_of_storage() && asked.path.ends_with(SHARDS[1]))
                    .then(|| respond(stream, "206 Partial Content", &headers, &content[start..]))
            },
        ),
        with("knows no ranges", Ok(()), right_partial, |server, asked, stream| {
            let content = server.files.get(asked.path.rsplit('/').next()?)?;
            asked.is_of_storage().then(|| respond(stream, "200 OK", "", content))
        }),
        with("refuses ranges", Ok(()), right_partial, |_, asked, stream| {
            (asked.is_of_storage() && asked.range.is_some_and(|range| range.ends_with('-')))
                .then(|| respond(stream, "416 Range Not Satisfiable", "", b""))
        }),
    ]
}

/// What it says.
fn statuses() -> Vec<Case> {
    let case = |what, expected, does: Misbehaviour| Case { what, does, before: nothing, expected };
    vec![
        case("repeats the token and refuses", Err("answers 401"), |_, asked, stream| {
            let headers = format!("www-authenticate: Bearer {TOKEN}\r\nx-error-message: bad {TOKEN}\r\n");
            asked.is_listing().then(|| respond(stream, "401 Unauthorized", &headers, TOKEN.as_bytes()))
        }),
        case("repeats the token where a list should be", Err("invalid type"), |_, asked, stream| {
            let body = format!(r#"{{"sha": "{COMMIT}", "siblings": "{TOKEN} {PASSWORD}"}}"#);
            asked.is_listing().then(|| listing(stream, &body)).flatten()
        }),
        case("repeats the token as a commit", Err("no commit hash"), |server, asked, stream| {
            let commit = format!("{TOKEN}/{PASSWORD}");
            asked.is_listing().then(|| listing(stream, &server.listing(&commit, ""))).flatten()
        }),
        case("redirects to an address with the token in it", Err("redirects"), |server, asked, stream| {
            let location = server.location(&format!("/{TOKEN}/{}?token={TOKEN}", asked.path.len()));
            (asked.is_of("config.json") || asked.path.contains(TOKEN))
                .then(|| respond(stream, "302 Found", &location, b""))
        }),
        case("refuses in storage", Err("status 403"), |_, asked, stream| {
            asked.is_of_storage().then(|| respond(stream, "403 Forbidden", "", b""))
        }),
        case("nests its list", Err("cannot fetch"), |_, asked, stream| {
            asked
                .is_listing()
                .then(|| listing(stream, &format!("{{\"x\": {}", "[".repeat(1 << 20))))
                .flatten()
        }),
        case("answers with a page", Err("cannot fetch"), |_, asked, stream| {
            asked.is_listing().then(|| listing(stream, "<html>log in</html>")).flatten()
        }),
        case("has a fault that passes", Ok(()), |_, asked, stream| {
            (asked.before < 2).then(|| respond(stream, "500 Internal Server Error", "", b""))
        }),
        case("has a fault that stays", Err("status 502"), |_, _, stream| {
            status(stream, "502 Bad Gateway", "")
        }),
        case("is busy for a moment", Ok(()), |_, asked, stream| {
            (asked.before == 0).then(|| respond(stream, "429 Too Many Requests", "retry-after: 0\r\n", b""))
        }),
        case("is busy for a day", Err("86400 s"), |_, _, stream| {
            status(stream, "429 Too Many Requests", "retry-after: 86400\r\n")
        }),
    ]
}

/// An honest hub, and a cache that is not as it should be.
fn folders() -> Vec<Case> {
    let with = |what, expected, before, does: Misbehaviour| Case { what, does, before, expected };
    let mut cases = Vec::new();
    #[cfg(unix)]
    cases.extend([
        with(
            "is honest, and a partial file is a link to the outside",
            Ok(()),
            |folder, outside| link_in_blobs(folder, outside, "part"),
            |_, _, _| None,
        ),
        with(
            "is honest, and a lock is a link to the outside",
            Ok(()),
            |folder, outside| link_in_blobs(folder, outside, "lock"),
            |_, _, _| None,
        ),
        with(
            "is honest, and a branch is a link to the outside",
            Ok(()),
            |folder, outside| {
                std::fs::create_dir_all(folder.join("refs")).unwrap();
                std::os::unix::fs::symlink(outside, folder.join("refs/main")).unwrap();
            },
            |_, _, _| None,
        ),
        with(
            "is honest, and a file of the snapshot is a link to nowhere",
            Ok(()),
            |folder, _| {
                let snapshot = folder.join("snapshots").join(COMMIT);
                std::fs::create_dir_all(&snapshot).unwrap();
                std::os::unix::fs::symlink("../../../../../escape", snapshot.join("config.json")).unwrap();
            },
            |_, _, _| None,
        ),
    ]);
    cases.push(with(
        "is honest, and a file of the snapshot is a folder",
        Err("config.json"),
        |folder, _| {
            std::fs::create_dir_all(folder.join("snapshots").join(COMMIT).join("config.json/x")).unwrap()
        },
        |_, _, _| None,
    ));
    cases.push(with(
        "is honest, and the branch in the cache is a path",
        Ok(()),
        |folder, _| {
            std::fs::create_dir_all(folder.join("refs")).unwrap();
            std::fs::write(folder.join("refs/main"), "../../../../outside").unwrap();
        },
        |_, _, _| None,
    ));
    cases
}
