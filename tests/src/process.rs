//! A child process that cannot outlive its test.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{tools, wait};

/// How many of a process's last lines a failing test shows.
const SHOWN_LINES: usize = 60;

/// The lines a process has written, standard output and standard error together, without terminal colours.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line that contains `needle`.
    #[must_use]
    pub fn find(&self, needle: &str) -> Option<String> {
        self.lines().into_iter().find(|line| line.contains(needle))
    }

    /// Waits for a line that contains `needle`.
    ///
    /// # Panics
    ///
    /// When none comes within [`wait::SOON`].
    #[track_caller]
    #[must_use]
    pub fn wait(&self, needle: &str) -> String {
        wait::until(&format!("a log line with {needle:?}"), wait::SOON, || self.find(needle))
    }

    fn follow(&self, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                let line = without_colours(&String::from_utf8_lossy(&line));
                log.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }
}

/// A running child. Dropping it kills it and, when the test is failing, shows what it said last.
pub struct Process {
    name: String,
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    feeder: Option<Box<Self>>,
}

impl Process {
    /// Starts `command`; what it writes goes to [`Process::log`].
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut process = Self::spawn(name, command, Stdio::null(), Stdio::piped());
        let output = process.child.stdout.take().expect("it is piped");
        process.readers.push(process.log.follow(output));
        process
    }

    /// Starts `command` with its standard output in `file`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start_into(name: &str, command: &mut Command, file: &Path) -> Self {
        let file = File::create(file).expect("the output file can be made");
        Self::spawn(name, command, Stdio::null(), file.into())
    }

    /// Starts `command` with the standard output of `feeder` as its input. The feeder ends with it.
    ///
    /// # Panics
    ///
    /// When one cannot be started.
    #[must_use]
    pub fn start_fed(name: &str, command: &Command, feeder_name: &str, feeder: &Command) -> Self {
        let mut feeder = Self::spawn(feeder_name, feeder, Stdio::null(), Stdio::piped());
        let pipe = feeder.child.stdout.take().expect("it is piped");
        let mut process = Self::spawn(name, command, pipe.into(), Stdio::piped());
        let output = process.child.stdout.take().expect("it is piped");
        process.readers.push(process.log.follow(output));
        process.feeder = Some(Box::new(feeder));
        process
    }

    fn spawn(name: &str, command: &Command, input: Stdio, output: Stdio) -> Self {
        let mut child = with_parent(command)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let log = Log::default();
        let errors = child.stderr.take().expect("it is piped");
        let readers = vec![log.follow(errors)];
        Self { name: name.to_owned(), child, log, readers, feeder: None }
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL, so that it says no goodbye to anybody.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end with SIGTERM.
    ///
    /// # Panics
    ///
    /// When the `kill` program is missing.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{} is not there to be ended", self.name);
    }

    /// True while it has not ended.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it has not ended within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, || self.child.try_wait().expect("it is our child"))
    }

    fn report(&self) -> String {
        let lines = self.log.lines();
        let skipped = lines.len().saturating_sub(SHOWN_LINES);
        let mut text = format!("--- {} ({skipped} earlier lines left out)\n", self.name);
        for line in lines.iter().skip(skipped) {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        drop(self.feeder.take());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(self.report().as_bytes());
        }
    }
}

/// The processes that `parent` has started and that are there still.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    // The name in brackets may hold anything; behind it come the state and the parent.
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1).and_then(|field| field.parse().ok()) == Some(parent)
    };
    ids.filter(is_child).collect()
}

/// The same command under `setpriv --pdeathsig`, where that exists, so that a test that is killed leaves nothing behind.
fn with_parent(command: &Command) -> Command {
    let Some(setpriv) = tools::find("setpriv") else {
        let mut plain = Command::new(command.get_program());
        plain.args(command.get_args());
        return inherit(plain, command);
    };
    let mut wrapped = Command::new(setpriv);
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    inherit(wrapped, command)
}

fn inherit(mut to: Command, from: &Command) -> Command {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
    to
}

/// Leaves out escape sequences of the form `ESC [ ... letter`.
fn without_colours(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line.trim_end_matches('\r').chars();
    while let Some(letter) = rest.next() {
        if letter == '\u{1b}' {
            rest.by_ref().take_while(|inner| !inner.is_ascii_alphabetic()).for_each(drop);
        } else {
            clean.push(letter);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(without_colours("\u{1b}[2mnow\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m bad\r"), "now ERROR bad");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::start("cat", &mut Command::new("cat"));
        let id = process.id();
        assert!(Path::new(&format!("/proc/{id}")).exists());
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn children_are_found_by_their_parent() {
        let process = Process::start("cat", &mut Command::new("cat"));
        assert!(children(std::process::id()).contains(&process.id()));
    }

    #[test]
    fn both_outputs_are_logged() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2"]);
        let mut process = Process::start("sh", &mut command);
        assert!(process.wait(wait::SOON).success());
        let _ = process.log().wait("one");
        let _ = process.log().wait("two");
    }
}
