//! What a scanner of TLS listeners asks, with OpenSSL as the client, of both ports: which versions and ciphers are taken,
//! renegotiation, compression, and who is shown which certificate.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::face::Face;
use ravenry_integration::identity::Authority;
use ravenry_integration::imap_stub::ImapStub;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

/// Who renegotiates learns of it when something is sent: here when the time to log in is over.
const LOGIN: &str = "login_timeout = \"3s\"";

/// Handshakes at a time.
const AT_ONCE: usize = 4;

/// Everything that OpenSSL can speak, however weak, of versions up to 1.2.
const ANYTHING: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";

/// A way in.
#[derive(Clone, Copy, Debug)]
enum Door {
    Starttls(SocketAddr),
    Tls(SocketAddr),
}

/// What is said to the server once it has shown something.
type Then = Option<(&'static str, &'static str)>;

async fn openssl(words: &[&str], then: Then) -> Result<(bool, String)> {
    within(PATIENCE, format!("openssl {words:?}"), async {
        let mut command = Command::new("openssl");
        command.args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("openssl cannot be run: `apt-get install openssl`")?;
        let mut stdin = child.stdin.take();
        let mut stdout = child.stdout.take().context("no way out")?;
        let mut out = Vec::new();
        if let (Some((shown, said)), Some(stdin)) = (then, &mut stdin) {
            while memchr::memmem::find(&out, shown.as_bytes()).is_none() {
                ensure!(stdout.read_buf(&mut out).await? > 0, "{}", String::from_utf8_lossy(&out));
            }
            stdin.write_all(said.as_bytes()).await?;
        } else {
            stdin = None;
        }
        // With something to say it stays until the server hangs up.
        stdout.read_to_end(&mut out).await?;
        let output = child.wait_with_output().await?;
        drop(stdin);
        let [out, err] = [out, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok((output.status.success(), out + &err))
    })
    .await
}

/// A handshake, and what came of it.
async fn handshake(door: Door, words: &[&str], then: Then) -> Result<(bool, String)> {
    let address = match door {
        Door::Starttls(address) | Door::Tls(address) => address.to_string(),
    };
    let starttls: &[&str] = if matches!(door, Door::Starttls(_)) { &["-starttls", "imap"] } else { &[] };
    openssl(&[&["s_client", "-connect", &address], starttls, words].concat(), then).await
}

/// Of these ciphers, those with which a handshake comes to its end.
async fn taken(
    door: Door,
    version: &'static str,
    option: &'static str,
    known: &str,
) -> Result<BTreeSet<String>> {
    let handshakes = known.trim().split(':').map(async |cipher| {
        let only = if option == "-cipher" { format!("{cipher}:@SECLEVEL=0") } else { cipher.to_owned() };
        let (done, said) = handshake(door, &[version, option, &only, "-brief"], None).await?;
        let agreed = said.contains(&format!("Ciphersuite: {cipher}\n"));
        ensure!(agreed || !done, "{cipher}: {said}");
        anyhow::Ok(agreed.then(|| cipher.to_owned()))
    });
    let outcomes: Vec<_> = futures_util::stream::iter(handshakes).buffered(AT_ONCE).collect().await;
    Ok(outcomes.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_of_tls_finds_nothing_at_either_port() -> Result<()> {
    let authority = Authority::new()?;
    let face = Face::for_localhost(&authority, LOGIN).await?;
    let trusted = authority.certificate();
    let trusted = trusted.to_str().context("a path")?;
    let (_, known) = openssl(&["ciphers", "-tls1_2", ANYTHING], None).await?;
    ensure!(known.split(':').count() > 100, "{known}");
    for door in [Door::Starttls(face.clear), Door::Tls(face.tls)] {
        // Old versions are refused, by the server: OpenSSL itself would speak them.
        for version in ["-tls1", "-tls1_1"] {
            let (done, said) = handshake(door, &[version, "-cipher", ANYTHING, "-brief"], None).await?;
            ensure!(!done && said.contains("SSL alert number"), "{door:?} {version}: {said}");
        }
        // Forward secrecy and AEAD, and nothing else.
        let ciphers = taken(door, "-tls1_2", "-cipher", &known).await?;
        println!("{door:?}: {ciphers:?}");
        let good = |cipher: &String| {
            cipher.starts_with("ECDHE-") && (cipher.contains("-GCM-") || cipher.contains("-CHACHA20-"))
        };
        ensure!(!ciphers.is_empty() && ciphers.iter().all(good), "{ciphers:?}");
        let suites = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:\
                      TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256";
        let suites = taken(door, "-tls1_3", "-ciphersuites", suites).await?;
        ensure!(suites.len() == 3 && suites.iter().all(|suite| !suite.contains("CCM")), "{suites:?}");
        // Renegotiation is refused, and would be a secure one; nothing is compressed.
        // OpenSSL gives up its own renegotiation when a greeting comes in between: it is to be there already.
        let shown = if matches!(door, Door::Tls(_)) { "* OK" } else { "Extended master secret" };
        let (_, said) = handshake(door, &["-tls1_2"], Some((shown, "R\n"))).await?;
        ensure!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{door:?}: {said}");
        ensure!(said.contains("Secure Renegotiation IS supported"), "{said}");
        ensure!(said.contains("Compression: NONE"), "{said}");
        // Whatever name is asked for, the certificate is the one there is; who checks it against another name is told.
        for name in
            [&["-servername", "localhost"][..], &["-servername", "elsewhere.test"], &["-noservername"]]
        {
            let checks = ["-CAfile", trusted, "-verify_return_error", "-brief", "-verify_hostname"];
            let (done, said) = handshake(door, &[name, &checks, &["localhost"]].concat(), None).await?;
            ensure!(done && said.contains("Verification: OK"), "{name:?}: {said}");
            let (done, said) = handshake(door, &[name, &checks, &["elsewhere.test"]].concat(), None).await?;
            ensure!(!done && said.contains("hostname mismatch"), "{name:?}: {said}");
        }
        let checks = ["-verify_return_error", "-brief", "-no-CAfile", "-no-CApath", "-no-CAstore"];
        let (done, said) = handshake(door, &checks, None).await?;
        ensure!(!done && said.contains("verify"), "{said}");
    }
    face.open().await?.run("NOOP").await?.ok()?;
    face.ravenry.stop().await
}

/// A certificate is renewed while people read their mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_who_comes_and_nobody_is_disturbed() -> Result<()> {
    let authority = Authority::new()?;
    let identity = authority.issue(&["localhost"])?;
    let face = Face::start(ImapStub::start()?, &identity, None, "").await?;
    let trusted = authority.certificate();
    let trusted = trusted.to_str().context("a path")?;
    let shows = async |door, name: &'static str| {
        let checks = ["-CAfile", trusted, "-verify_return_error", "-brief", "-verify_hostname", name];
        Ok(handshake(door, &checks, None).await?.0.then_some(()))
    };
    let mut reader = face.open().await?;
    let renewed = authority.issue(&["renewed.test"])?;
    std::fs::copy(&renewed.certificate, &identity.certificate)?;
    std::fs::copy(&renewed.key, &identity.key)?;
    for door in [Door::Starttls(face.clear), Door::Tls(face.tls)] {
        ensure!(shows(door, "localhost").await?.is_some(), "{door:?}: before it is told to");
    }
    face.ravenry.signal("HUP").await?;
    for door in [Door::Starttls(face.clear), Door::Tls(face.tls)] {
        eventually(PATIENCE, format!("{door:?} showing the new one"), async || {
            shows(door, "renewed.test").await
        })
        .await?;
        ensure!(shows(door, "localhost").await?.is_none(), "{door:?}");
    }
    reader.run("NOOP").await?.ok()?;
    face.ravenry.stop().await
}
