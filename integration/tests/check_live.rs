//! One wrong setting after the other: what `ravenry check --live` says of it, and its exit code.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::murder::{Murder, Node, Plan};
use ravenry_integration::ravenry::{Ravenry, Settings};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const UNAVAILABLE: i64 = 69;
const PROTOCOL: i64 = 76;
const NO_PERMISSION: i64 = 77;
const CONFIG: i64 = 78;

struct Live {
    murder: Murder,
    ravenry: Ravenry,
    good: String,
}

impl Live {
    async fn start() -> Result<Self> {
        let murder = Murder::start(Plan::chosen()?).await?;
        let listen = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let [fe1, fe2, be1] = [&murder.fe1, &murder.fe2, &murder.be1].map(Node::ip);
        let extra = format!(
            "[lmtp]\nlisten = [\"unix:{{home}}/lmtp\"]\nfrontends = [\"{fe1}:2003\"]\n\
             [imap]\nlisten = [\"127.0.0.1:0\"]\nfrontends = [\"{fe1}:143\", \"{fe2}:143\"]\nallow_plaintext = true\n\
             [backends]\nuser = \"cyrus\"\npassword_file = \"{{home}}/backend-password\"\n\
             [backends.addresses]\n\"be1.murder.test\" = \"{be1}:143\"\n"
        );
        let ravenry =
            Ravenry::prepare(Settings { listen, master: murder.mm.mupdate_address(), extra }).await?;
        std::fs::write(ravenry.home().join("backend-password"), "secret")?;
        let slaves = format!("[mupdate]\nfrontends = [\"{fe1}:3905\", \"{fe2}:3905\"]");
        let good = std::fs::read_to_string(ravenry.config_path())?.replace("[mupdate]", &slaves);
        ravenry.configure(&good)?;
        Ok(Self { murder, ravenry, good })
    }

    async fn check(&self) -> Result<(i64, Vec<Value>)> {
        let output = self.ravenry.cli(&["check", "--live", "--json"]).await?;
        let found: Vec<Value> =
            serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
        Ok((output.exit, found))
    }

    /// With one thing changed, one thing is wrong: of the key, with this exit code, and words that help.
    async fn wrong(&self, from: &str, to: &str, key: &str, exit: i64, told: &str) -> Result<()> {
        ensure!(self.good.contains(from), "{from:?} is not in\n{}", self.good);
        self.ravenry.configure(&self.good.replace(from, to))?;
        self.said(key, exit, told).await.with_context(|| format!("{from} → {to}"))?;
        self.ravenry.configure(&self.good)
    }

    async fn said(&self, key: &str, exit: i64, told: &str) -> Result<()> {
        let (code, found) = self.check().await?;
        let errors: Vec<&Value> = found.iter().filter(|found| found["verdict"] == "error").collect();
        ensure!(code == exit, "{code}: {errors:#?}");
        let said = errors.iter().find(|error| error["key"] == key).with_context(|| format!("{errors:#?}"))?;
        let advice = said["advice"].as_str().context("no advice")?;
        let text = said["text"].as_str().context("no text")?;
        ensure!(advice.contains(told) || text.contains(told), "{told:?} is not in {said:#}");
        Ok(())
    }

    async fn reconfigured(&self, node: &Node, lines: &str) -> Result<String> {
        let before = node.read("/etc/imapd.conf").await?;
        let keys: Vec<&str> = lines.lines().filter_map(|line| line.split(':').next()).collect();
        let kept = before.lines().filter(|line| !keys.iter().any(|key| line.starts_with(&format!("{key}:"))));
        let text = kept.chain(lines.lines()).collect::<Vec<_>>().join("\n") + "\n";
        self.restarted(node, &text).await?;
        Ok(before)
    }

