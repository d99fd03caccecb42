//! What those say of our files for whom they are: Grafana's own models of the dashboards, the schemas of Kubernetes of
//! kubernetes.yaml (both are also shown a file that is wrong), promtool of the alert rules, their cases, and what
//! grafana/README.md says about Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ravenry_integration::monitors::{repository, tool};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A program of the judges', with its verdict: whether it is content, and what it said.
async fn judge(program: &str, args: &[PathBuf]) -> Result<(bool, String)> {
    let bin = repository().join("integration/.cache/judges/bin");
    let missing = "the judges are missing: `. integration/prepare; prepare_judges` sees to it";
    let output = Command::new(bin.join(program)).args(args).output().await.context(missing)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

async fn by_grafana(dashboards: Vec<PathBuf>) -> Result<(bool, String)> {
    let script = repository().join("integration/judges/dashboards.py");
    judge("python", &[vec![script], dashboards].concat()).await
}

async fn by_kubernetes(resources: &Path) -> Result<(bool, String)> {
    judge("kubernetes-validate", &["--strict".into(), resources.to_owned()]).await
}

#[tokio::test]
async fn grafana_knows_every_field_of_the_dashboards() -> Result<()> {
    let directory = repository().join("grafana/dashboards");
    let files = std::fs::read_dir(&directory)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    let count = files.len();
    let (content, said) = by_grafana(files).await?;
    ensure!(content && count > 3 && said.contains(&format!("{count} dashboards")), "{said}");

    // One fault of each kind: a field of the dashboard, of a panel's own, of a query; a type; a word; a kind of panel.
    let spoilt = TempDir::new()?;
    let file = spoilt.path().join("spoilt.json");
    let mut dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(directory.join("mupdate.json"))?)?;
    for (at, value) in [
        ("/refrsh", json!("10s")),
        ("/panels/0/fieldConfig/defaults/custom/lineWdth", json!(1)),
        ("/panels/1/targets/0/legendFormt", json!("x")),
        ("/graphTooltip", json!("one")),
        ("/panels/2/options/legend/displayMode", json!("lst")),
        ("/panels/3/type", json!("timserie")),
    ] {
        let (above, key) = at.rsplit_once('/').context("no path")?;
        let object = dashboard.pointer_mut(above).and_then(Value::as_object_mut).context(at)?;
        object.insert(key.to_owned(), value);
    }
    std::fs::write(&file, serde_json::to_vec(&dashboard)?)?;
    let (content, said) = by_grafana(vec![file]).await?;
    ensure!(!content, "{said}");
    for fault in ["refrsh", "lineWdth", "legendFormt", "graph_tooltip", "'lst'", "timserie"] {
        ensure!(said.contains(fault), "{fault} was not found:\n{said}");
    }
    Ok(())
}

async fn promtool(args: &[&str]) -> Result<String> {
    let output =
        Command::new(tool("promtool")?).args(args).current_dir(repository().join("grafana")).output();
    let output = output.await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {}: {said}", args.join(" "));
    Ok(said)
}

#[tokio::test]
async fn prometheus_takes_the_rules_and_they_fire_when_they_should() -> Result<()> {
    let said = promtool(&["check", "rules", "alerts.yaml"]).await?;
    ensure!(said.contains("SUCCESS"), "{said}");
    promtool(&["test", "rules", "alerts.test.yaml"]).await?;
    let readme = std::fs::read_to_string(repository().join("grafana/README.md"))?;
    let lines = readme.lines().skip_while(|line| *line != "    scrape_configs:");
    let config: String =
        lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    ensure!(config.contains("rule_files:"), "{config}");
    let home = TempDir::new()?;
    let file = home.path().join("prometheus.yml");
    std::fs::write(&file, config)?;
    promtool(&["check", "config", "--syntax-only", file.to_str().context("a path")?]).await.map(drop)
}

#[tokio::test]
async fn kubernetes_knows_every_field_of_the_resources() -> Result<()> {
    let file = repository().join("packaging/container/kubernetes.yaml");
    let (content, said) = by_kubernetes(&file).await?;
    ensure!(content && said.contains("statefulset/ravenry") && said.contains("service/ravenry"), "{said}");
    let spoilt = TempDir::new()?;
    let wrong = spoilt.path().join("kubernetes.yaml");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains("readinessProbe:"));
    std::fs::write(&wrong, text.replace("readinessProbe:", "readynessProbe:"))?;
    let (content, said) = by_kubernetes(&wrong).await?;
    ensure!(!content && said.contains("readynessProbe"), "{said}");
    Ok(())
}
