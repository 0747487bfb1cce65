//! Headless Chromium, driven over WebDriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gve_test_support::skip;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The key of an element's reference (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window, ended when dropped.
pub struct Browser {
    driver: Child,
    /// Kept open, so that the driver can go on writing to it.
    _output: BufReader<ChildStdout>,
    /// `http://127.0.0.1:PORT/session/ID`.
    session: String,
    agent: ureq::Agent,
    _profile: TempDir,
}

impl Browser {
    /// Starts one. `None`, with a printed reason, where there is none to start; a panic instead where
    /// `GVE_REQUIRE_ALL` is 1.
    pub fn start() -> Option<Self> {
        let run = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = match run {
            Ok(driver) => driver,
            Err(error) => {
                skip(&format!("chromedriver does not start: {error}; scripts/setup_browser.sh installs it"));
                return None;
            }
        };
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let Some(port) = port_of(&mut output) else {
            drop(driver.kill());
            panic!("chromedriver names no port");
        };
        let profile = tempfile::tempdir().unwrap();
        // What the browser says is for the test to judge, so an error status is no error of the client.
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, _output: output, session, agent, _profile: profile };
        let created = browser.post("", &browser.capabilities());
        let id = created["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    fn capabilities(&self) -> Value {
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", self._profile.path().display()));
        json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})
    }

    /// The `value` of the answer to a command.
    fn post(&self, command: &str, body: &Value) -> Value {
        let mut answer =
            self.agent.post(format!("{}{command}", self.session)).send_json(body).expect("an answer");
        let mut body: Value = answer.body_mut().read_json().expect("JSON");
        assert!(body["value"]["error"].is_null(), "{command}: {}", body["value"]);
        body["value"].take()
    }

    /// Goes to a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// Clicks on what a CSS selector finds first, as a person would: it must be visible.
    pub fn click(&self, selector: &str) {
        let element = self.post("/element", &json!({"using": "css selector", "value": selector}));
        let id = element[ELEMENT].as_str().expect("an element");
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Types into what a CSS selector finds first.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.post("/element", &json!({"using": "css selector", "value": selector}));
        let id = element[ELEMENT].as_str().expect("an element");
        self.post(&format!("/element/{id}/value"), &json!({"text": text}));
    }

    /// What a function body returns in the page.
    pub fn evaluate(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// A command of the developer tools.
    pub fn developer_tools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What was logged since this was last asked for: `browser` is the console, `performance` the network.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", &json!({"type": kind})).as_array().cloned().unwrap_or_default()
    }

    /// The whole page as a PNG, `width` pixels wide.
    pub fn screenshot(&self, width: u32, dark: bool) -> Vec<u8> {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.developer_tools("Emulation.setEmulatedMedia", &features);
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.developer_tools("Emulation.setDeviceMetricsOverride", &size);
        // Two frames, so that all is painted in the new size.
        self.evaluate(
            "window.scrollTo(0, 0);
            return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())));",
        );
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.developer_tools("Page.captureScreenshot", &options);
        STANDARD.decode(answer["data"].as_str().expect("a picture")).unwrap()
    }
}

/// The port that a driver says it listens on.
fn port_of(output: &mut impl BufRead) -> Option<u16> {
    output.lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    })
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; should it be gone already, the driver still is to be ended.
        drop(self.agent.delete(&self.session).call());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
