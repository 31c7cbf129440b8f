//! A gateway with stream keys, and peers that show them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::{self, Gateway};
use crate::{http, tools};

/// A gateway that keeps stream keys. Dropping it fails the test if a secret is in its log.
pub struct Desk {
    /// The gateway.
    pub gateway: Gateway,
    folder: TempDir,
    secrets: Vec<String>,
}

/// A key as the API made it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Names it.
    pub id: String,
    /// Opens with it.
    pub secret: String,
}

impl Desk {
    /// Starts a gateway that logs much, with more arguments than the data folder.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn open(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a plain name").to_owned();
        let all: Vec<&str> =
            ["--data-dir", &path, "--log", "debug"].iter().chain(arguments).copied().collect();
        Self { gateway: Gateway::start(&all), folder, secrets: Vec::new() }
    }

    /// Makes a key: `wish` beside paths and direction.
    ///
    /// # Panics
    ///
    /// When it is not made.
    #[track_caller]
    pub fn key(&mut self, path: &str, direction: &str, wish: &Value) -> Key {
        let mut body = json!({"paths": [path], "direction": direction});
        body.as_object_mut().expect("an object").extend(wish.as_object().cloned().unwrap_or_default());
        let made = self.api("POST", "/api/v1/keys", Some(&body), 201);
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let key = Key { id: text("id"), secret: text("secret") };
        self.secrets.push(key.secret.clone());
        self.secrets.extend(made["passphrase"].as_str().map(str::to_owned));
        key
    }

    /// Changes a key.
    #[track_caller]
    pub fn change(&self, key: &Key, wish: &Value) {
        self.api("PATCH", &format!("/api/v1/keys/{}", key.id), Some(wish), 200);
    }

    /// Takes a key back.
    #[track_caller]
    pub fn revoke(&self, key: &Key) {
        self.api("DELETE", &format!("/api/v1/keys/{}", key.id), None, 204);
    }

    /// As if sessions of the key had lasted so many seconds in all.
    ///
    /// # Panics
    ///
    /// When the database cannot be written.
    #[track_caller]
    pub fn spend(&self, key: &Key, seconds: u32) {
        let script = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], timeout=20)\n\
            db.execute('UPDATE stream_keys SET used_seconds = ? WHERE id = ?', sys.argv[2:])\n\
            db.execute('UPDATE stream_keys_version SET version = version + 1')\n\
            db.commit()";
        let mut command = Command::new(tools::program("python3"));
        command.args(["-c", script]).arg(self.folder().join("moqgate.sqlite"));
        command.args([&seconds.to_string(), &key.id]);
        assert!(command.status().expect("python3 runs").success());
    }

    /// Something else that must not be in the log.
    pub fn keep_secret(&mut self, text: &str) {
        self.secrets.push(text.to_owned());
    }

    /// `moqgate key …` on the same folder: what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(gateway::binary());
        command.arg("key").args(arguments).arg("--data-dir").arg(self.folder.path());
        let output = command.output().expect("moqgate runs");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "moqgate key {arguments:?}: {problem}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One request whose answer must have that status.
    ///
    /// # Panics
    ///
    /// When it has another one.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>, status: u16) -> Value {
        let answer = http::request(self.gateway.http(), method, path, body).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let lines = self.gateway.log().lines();
        for secret in &self.secrets {
            let told: Vec<_> = lines.iter().filter(|line| line.contains(secret.as_str())).collect();
            assert!(told.is_empty(), "the log tells a secret: {told:#?}");
        }
    }
}
