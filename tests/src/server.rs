//! Starts the built server on free ports with a data directory of its own, and stops it however a test wants.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::Client;
use crate::files;

/// How long a start, or a stop, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The data directory; a temporary one by default.
    pub data_dir: Option<PathBuf>,
    /// Components to begin with.
    pub plugins: Vec<PathBuf>,
    /// The configuration file's text.
    pub config: String,
    /// Further arguments.
    pub args: Vec<String>,
    /// A required plugin is missing at first: do not wait until it is ready.
    pub begins_held: bool,
    /// The limit on open files.
    pub open_files: Option<u32>,
}

/// The built server, started by a shell where it is to have few files.
fn program(open_files: Option<u32>) -> Command {
    let Some(limit) = open_files else {
        return Command::new(files::donjon());
    };
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
        .arg(files::donjon());
    shell
}

/// A running server.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Where plugins are dropped into.
    pub plugin_dir: PathBuf,
    log: PathBuf,
    dir: tempfile::TempDir,
}

impl Server {
    /// With the first-party rules component and defaults.
    pub fn start() -> anyhow::Result<Server> {
        Self::start_with(ServerOptions {
            plugins: vec![files::plugin("rules")],
            ..ServerOptions::default()
        })
    }

    /// With everything chosen.
    pub fn start_with(options: ServerOptions) -> anyhow::Result<Server> {
        let dir = tempfile::tempdir()?;
        let plugin_dir = dir.path().join("plugins");
        std::fs::create_dir(&plugin_dir)?;
        for plugin in &options.plugins {
            let name = plugin.file_name().context("a plugin has a file name")?;
            std::fs::copy(plugin, plugin_dir.join(name)).with_context(|| format!("copy {}", plugin.display()))?;
        }
        let data_dir = options.data_dir.clone().unwrap_or_else(|| dir.path().join("data"));
        let config = dir.path().join("donjon.toml");
        std::fs::write(&config, &options.config)?;
        let log = dir.path().join("log");
        let mut child = program(options.open_files)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(&data_dir)
            .arg("--plugin-dir")
            .arg(&plugin_dir)
            .args(&options.args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("start {}; run `make build` first", files::donjon().display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("standard output is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(url) = line.trim().strip_prefix("listening on ").map(str::to_owned) else {
            let status = child.wait()?;
            bail!("server did not start ({status}): {}", std::fs::read_to_string(&log)?);
        };
        let server = Server {
            child,
            url,
            data_dir,
            plugin_dir,
            log,
            dir,
        };
        if !options.begins_held {
            server.wait_ready()?;
        }
        Ok(server)
    }

    /// Waits until the journal is replayed and the plugins are loaded.
    pub fn wait_ready(&self) -> anyhow::Result<()> {
        wait_for("the server to be ready", PATIENCE, || {
            let answer = self.client().get("/readyz")?;
            let ready = answer.json();
            // A full disk keeps alerts out, and nothing else.
            let only_full = ready["held"]
                .as_str()
                .is_some_and(|why| why.starts_with("alerts are refused"));
            Ok(answer.status == 200 || (only_full && ready["journal_replayed"] == true))
        })
        .with_context(|| format!("log of the server:\n{}", self.log()))
    }

    /// A client without a key.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it takes of memory at present, and what it took at most, in bytes.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = |name: &str| -> anyhow::Result<u64> {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .context("a figure of memory")?;
            let number: String = line.chars().filter(char::is_ascii_digit).collect();
            Ok(number.parse::<u64>()? * 1024)
        };
        Ok((kib("VmRSS:")?, kib("VmHWM:")?))
    }

    /// A directory that lives as long as the server.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into the plugin directory the way `cp` does: created, written, closed.
    pub fn drop_plugin(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(std::fs::write(self.plugin_dir.join(name), bytes)?)
    }

    /// SIGKILL.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> anyhow::Result<(ExitStatus, String)> {
        self.signal("TERM")?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("server did not stop; its log:\n{}", self.log())
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed half-way leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is true; answers that fail count as not yet.
pub fn wait_for(what: &str, within: Duration, mut ask: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + within;
    let mut last = None;
    while Instant::now() < end {
        match ask() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    match last {
        Some(error) => Err(error.context(format!("waited {within:?} for {what}"))),
        None => bail!("waited {within:?} for {what}"),
    }
}
