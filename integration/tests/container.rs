//! The container image, run as compose.yaml beside it says: its health check, and what kubernetes.yaml asks of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::monitors::{get, repository};
use ravenry_integration::ravenry::{binary, free_port};
use tempfile::TempDir;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(120);
const BUILD: Duration = Duration::from_secs(600);

/// A master that is not there: alive is not ready.
const CONFIGURATION: &str = r#"
[mupdate]
listen = ["0.0.0.0:3905"]
users_file = "/etc/ravenry/users.toml"
[master]
address = "127.0.0.1:9"
user = "murder"
password_file = "/etc/ravenry/master.pw"
[lmtp]
listen = ["0.0.0.0:24"]
frontends = ["127.0.0.1:9"]
[metrics]
listen = "0.0.0.0:9805"
"#;

/// The service of compose.yaml. Dropping it removes it, with its volume.
struct Composed {
    project: String,
    environment: Vec<(&'static str, String)>,
}

impl Composed {
    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("docker-compose");
        command.arg("--file").arg(repository().join("packaging/container/compose.yaml"));
        command.args(["--project-name", &self.project]).args(args).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        command
    }

    async fn run(&self, args: &[&str]) -> Result<(bool, String)> {
        let missing = "docker-compose is missing: `. integration/prepare; prepare_packaging` sees to it";
        let mut command = Command::from(self.command(args));
        let output = within(SOON, format!("docker-compose {}", args.join(" ")), async {
            command.kill_on_drop(true).output().await.context(missing)
        });
        let output = output.await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    async fn must(&self, args: &[&str]) -> Result<String> {
        let (done, said) = self.run(args).await?;
        ensure!(done, "docker-compose {}: {said}", args.join(" "));
        Ok(said)
    }

    async fn health(&self) -> Result<String> {
        let container = self.must(&["ps", "-q", "ravenry"]).await?;
        let format = "{{.State.Health.Status}}";
        let output = Command::new("docker").args(["inspect", "--format", format, container.trim()]).output();
        Ok(String::from_utf8_lossy(&output.await?.stdout).trim().to_owned())
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        let removed =
            self.command(&["down", "--volumes"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("{} was not removed", self.project);
        }
    }
}

/// A directory that becomes /etc/ravenry, readable for the image's user.
async fn configuration(etc: &Path) -> Result<()> {
    std::fs::set_permissions(etc, std::fs::Permissions::from_mode(0o777))?;
    std::fs::write(etc.join("ravenry.toml"), CONFIGURATION)?;
    std::fs::write(etc.join("master.pw"), "secret")?;
    std::fs::write(etc.join("list"), "user.alice\t1 be1.example.org!default alice\tlrswipkxtecdan\t\n")?;
    let add = format!(
        "printf secret | docker run --rm -i -v {}:/etc/ravenry ravenry:latest user add murder",
        etc.display()
    );
    let output = Command::new("sh").args(["-c", &add]).output().await?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The paths that kubernetes.yaml probes, by the probe's name.
fn probes() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(repository().join("packaging/container/kubernetes.yaml"))?;
    let mut probe = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix("Probe:") {
            probe = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("httpGet: { path: ") {
            let (path, port) = rest.split_once(", port: ").context("no port")?;
            ensure!(port == "metrics }", "{line}");
            found.push((probe.clone(), path.to_owned()));
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_tells_how_it_is_and_serves_when_it_may() -> Result<()> {
    let script: PathBuf = repository().join("packaging/container/build-image");
    let built = within(BUILD, "building the image", async {
        Ok(Command::new(script).arg(binary()?.canonicalize()?).env("SUITE", "bookworm").output().await?)
    });
    let built = built.await?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let etc = TempDir::with_prefix("ravenry-etc-")?;
    configuration(etc.path()).await?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let [mupdate, lmtp, metrics] = ports.map(|address| address.port().to_string());
    let environment = vec![
        ("RAVENRY_ETC", etc.path().display().to_string()),
        ("RAVENRY_MUPDATE", mupdate),
        ("RAVENRY_LMTP", lmtp),
        ("RAVENRY_METRICS", metrics),
    ];
    let ravenry = Composed { project: format!("ravenry-story-{}", std::process::id()), environment };
    ravenry.must(&["up", "-d"]).await?;

    // It lives, and is not ready: there is no list.
    eventually(SOON, "the health check", async || Ok((ravenry.health().await? == "healthy").then_some(())))
        .await?;
    let [_, _, metrics] = ports;
    let probes = probes()?;
    let names: Vec<&str> = probes.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["liveness", "readiness", "startup"], "{names:?}");
    for (name, path) in &probes {
        let (status, said) = get(metrics, path).await?;
        let wanted = if name == "readiness" { 503 } else { 200 };
        ensure!(status == wanted, "{name}: {path} answers {status}: {said}");
    }
    let (ready, said) = ravenry.run(&["exec", "-T", "ravenry", "ravenry", "health", "--ready"]).await?;
    ensure!(!ready && said.contains("not ready: learning"), "{said}");

    // With a list it is.
    ravenry
        .must(&["exec", "-T", "ravenry", "ravenry", "list", "import", "/etc/ravenry/list", "--yes"])
        .await?;
    for (name, path) in &probes {
        let (status, said) = get(metrics, path).await?;
        ensure!(status == 200, "{name}: {path} answers {status}: {said}");
    }
    let said = ravenry.must(&["exec", "-T", "ravenry", "ravenry", "health", "--ready"]).await?;
    ensure!(said.contains("standing-in"), "{said}");

    // Its state outlives the container, and it ends in order.
    ravenry.must(&["up", "-d", "--force-recreate"]).await?;
    eventually(SOON, "ready with the old state", async || {
        Ok((get(metrics, "/readyz").await?.0 == 200).then_some(()))
    })
    .await?;
    ravenry.must(&["stop"]).await?;
    let log = ravenry.must(&["logs", "--no-color"]).await?;
    ensure!(log.contains("stopping"), "{log}");
    let state = ravenry.must(&["ps"]).await?;
    ensure!(state.contains("Exit 0"), "{state}");
    Ok(())
}
