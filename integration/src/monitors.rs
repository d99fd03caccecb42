//! A real Prometheus and a real Alertmanager beside the murder, and what they say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::clients::Wire;
use crate::deadline::eventually;
use crate::ravenry::free_port;

/// How long one of them may take to start.
const START: Duration = Duration::from_secs(30);

/// Both of them, with a directory of their own. Dropping it kills them.
#[derive(Debug)]
pub struct Monitors {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    children: Vec<Child>,
    home: TempDir,
}

impl Monitors {
    /// Starts both. Prometheus scrapes Ravenry every second under the job `ravenry`, and judges the rules of the
    /// repository every second.
    pub async fn start(ravenry: SocketAddr) -> Result<Self> {
        let home = TempDir::with_prefix("ravenry-monitors-")?;
        let (prometheus, alertmanager) = (free_port()?, free_port()?);
        let rules = repository().join("grafana/alerts.yaml");
        let path = |name: &str| home.path().join(name);
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
             scrape_configs: [{{job_name: ravenry, static_configs: [{{targets: ['{ravenry}']}}]}}]\n",
            rules.canonicalize()?.display()
        );
        tokio::fs::write(path("prometheus.yml"), config).await?;
        let config = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n";
        tokio::fs::write(path("alertmanager.yml"), config).await?;
        let log = |name: &str| std::fs::File::create(path(name));
        let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        let mut commands =
            [Command::new(tool("prometheus")?), Command::new(tool("prometheus-alertmanager")?)];
        let [first, second] = &mut commands;
        first
            .arg(flag("config.file", &path("prometheus.yml").display()))
            .arg(flag("storage.tsdb.path", &path("data").display()))
            .arg(flag("web.listen-address", &prometheus))
            .stderr(log("prometheus.log")?);
        second
            .arg(flag("config.file", &path("alertmanager.yml").display()))
            .arg(flag("storage.path", &path("alerts").display()))
            .arg(flag("web.listen-address", &alertmanager))
            .arg(flag("cluster.listen-address", &""))
            .stderr(log("alertmanager.log")?);
        let mut children = Vec::new();
        for command in &mut commands {
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            children.push(command.spawn()?);
        }
        let monitors = Self { prometheus, alertmanager, children, home };
        for address in [prometheus, alertmanager] {
            eventually(START, format!("{address} being ready"), async || {
                Ok(get(address, "/-/ready").await?.0.eq(&200).then_some(()))
            })
            .await
            .with_context(|| monitors.logs())?;
        }
        Ok(monitors)
    }

    /// The result of a query at this moment: the series with their values.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let (status, body) = get(self.prometheus, &path).await?;
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))?;
        match answer.pointer("/data/result") {
            Some(Value::Array(series)) => Ok(series.clone()),
            _ => bail!("{expression}: {body}"),
        }
    }

    /// The names of the alerts that the Alertmanager has.
    pub async fn alerts(&self) -> Result<Vec<String>> {
        let (_, body) = get(self.alertmanager, "/api/v2/alerts").await?;
        let alerts: Vec<Value> = serde_json::from_str(&body).with_context(|| body.clone())?;
        Ok(alerts
            .iter()
            .filter_map(|alert| Some(alert.pointer("/labels/alertname")?.as_str()?.to_owned()))
            .collect())
    }

    /// Whether both still run.
    pub fn run(&mut self) -> bool {
        self.children.iter_mut().all(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn logs(&self) -> String {
        ["prometheus.log", "alertmanager.log"]
            .map(|name| std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default())
            .join("\n")
    }
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program: installed, or unpacked by `integration/prepare`.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/usr/bin");
    std::env::split_paths(&path)
        .chain([unpacked])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is missing: `. integration/prepare; prepare_monitors` sees to it"))
}

/// Fetches a path; the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut wire = Wire::connect(address).await?;
    // 1.0: the body ends with the connection, and comes in one piece.
    wire.send(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let answer = String::from_utf8_lossy(&wire.drain().await?).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.with_context(|| format!("no status: {head}"))?, body.to_owned()))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
