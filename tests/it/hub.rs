//! The real client against a hub of our own on a loopback address.

use std::collections::BTreeMap;
use std::path::Path;

mod hostile;
mod proxy;
mod push;

use gve::CancelToken;
use gve::hub::{DownloadProgress, HubError, HubOptions, ResolvedModel, resolve};
use gve_test_support::hub::{CLOSED, COMMIT, FakeHub, Faults, ID, SHARD};

fn options(hub: &FakeHub, cache: &Path) -> HubOptions {
    let options = HubOptions::default().with_endpoint(Some(hub.endpoint.clone()));
    options.with_cache_dir(Some(cache.to_owned()))
}

fn assert_served(hub: &FakeHub, model: &ResolvedModel) {
    for (file, content) in &hub.files {
        let got = std::fs::read(model.directory.join(file));
        if *file == "notes.txt" {
            assert!(got.is_err(), "notes.txt is not needed");
        } else {
            assert!(got.unwrap() == *content, "{file} differs");
        }
    }
}

fn quiet(_: DownloadProgress<'_>) {}

#[test]
fn a_model_is_fetched_once_and_then_found_offline() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let mut seen = BTreeMap::new();
    let mut progress = |p: DownloadProgress<'_>| {
        assert!(p.done_bytes <= p.total_bytes);
        seen.insert(p.file.to_owned(), (p.done_bytes, p.total_bytes));
    };
    let model = resolve(ID, &options(&hub, cache.path()), &mut progress).unwrap();
    assert_eq!((model.id.as_str(), model.revision.as_deref()), (ID, Some(COMMIT)));
    assert_eq!(
        model.directory,
        cache.path().join("models--acme--tiny-embedder/snapshots").join(COMMIT),
        "the layout huggingface_hub shares"
    );
    assert_served(&hub, &model);
    assert_eq!(seen[SHARD], (300_000, 300_000));
    assert_eq!(seen.len(), 7);

    hub.take_requests();
    assert_eq!(resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap(), model);
    assert_eq!(
        hub.take_requests(),
        [format!("/api/models/{ID}/revision/main")],
        "only the branch is looked up again"
    );

    let offline = options(&hub, cache.path()).with_offline(true);
    assert_eq!(resolve(ID, &offline, &mut quiet).unwrap(), model);
    let by_commit = options(&hub, cache.path()).with_revision(Some(COMMIT.to_owned()));
    assert_eq!(resolve(ID, &by_commit, &mut quiet).unwrap(), model);
    assert!(hub.take_requests().is_empty(), "neither needs a request");

    // The resolved directory is itself a reference.
    let directory = model.directory.to_str().unwrap();
    assert_eq!(resolve(directory, &HubOptions::default(), &mut quiet).unwrap().revision, None);
}

#[test]
fn a_dropped_connection_resumes_where_it_stopped() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.faults.lock().unwrap().drops = vec![(SHARD.to_owned(), 123_456)];
    let model = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap();
    assert_served(&hub, &model);
    let requests = hub.take_requests();
    let resumed = requests.iter().find_map(|r| {
        r.strip_prefix(&format!("/cdn/{SHARD} "))?.strip_suffix('-')?.parse::<usize>().ok().filter(|&n| n > 0)
    });
    assert!(
        resumed.is_some_and(|start| start <= 123_456),
        "no range request continues the file: {requests:?}"
    );
}

#[test]
fn a_connection_may_break_any_number_of_times_if_each_brings_something() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.faults.lock().unwrap().drops = vec![(SHARD.to_owned(), 30_000); 8];
    assert_served(&hub, &resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap());
    assert!(hub.faults.lock().unwrap().drops.is_empty());

    // None brings anything: given up after five.
    let cache = tempfile::tempdir().unwrap();
    hub.faults.lock().unwrap().drops = vec![(SHARD.to_owned(), 0); 8];
    let error = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert_eq!(hub.faults.lock().unwrap().drops.len(), 3);
}

#[test]
fn a_copy_in_the_cache_stands_in_for_a_hub_out_of_reach() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    let model = resolve(ID, &options, &mut quiet).unwrap();
    assert_eq!(model.warning, None);
    let down = options.clone().with_endpoint(Some(format!("http://user:secret-word@{CLOSED}")));
    let assert_stands_in = |options: &HubOptions| {
        let got = resolve(ID, options, &mut quiet).unwrap();
        let warning = got.warning.clone().unwrap();
        assert_eq!(
            (got.directory, got.id, got.revision),
            (model.directory.clone(), model.id.clone(), model.revision.clone())
        );
        assert!(warning.starts_with("cannot reach") && warning.contains("the cache is used"), "{warning}");
        assert!(warning.lines().count() == 1 && !warning.contains("secret-word"), "{warning}");
    };
    assert_stands_in(&down);
    for status in ["503 Unavailable", "500 Internal Server Error", "429 Too Many Requests"] {
        hub.take_requests();
        hub.faults.lock().unwrap().listing = Some(status);
        assert_stands_in(&options);
        assert_eq!(hub.take_requests().len(), 1, "{status}: nothing is waited for");
    }
    // What the hub says itself holds.
    for (status, says) in
        [("401 Unauthorized", "no access"), ("404 Not Found", "no model"), ("410 Gone", "410")]
    {
        hub.faults.lock().unwrap().listing = Some(status);
        let error = resolve(ID, &options, &mut quiet).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // A copy that is not whole, or of another revision, stands in for nothing.
    let other = down.clone().with_revision(Some("v1".into()));
    assert!(matches!(resolve(ID, &other, &mut quiet), Err(HubError::Network { .. })));
    std::fs::remove_file(model.directory.join(SHARD)).unwrap();
    assert!(matches!(resolve(ID, &down, &mut quiet), Err(HubError::Network { .. })));
}