    async fn restarted(&self, node: &Node, text: &str) -> Result<()> {
        node.write("/etc/imapd.conf", text).await?;
        node.stop_cyrus().await?;
        node.start_cyrus().await?;
        node.wait_until_up().await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_setting_is_found_and_told_with_what_to_do() -> Result<()> {
    let live = Live::start().await?;
    let (murder, fe1, be1) = (&live.murder, live.murder.fe1.ip(), live.murder.be1.ip());

    // All is well, and shown: clocks, whom the frontends follow, and that nothing is changed or remembered.
    let (code, found) = live.check().await?;
    ensure!(code == 0 && found.iter().all(|found| found["verdict"] == "ok"), "{found:#?}");
    let of = |key: &str| found.iter().filter(move |found| found["key"] == key).collect::<Vec<_>>();
    for key in ["backends.addresses", "lmtp.frontends"] {
        let ahead = of(key)[0]["clock_ahead"].as_i64().context("no clock")?;
        ensure!(ahead.abs() <= 2, "{key}: {ahead}");
    }
    let master = murder.mm.ip().to_string();
    ensure!(of("mupdate.frontends").len() == 2, "{found:#?}");
    for key in ["mupdate.frontends", "imap.frontends"] {
        ensure!(of(key)[0]["text"].as_str().is_some_and(|text| text.contains(&master)), "{found:#?}");
    }

    // The master.
    let address = format!("address = \"{}\"", murder.mm.mupdate_address());
    let at = |to: String| format!("address = \"{to}\"");
    live.wrong(&address, &at(format!("{fe1}:143")), "master.address", PROTOCOL, "right port").await?;
    live.wrong(&address, &at(format!("{fe1}:9")), "master.address", UNAVAILABLE, "Nothing listens").await?;
    live.wrong(&address, &at("nobody.invalid:3905".into()), "master.address", UNAVAILABLE, "resolved")
        .await?;
    live.wrong(&address, &at(format!("{fe1}:3905")), "master.address", CONFIG, "not a master").await?;
    let user = "user = \"murder\"";
    live.wrong(user, "user = \"alice\"", "master.address", NO_PERMISSION, "add alice to `admins`").await?;
    let password = "/master-password\"";
    std::fs::write(live.ravenry.home().join("wrong"), "wrong")?;
    live.wrong(password, "/wrong\"", "master.address", NO_PERMISSION, "password in master.password_file")
        .await?;
    let before = live.reconfigured(&murder.mm, "sasl_mech_list: DIGEST-MD5\n").await?;
    live.said("master.address", CONFIG, "Offer SCRAM-SHA-256 there").await?;
    live.restarted(&murder.mm, &before).await?;
    let authority = rcgen::generate_simple_self_signed(["mm.murder.test".to_owned()])?;
    std::fs::write(live.ravenry.home().join("ca.crt"), authority.cert.pem())?;
    let trusting = format!("{user}\ntls_ca_file = \"{}/ca.crt\"", live.ravenry.home().display());
    live.wrong(user, &trusting, "master.address", CONFIG, "no certificate").await?;

    // As the hosts of a replicated murder tell their master.
    let mut replicated = murder.mm.mupdate().await?;
    replicated.activate("user.somewhere", "default", "anyone\tlrs\t").await?.ok()?;
    live.said("master.address", CONFIG, "replicated").await?;
    replicated.delete("user.somewhere").await?.ok()?;

    // Deliveries, mail clients, backends.
    let lmtp = format!("frontends = [\"{fe1}:2003\"]");
    let to = |port: &str| format!("frontends = [\"{port}\"]");
    live.wrong(&lmtp, &to(&format!("{be1}:2003")), "lmtp.frontends", NO_PERMISSION, "lmtpd with `-a`")
        .await?;
    live.wrong(&lmtp, &to(&format!("{fe1}:143")), "lmtp.frontends", PROTOCOL, "right port").await?;
    let imap = format!("\"{fe1}:143\", ");
    live.wrong(&imap, &format!("\"{fe1}:2003\", "), "imap.frontends", PROTOCOL, "143 for IMAP").await?;
    let backend = "user = \"cyrus\"";
    live.wrong(backend, "user = \"bob\"", "backends.addresses", NO_PERMISSION, "Add bob to `admins`").await?;
    live.wrong("/backend-password\"", "/wrong\"", "backends.addresses", NO_PERMISSION, "not that of cyrus")
        .await?;
    let place = format!("\"{be1}:143\"\n");
    live.wrong(&place, &format!("\"{be1}:2003\"\n"), "backends.addresses", PROTOCOL, "right port").await?;
    let before = live.reconfigured(&murder.be1, "sasl_mech_list: DIGEST-MD5\nallowplaintext: no\n").await?;
    live.said("backends.addresses", CONFIG, "PLAIN in clear").await?;
    live.restarted(&murder.be1, &before).await?;

    // This host.
    let taken = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let held = TcpListener::bind(taken)?;
    let metrics = format!("listen = \"{}\"", live.ravenry.metrics());
    live.wrong(
        &metrics,
        &format!("listen = \"{taken}\""),
        "metrics.listen",
        UNAVAILABLE,
        "listens there already",
    )
    .await?;
    drop(held);

    certificates(&live).await?;
    live.ravenry.stop().await?;
    Agreement::begin(&live.murder).await?.reached_within(SOON).await?;
    live.murder.stop().await
}

/// A frontend under STARTTLS, with a certificate for another name, from a stranger, and run out; then one that is right.
async fn certificates(live: &Live) -> Result<()> {
    let (fe1, home) = (&live.murder.fe1, live.ravenry.home().display().to_string());
    let key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(format!("{home}/ca.crt"), authority.clone().self_signed(&key)?.pem())?;
    let issuer = rcgen::Issuer::new(authority, key);
    let stranger_key = rcgen::KeyPair::generate()?;
    let stranger = rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new())?, stranger_key);

    let here = fe1.ip().to_string();
    let params = |name: &str, year: i32| -> Result<rcgen::CertificateParams> {
        let mut params = rcgen::CertificateParams::new([name.to_owned()])?;
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        Ok(params)
    };
    let cases = [
        (params("other.murder.test", 2100)?, &issuer, Some("for another name")),
        (params(&here, 2100)?, &stranger, Some("an authority that is not")),
        (params(&here, 2020)?, &issuer, Some("has run out")),
        (params(&here, 2100)?, &issuer, None),
    ];
    let one = format!("\"{here}:143\", \"{}:143\"]", live.murder.fe2.ip());
    let under_tls =
        format!("\"{here}:143\"]\nfrontend_tls = \"starttls\"\nfrontend_ca_file = \"{home}/ca.crt\"");
    ensure!(live.good.contains(&one), "{}", live.good);
    live.ravenry.configure(&live.good.replace(&one, &under_tls))?;
    for (number, (params, issuer, told)) in cases.into_iter().enumerate() {
        let key = rcgen::KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        fe1.write("/etc/tls.crt", &certificate.pem()).await?;
        fe1.write("/etc/tls.key", &key.serialize_pem()).await?;
        if number == 0 {
            live.reconfigured(
                fe1,
                "tls_server_cert: /etc/tls.crt\ntls_server_key: /etc/tls.key\nallowstarttls: yes\n",
            )
            .await?;
        } else {
            fe1.stop_cyrus().await?;
            fe1.start_cyrus().await?;
            fe1.wait_until_up().await?;
        }
        match told {
            Some(told) => live.said("imap.frontends", CONFIG, told).await?,
            None => {
                let (code, found) = live.check().await?;
                ensure!(code == 0, "{found:#?}");
            }
        }
    }
    Ok(())
}
