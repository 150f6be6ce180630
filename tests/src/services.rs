//! Real Prometheus and Alertmanager, from Debian's packages, on loopback and free ports, stopped when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::client::Client;
use crate::server::wait_for;

/// How long a service may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running service.
pub struct Service {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Where the scripts of `make setup` put what they fetch.
fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

/// The program that attacks an interface along its description.
pub fn schemathesis() -> PathBuf {
    tool("schemathesis-4.32.5")
}

/// A tool by its name and version.
pub fn tool(name: &str) -> PathBuf {
    let tools = std::env::var_os("DONJON_TEST_TOOLS_DIR").map(PathBuf::from);
    let tools = tools.or_else(|| Some(cache()?.join("donjon/tools")));
    tools.unwrap_or_default().join(name).join("run")
}

/// A program of the PATH, or of the private directory that `make setup` fills.
fn program(name: &str) -> PathBuf {
    let fetched = std::env::var_os("DONJON_TEST_SERVICES_DIR").map(PathBuf::from);
    let fetched = fetched
        .or_else(|| Some(cache()?.join("donjon/services")))
        .map(|dir| dir.join("usr/bin").join(name));
    fetched
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// A port that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Alertmanager with this configuration text.
pub fn alertmanager(dir: &Path, config: &str) -> anyhow::Result<Service> {
    let file = dir.join("alertmanager.yml");
    std::fs::write(&file, config)?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let child = Command::new(program("prometheus-alertmanager"))
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .arg("--log.level=error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("alertmanager.log"))?)
        .spawn()
        .context("start prometheus-alertmanager; `make setup` installs it")?;
    ready(Service {
        child,
        url: format!("http://{address}"),
    })
}

/// Prometheus that evaluates this rule file every second and sends to `alertmanager` (`host:port`).
pub fn prometheus(dir: &Path, rules: &str, alertmanager: &str) -> anyhow::Result<Service> {
    let rule_file = dir.join("rules.yml");
    std::fs::write(&rule_file, rules)?;
    let config = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\nalerting:\n  alertmanagers:\n  - \
         static_configs:\n    - targets: ['{alertmanager}']\n",
        rule_file.display()
    );
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config)?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let child = Command::new(program("prometheus"))
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--rules.alert.resend-delay=1s")
        .arg("--web.enable-lifecycle")
        .arg("--log.level=warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("prometheus.log"))?)
        .spawn()
        .context("start prometheus; `make setup` installs it")?;
    ready(Service {
        child,
        url: format!("http://{address}"),
    })
}

fn ready(service: Service) -> anyhow::Result<Service> {
    wait_for("a service to be ready", PATIENCE, || {
        Ok(Client::new(&service.url).get("/-/ready")?.status == 200)
    })?;
    Ok(service)
}