#[test]
fn two_at_once_fetch_one_model() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_served(&hub, &resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap())
            });
        }
    });
    let bodies = hub.take_requests().iter().filter(|request| **request == format!("/cdn/{SHARD}")).count();
    assert_eq!(bodies, 1, "the others wait for the first");
}

#[test]
fn a_later_run_resumes_and_one_killed_before_the_rename_is_adopted() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let blobs = cache.path().join("models--acme--tiny-embedder/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let first = "model-00001-of-00002.safetensors";
    // hf-hub names a partial file by replacing what it takes for the extension of the etag.
    std::fs::write(blobs.join(format!("etag-{SHARD}")).with_extension("part"), &hub.files[SHARD][..100_000])
        .unwrap();
    std::fs::write(blobs.join(format!("etag-{first}")).with_extension("part"), &hub.files[first]).unwrap();
    let model = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap();
    assert_served(&hub, &model);
    let requests = hub.take_requests();
    assert!(requests.contains(&format!("/cdn/{SHARD} 100000-")), "{requests:?}");
    assert!(
        !requests.iter().any(|r| r.starts_with(&format!("/cdn/{first}")) && r.ends_with('-')),
        "{requests:?}"
    );
}

#[test]
fn a_server_that_ignores_ranges_cannot_spoil_a_file() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    *hub.faults.lock().unwrap() =
        Faults { drops: vec![(SHARD.to_owned(), 50_000)], ignores_ranges: true, ..Faults::default() };
    let model = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap();
    assert_served(&hub, &model);
}

#[test]
fn errors_of_the_server_are_tried_again_but_not_for_ever() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.faults.lock().unwrap().statuses = vec![503, 500];
    assert_served(&hub, &resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap());

    let cache = tempfile::tempdir().unwrap();
    hub.faults.lock().unwrap().statuses = vec![503; 1000];
    let error = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(error.to_string().contains("503"), "{error}");
}

#[test]
fn failures_are_one_line_that_names_the_model_and_the_address() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let options = options(&hub, cache.path());
    let with = |token: Option<&str>, revision: Option<&str>| {
        options.clone().with_token(token.map(str::to_owned)).with_revision(revision.map(str::to_owned))
    };
    for (id, options, expected) in [
        ("acme/gated", with(None, None), "401): it is gated, private or misspelt; give a token"),
        ("acme/gated", with(Some("bad"), None), "401): the token does not open it"),
        ("acme/gated", with(Some("good"), None), "there is no model acme/gated"),
        ("acme/nothing", with(None, None), "there is no model acme/nothing"),
        (ID, with(None, Some("v9")), "has no revision v9"),
        ("acme/html", with(None, None), "cannot fetch acme/html"),
    ] {
        let error = resolve(id, &options, &mut quiet).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say {expected}");
        assert!(error.contains(id) && error.contains(&hub.endpoint) && error.lines().count() == 1, "{error}");
    }
    let down = options.with_endpoint(Some(format!("http://{CLOSED}")));
    let error = resolve(ID, &down, &mut quiet).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
}

#[test]
fn offline_without_a_copy_says_so_and_makes_no_request() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let offline = options(&hub, cache.path()).with_offline(true);
    let error = resolve(ID, &offline, &mut quiet).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");

    let model = resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap();
    hub.take_requests();
    std::fs::remove_file(model.directory.join(SHARD)).unwrap();
    let error = resolve(ID, &offline, &mut quiet).unwrap_err();
    assert!(
        matches!(&error, HubError::IncompleteDirectory { missing, .. } if missing == &[SHARD]),
        "{error}"
    );
    assert!(hub.take_requests().is_empty());

    // Online, the file that is still among the blobs is linked again without downloading it.
    assert_served(&hub, &resolve(ID, &options(&hub, cache.path()), &mut quiet).unwrap());
    assert!(!hub.take_requests().contains(&format!("/cdn/{SHARD} 0-")));
}

