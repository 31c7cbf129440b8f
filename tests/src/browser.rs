//! Headless Chromium, driven through ChromeDriver, and the pages it opens.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::process::{self, Process};
use crate::{http, tools, wait};

/// No quiet downloads, no graphics card, and nothing that would keep it from QUIC.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=800,600",
];

/// A test picture and a beep every second, and nobody who has to allow them.
const CAMERA: [&str; 3] = [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
];

/// A page of `tools/web` in a browser of its own.
pub struct Page {
    driver: SocketAddr,
    session: String,
    /// The browser's process.
    browser: u32,
    _process: Process,
    _profile: TempDir,
    server: Option<Server>,
}

impl Page {
    /// Opens `script` (`watch` or `groups`) with `query`, a query string without the question mark.
    ///
    /// # Panics
    ///
    /// When the browser does not start or the page does not load.
    #[must_use]
    pub fn open(script: &'static str, query: &str) -> Self {
        Self::open_with(script, query, &[])
    }

    /// Opens `studio`, the page that publishes and watches, in a browser with a camera and a microphone that are made up.
    ///
    /// # Panics
    ///
    /// When the browser does not start or the page does not load.
    #[must_use]
    pub fn studio(gateway: &Gateway, broadcast: &str) -> Self {
        let query = format!("http={}&url={}&name={broadcast}", gateway.http(), gateway.moq_url());
        Self::open_with("studio", &query, &CAMERA)
    }

    fn open_with(script: &'static str, query: &str, more: &[&str]) -> Self {
        let server = Server::start(script);
        let page = Self::start(Some(server), more);
        let url = page.server.as_ref().map(|server| format!("http://{}/?{query}", server.address));
        page.command("url", &json!({ "url": url }));
        page
    }

    /// Opens a page that somebody else serves, in a browser with a camera and a microphone that are made up.
    ///
    /// # Panics
    ///
    /// When the browser does not start or the page does not load.
    #[must_use]
    pub fn visit(url: &str) -> Self {
        let page = Self::start(None, &CAMERA);
        page.command("url", &json!({ "url": url }));
        page
    }

    /// Opens a page that somebody else serves, in a browser for which there is no `host`.
    ///
    /// # Panics
    ///
    /// When the browser does not start or the page does not load.
    #[must_use]
    pub fn visit_without(host: &str, url: &str) -> Self {
        let page = Self::start(None, &[&format!("--host-resolver-rules=MAP {host} ^NOTFOUND")]);
        page.command("url", &json!({ "url": url }));
        page
    }

    fn start(server: Option<Server>, more: &[&str]) -> Self {
        let mut command = Command::new(tools::program("chromedriver"));
        let process = Process::start("chromedriver", command.arg("--port=0"));
        let line = process.log().wait("started successfully on port");
        let digits = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('.');
        let port = digits.parse().unwrap_or_else(|error| panic!("{error} in {line:?}"));
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let data = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<&str> = FLAGS.into_iter().chain(more.iter().copied()).chain([data.as_str()]).collect();
        let options = json!({ "args": flags, "binary": tools::program("chromium") });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" } });
        let capabilities = json!({ "capabilities": { "alwaysMatch": wanted } });
        let answer = drive(driver, "POST", "/session", Some(&capabilities));
        let session = answer["sessionId"].as_str().expect("a session").to_owned();
        let browser = answer["capabilities"]["goog:processID"].as_u64().and_then(|id| u32::try_from(id).ok());
        let browser = browser.expect("the browser's process id");
        Self { driver, session, browser, _process: process, _profile: profile, server }
    }

    /// Runs a script in the page and gives what it returns.
    ///
    /// # Panics
    ///
    /// When the script throws.
    #[must_use]
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that calls its argument when it is done.
    ///
    /// # Panics
    ///
    /// When the script throws.
    #[must_use]
    pub fn run_async(&self, body: &str) -> Value {
        let script = format!("const done = arguments[0]; {body}");
        self.command("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits for what the promise of `expression` gives.
    ///
    /// # Panics
    ///
    /// When it is rejected.
    #[track_caller]
    pub fn settle(&self, expression: &str) -> Value {
        let body = format!(
            "({expression}).then((value) => done([value ?? null, null]), (error) => done([null, String(error)]))"
        );
        let mut settled = self.run_async(&body);
        assert_eq!(settled[1], Value::Null, "the page's {expression}; {}", self.console());
        settled[0].take()
    }

    /// Waits until the expression is neither null, undefined, false nor zero; gives it.
    ///
    /// # Panics
    ///
    /// When it does not become so; with the console's messages.
    #[track_caller]
    pub fn wait(&self, expression: &str, limit: Duration) -> Value {
        let script = format!("return ({expression}) || null;");
        let deadline = std::time::Instant::now() + limit;
        let last = || std::time::Instant::now() >= deadline;
        wait::until(&format!("the page's {expression}"), limit * 2, || {
            let value = self.run(&script);
            assert!(!value.is_null() || !last(), "the page's {expression}: never; {}", self.console());
            (!value.is_null()).then_some(value)
        })
    }

    /// What the console has shown since the last call.
    #[must_use]
    pub fn console(&self) -> String {
        let log = self.command("se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().into_iter().flatten();
        lines.map(|line| format!("{}\n", line["message"].as_str().unwrap_or_default())).collect()
    }

    /// Ends the browser and all of its processes with SIGKILL, so that none says goodbye to anybody.
    ///
    /// # Panics
    ///
    /// When the `kill` program is missing.
    pub fn kill(self) {
        let mut family = vec![self.browser];
        for at in 0.. {
            let Some(parent) = family.get(at).copied() else { break };
            family.extend(process::children(parent));
        }
        let ids = family.iter().map(u32::to_string);
        // One that has gone by itself meanwhile is as good.
        let _ = Command::new("kill").arg("-KILL").args(ids).status().expect("kill runs");
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        drive(self.driver, "POST", &format!("/session/{}/{name}", self.session), Some(body))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // ChromeDriver ends the browser with the session; killed, it would leave it behind.
        let _ = http::request(self.driver, "DELETE", &format!("/session/{}", self.session), None);
    }
}

fn drive(driver: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Value {
    let answer = http::request(driver, method, path, body).expect("ChromeDriver answers");
    let value = answer.json()["value"].clone();
    assert_eq!(answer.status, 200, "{method} {path}: {value:#}");
    value
}

/// Serves the bundled scripts and one page around each.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(script: &'static str) -> Self {
        let bundle = tools::root().join(format!("tools/web/dist/{script}.js"));
        let bundle: Arc<[u8]> = std::fs::read(&bundle).expect("./test bundles the pages").into();
        let page = "<!doctype html><meta charset=utf-8><title>moqgate</title><body>\
            <script type=module src=/script.js></script>";
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // One thread each: a browser opens connections ahead of need and says nothing on them.
                let bundle = bundle.clone();
                std::thread::spawn(move || answer(stream, page, &bundle));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, page: &str, bundle: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(wait::SOON))?;
    let mut request = [0; 8192];
    let length = stream.read(&mut request)?;
    let path = String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, kind, body) = match path.as_str() {
        "/script.js" => ("200 OK", "text/javascript", bundle),
        path if path == "/" || path.starts_with("/?") => ("200 OK", "text/html", page.as_bytes()),
        _ => ("404 Not Found", "text/plain", &b""[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
