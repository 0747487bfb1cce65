//! Keys and passwords, which neither the screen nor the disk is to show.

use super::*;
use gve_test_support::hub::CLOSED;

const KEY: &str = "sk-secret-key";
const PASSWORD: &str = "secret-password";
const SIGNATURE: &str = "secret%2Fsignature";

fn assert_nothing_leaked(site: &Site, output: &Output) {
    let shown = |text: &str, place: &str| assert!(!text.contains("secret"), "{place}: {text}");
    shown(&stderr(output), "stderr");
    shown(&stdout(output), "stdout");
    let files = files(&site.out());
    assert!(files.len() > 4);
    for (name, bytes) in files {
        shown(&String::from_utf8_lossy(&bytes), &name);
    }
}

fn run(site: &Site, base_url: &str, more: &[&str]) -> Output {
    let address = base_url.replace("http://", &format!("http://me:{PASSWORD}@"));
    let mut command = site.command(&format!("{address}/?signature={SIGNATURE}"), more);
    command.env("GVE_CAPTIONER_KEY", KEY).output().unwrap()
}

/// What a server that repeats what it was sent says.
fn echo(request: &Received) -> String {
    let sent = [request.authorization.as_deref().unwrap_or("none"), &request.path];
    format!("you sent {sent:?} for {PASSWORD} and secret/signature")
}

#[test]
fn what_a_server_repeats_of_keys_and_addresses_is_hidden() {
    let site = Site::new();
    let body = |request: &Received| json!({"error": {"message": echo(request)}}).to_string();
    let stub = Stub::start(move |number, request| match number {
        1 => Answer::Status(400, Vec::new(), body(request)),
        2 => Answer::ok(body(request)),
        3 => Answer::Status(400, Vec::new(), format!("{}{}", "x".repeat(290), echo(request))),
        4 => {
            let message = json!({"content": null, "refusal": echo(request)});
            Answer::ok(json!({"choices": [{"message": message}]}).to_string())
        }
        5 | 6 => says(&json!({echo(request): "a dog"}).to_string()),
        7 => Answer::HalfClosed,
        8 => Answer::ok(json!({"choices": [{"message": echo(request)}]}).to_string()),
        _ => says(&reply(request)),
    });
    let output = run(&site, &stub.base_url, &["--retries", "0", "--concurrency", "1"]);
    assert_status(&output, 2);
    assert_nothing_leaked(&site, &output);
    let said = stderr(&output);
    assert_eq!(said.matches("you sent").count() - said.matches("xyou sent").count(), 5, "{said}");
    assert!(said.contains("Bearer ***"), "{said}");

    let sent = &stub.requests()[0];
    assert_eq!(sent.path, format!("/v1/chat/completions?signature={SIGNATURE}"));
    assert_eq!(sent.authorization, Some(format!("Bearer {KEY}")));
}

#[test]
fn an_endpoint_of_no_use_is_named_without_what_opens_it() {
    for answer in [Some(401), Some(302), Some(503), None] {
        let site = Site::new();
        let base_url = match answer {
            Some(status) => {
                Stub::start(move |_, request| Answer::Status(status, Vec::new(), echo(request))).base_url
            }
            None => format!("http://{}/v1", CLOSED),
        };
        let output = run(&site, &base_url, &["--retries", "0", "--quiet"]);
        assert_status(&output, 1);
        assert_nothing_leaked(&site, &output);
        let expected = format!("captioner {}/?signature=***: ", base_url.replace("http://", "http://***@"));
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}