#[test]
fn what_is_neither_directory_nor_id_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, "{}").unwrap();
    let error = |reference: &str| resolve(reference, &HubOptions::default(), &mut quiet).unwrap_err();
    assert!(matches!(error("./nowhere"), HubError::NotAReference { .. }));
    assert!(matches!(error(file.to_str().unwrap()), HubError::NotADirectory { .. }));
    let error = error(directory.path().to_str().unwrap()).to_string();
    assert!(error.ends_with("lacks tokenizer.json, preprocessor_config.json, model.safetensors"), "{error}");
}

#[cfg(feature = "nano")]
#[test]
fn the_built_in_model_is_unpacked_once_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let options = |revision: Option<&str>| {
        let options = HubOptions::default().with_nano_dir(Some(folder.path().to_owned())).with_offline(true);
        options.with_revision(revision.map(str::to_owned))
    };
    let unpack = |revision| resolve(gve::hub::NANO, &options(revision), &mut |_| ());
    let model = unpack(None).unwrap();
    assert_eq!(model.id, "nano");
    let weights = model.directory.join("model.safetensors");
    let (bytes, time) = (std::fs::read(&weights).unwrap(), weights.metadata().unwrap().modified().unwrap());
    assert_eq!(unpack(model.revision.as_deref()).unwrap(), model);
    assert_eq!(weights.metadata().unwrap().modified().unwrap(), time, "what is there is not written again");
    std::fs::write(&weights, &bytes[..1000]).unwrap();
    assert_eq!(unpack(None).unwrap(), model);
    assert!(std::fs::read(&weights).unwrap() == bytes, "a damaged file is replaced");
    let message = unpack(Some("0")).unwrap_err().to_string();
    assert!(message.contains("not nano 0"), "{message}");
}

#[test]
fn a_revision_in_the_cache_that_is_no_commit_is_named() {
    for damage in [&b"\xff\xfe"[..], b"../../elsewhere", b""] {
        let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
        let options = options(&hub, cache.path());
        let model = resolve(ID, &options, &mut quiet).unwrap();
        let path = cache.path().join("models--acme--tiny-embedder/refs/main");
        std::fs::write(&path, damage).unwrap();
        let error = resolve(ID, &options.clone().with_offline(true), &mut quiet).unwrap_err();
        assert!(matches!(error, HubError::DamagedRevision { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
        let mended = resolve(ID, &options, &mut quiet).unwrap();
        let warning = mended.warning.clone().unwrap();
        assert!(mended.directory == model.directory && warning.contains("refs/main"), "{warning}");
        assert_eq!(resolve(ID, &options, &mut quiet).unwrap(), model);
        assert_eq!(resolve(ID, &options.with_offline(true), &mut quiet).unwrap(), model);
    }
}

#[test]
fn a_download_that_is_cancelled_goes_on_from_there() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let with = |cancel: &CancelToken| options(&hub, cache.path()).with_cancel(cancel.clone());
    // Before anything is asked.
    let cancel = CancelToken::new();
    cancel.cancel();
    let error = resolve(ID, &with(&cancel), &mut quiet).unwrap_err();
    assert!(matches!(error, HubError::Cancelled) && hub.take_requests().is_empty(), "{error}");

    // Within a file, from whoever is told of it.
    let cancel = CancelToken::new();
    let mut seen = Vec::new();
    let error = resolve(ID, &with(&cancel), &mut |progress| {
        seen.push((progress.file.to_owned(), progress.done_bytes));
        if progress.file == SHARD && progress.done_bytes > 0 {
            cancel.cancel();
        }
    });
    assert!(matches!(error, Err(HubError::Cancelled)), "{error:?}");
    let (last, arrived) = seen.pop().unwrap();
    assert!(last == SHARD && (1..300_000).contains(&arrived), "{last} {arrived}");
    hub.take_requests();
    let model = resolve(ID, &with(&CancelToken::new()), &mut quiet).unwrap();
    assert_served(&hub, &model);
    let requests = hub.take_requests();
    assert!(requests.contains(&format!("/cdn/{SHARD} {arrived}-")), "{requests:?}");
    let bodies = requests.iter().filter(|request| request.starts_with("/cdn/") && !request.ends_with(" 0-0"));
    assert_eq!(bodies.count(), 1, "what was whole is not asked for again: {requests:?}");
}

/// Between two files, while bytes flow slowly, and from another thread.
#[test]
fn a_slow_download_hears_at_once() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.faults.lock().unwrap().slow = true;
    let cancel = CancelToken::new();
    let options = options(&hub, cache.path()).with_cancel(cancel.clone());
    let (mut has_asked, mut arrived) = (false, 0);
    let error = std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let begun: () = told.recv().unwrap();
            cancel.cancel();
            begun
        });
        resolve(ID, &options, &mut |progress| {
            if progress.file == SHARD && progress.done_bytes > 0 {
                arrived = progress.done_bytes;
                if !std::mem::replace(&mut has_asked, true) {
                    tell.send(()).unwrap();
                }
            }
        })
    });
    assert!(matches!(error, Err(HubError::Cancelled)), "{error:?}");
    // The whole of it, 300,000 bytes, takes three seconds.
    assert!(has_asked && arrived < 200_000, "{arrived} bytes came");
}
