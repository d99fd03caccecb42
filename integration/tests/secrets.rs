//! No secret is shown: not by the log at its most talkative, not by a command, a page or a metric, not to whoever
//! connects, not in what is kept on disk, not in a core dump. A process with every kind of secret, and servers that take
//! none of them at first, so that it has every reason to speak of them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ravenry_integration::deadline::within;
use ravenry_integration::identity::Authority;
use ravenry_integration::monitors;
use ravenry_integration::ravenry::{Ravenry, Settings, free_port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PATIENCE: Duration = Duration::from_secs(20);

/// Who has said nothing for so long has nothing more to say: each of three wrong passwords waits three seconds, and what is
/// sent in one piece is answered in one.
const QUIET: Duration = Duration::from_secs(20);

/// Of every secret: no other word here holds it.
const MARK: &str = "Zq7xKw9p";

/// Ravenry's own, which it says to others.
const TO_MASTER: &str = "Zq7xKw9p-to-the-master";
const TO_MASTER_WRONG: &str = "Zq7xKw9p-to-the-master-but-wrong";
const TO_FRONTENDS: &str = "Zq7xKw9p-to-the-frontends";
const TO_BACKENDS: &str = "Zq7xKw9p-to-the-backends";
const TO_SUBMISSION: &str = "Zq7xKw9p-to-the-submission-host";
/// What others say to it.
const OF_BACKEND: &str = "Zq7xKw9p-of-a-backend";
const OF_MTA: &str = "Zq7xKw9p-of-an-MTA";
const OF_ALICE: &str = "Zq7xKw9p-of-alice";
const GUESSED: &str = "Zq7xKw9p-guessed";

/// A server that says one thing first, and to every line what it has to say to it.
async fn server(greeting: &'static str, answer: fn(&mut String, &str) -> String) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                write.write_all(greeting.as_bytes()).await?;
                let (mut lines, mut kept) = (BufReader::new(read).lines(), String::new());
                while let Some(line) = lines.next_line().await? {
                    write.write_all(answer(&mut kept, &line).as_bytes()).await?;
                }
                anyhow::Ok(())
            });
        }
    });
    Ok(address)
}

/// A master of one mailbox, for whom one password is right.
fn master(kept: &mut String, line: &str) -> String {
    let Some(line) = whole(kept, line) else { return String::new() };
    let words: Vec<&str> = line.split(' ').collect();
    let tag = words.first().copied().unwrap_or("*");
    match words.get(1).copied() {
        Some("AUTHENTICATE") if decoded(words.last().copied().unwrap_or_default()).ends_with(TO_MASTER) => {
            format!("{tag} OK \"Authenticated\"\r\n")
        }
        Some("AUTHENTICATE") => format!("{tag} NO \"authentication failure\"\r\n"),
        Some("UPDATE") => {
            let mailbox = "\"user.alice\" \"be1.test!default\" \"alice\tlrswipkxtecda\t\"";
            format!("{tag} MAILBOX {mailbox}\r\n{tag} OK \"streaming starts\"\r\n")
        }
        _ => format!("{tag} OK \"done\"\r\n"),
    }
}

/// A command with what its literals hold, once it is whole.
fn whole(kept: &mut String, line: &str) -> Option<String> {
    kept.push_str(line);
    if line.ends_with("+}") {
        kept.push(' ');
        return None;
    }
    Some(std::mem::take(kept))
}

/// What a word holds, quoted or not.
fn decoded(base64: &str) -> String {
    String::from_utf8_lossy(&BASE64_STANDARD.decode(base64.trim_matches('"')).unwrap_or_default())
        .into_owned()
}

/// A frontend or backend that lets only alice in.
fn imap(kept: &mut String, line: &str) -> String {
    let Some(line) = whole(kept, line) else { return String::new() };
    let mut words = line.split(' ');
    let (tag, verb) = (words.next().unwrap_or("*"), words.next().unwrap_or_default());
    let alice =
        line.contains(OF_ALICE) || words.next_back().is_some_and(|last| decoded(last).ends_with(OF_ALICE));
    match verb {
        "LOGIN" | "AUTHENTICATE" if alice => format!("{tag} OK [CAPABILITY IMAP4rev1] welcome\r\n"),
        "LOGIN" | "AUTHENTICATE" => format!("{tag} NO [AUTHENTICATIONFAILED] Authentication failed\r\n"),
        _ => format!("* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN\r\n{tag} OK done\r\n"),
    }
}

/// LMTP and SMTP, without a login for anybody.
fn mail(_: &mut String, line: &str) -> String {
    match line.get(..4) {
        Some("LHLO" | "EHLO") => "250-host\r\n250-AUTH PLAIN\r\n250 ENHANCEDSTATUSCODES\r\n".into(),
        Some("AUTH") => "535 5.7.8 authentication failed\r\n".into(),
        _ => "250 2.0.0 ok\r\n".into(),
    }
}

struct Secretive {
    ravenry: Ravenry,
    authority: Authority,
    imap: SocketAddr,
    imaps: SocketAddr,
    lmtp: SocketAddr,
    key: String,
}

impl Secretive {
    async fn prepare() -> Result<Self> {
        let master = server(
            "* AUTH \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n* OK MUPDATE \"mm\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n",
            master,
        )
        .await?;
        let frontend = server("* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN] fe\r\n", imap).await?;
        let post = server("220 host\r\n", mail).await?;
        let [imap, imaps, lmtp] = [free_port()?, free_port()?, free_port()?];
        let authority = Authority::new()?;
        let identity = authority.issue(&["localhost", "127.0.0.1"])?;
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        let extra = format!(
            "[lmtp]\nlisten = [\"{lmtp}\"]\nfrontends = [\"{post}\"]\nusers_file = \"{{home}}/lmtp-users\"\n\
             allow_plaintext = true\ntrusted = []\n\
             [lmtp.upstream]\nuser = \"murder\"\npassword_file = \"{{home}}/to-frontends\"\n\
             [spool]\nsubmission = \"{post}\"\nsubmission_user = \"ravenry\"\n\
             submission_password_file = \"{{home}}/to-submission\"\n\
             [imap]\nlisten = [\"{imap}\"]\nlisten_tls = [\"{imaps}\"]\nfrontends = [\"{frontend}\"]\n\
             certificate = \"{certificate}\"\nkey = \"{key}\"\nallow_plaintext = true\n\
             [backends]\nuser = \"cyrus\"\npassword_file = \"{{home}}/to-backends\"\n\
             [backends.addresses]\n\"be1.test\" = \"{frontend}\"\n"
        );
        let ravenry = Ravenry::prepare(Settings { listen: free_port()?, master, extra }).await?;
        let home = ravenry.home().to_owned();
        for (file, secret) in
            [("to-frontends", TO_FRONTENDS), ("to-backends", TO_BACKENDS), ("to-submission", TO_SUBMISSION)]
        {
            std::fs::write(home.join(file), secret)?;
        }
        std::fs::write(home.join("master-password"), TO_MASTER_WRONG)?;
        ravenry.edit("[mupdate]\n", "[mupdate]\nfailed_login_delay = \"100ms\"\nfrontends = []\n")?;
        let key = std::fs::read_to_string(&identity.key)?;
        Ok(Self { ravenry, authority, imap, imaps, lmtp, key })
    }

    /// A command of the command line with something to read; what it says.
    async fn told(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.ravenry.command()?;
        command.env("RAVENRY_LOG", "trace").args(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // A command that reads no input may have ended by now.
        let _ = child.stdin.take().context("no input")?.write_all(input.as_bytes()).await;
        let output =
            within(3 * PATIENCE, args.join(" "), async { Ok(child.wait_with_output().await?) }).await?;
        let said = [output.stdout, output.stderr].concat();
        Ok(format!("$ ravenry {}\n{}\n", args.join(" "), String::from_utf8_lossy(&said)))
    }

    /// Everything that it can be asked.
    async fn asked(&self) -> Result<String> {
        let mut said = String::new();
        for command in [
            "check",
            "check --live",
            "check --live --json",
            "status",
            "status --json",
            "plan",
            "list",
            "conflicts",
            "history user.alice",
            "audit",
            "queue list",
            "reload",
            "stand-in",
            "follow",
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            said += &self.told(&words, "").await?;
        }
        for page in ["/metrics", "/status.json", "/", "/healthz", "/readyz", "/nowhere"] {
            said += &monitors::get(self.ravenry.metrics(), page).await?.1;
        }
        Ok(said)
    }

    /// Configurations that are wrong where secrets are.
    async fn misconfigured(&self) -> Result<String> {
        let good = std::fs::read_to_string(self.ravenry.config_path())?;
        let users = self.ravenry.home().join("users");
        let good_users = std::fs::read_to_string(&users)?;
        let mut said = String::new();
        for wrong in [
            good.replace(
                "user = \"murder\"\npassword_file",
                &format!("password = \"{GUESSED}\"\npassword_file"),
            ),
            good.replace("user = \"cyrus\"", &format!("user = \"cyrus\"\npassword = \"{GUESSED}\" oops")),
            good.replace("[imap]", &format!("secret {GUESSED}\n[imap]")),
        ] {
            ensure!(wrong != good);
            self.ravenry.configure(&wrong)?;
            said += &self.told(&["check"], "").await?;
        }
        self.ravenry.configure(&good)?;
        for (what, with) in
            [("stored_key = \"", "stored_key = "), ("[user", "[[user"), ("iterations = ", "iterations = x")]
        {
            let wrong = good_users.replacen(what, with, 1);
            ensure!(wrong != good_users, "{what:?} is not in\n{good_users}");
            std::fs::write(&users, wrong)?;
            said += &self.told(&["check"], "").await?;
            said += &self.told(&["reload"], "").await?;
            said += &self.told(&["user", "add", "another"], GUESSED).await?;
        }
        std::fs::write(&users, good_users)?;
        said += &self.told(&["user", "add", "a,b"], GUESSED).await?;
        said += &self.told(&["user", "add", "empty"], "").await?;
        Ok(said)
    }

    /// Whoever connects, rightly and wrongly, and what is answered.
    async fn spoken(&self) -> Result<String> {
        let plain = |user: &str, password: &str| BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        let mut said = String::new();
        for (user, password) in [("backend", OF_BACKEND), ("backend", GUESSED), ("nobody", GUESSED)] {
            let response = plain(user, password);
            let stream = || TcpStream::connect(self.ravenry.address());
            let length = response.len();
            let text = format!("A1 AUTHENTICATE \"PLAIN\" {{{length}+}}\r\n{response}\r\nA2 LOGOUT\r\n");
            said += &spoken(stream().await?, &text).await?;
            said += &spoken(
                stream().await?,
                &format!("A1 AUTHENTICATE \"PLAIN\" \"{password}\"\r\nQ LOGOUT\r\n"),
            )
            .await?;
            said += &spoken(
                stream().await?,
                &format!("A1 LOGIN {user} {password}\r\n{password}\r\nQ LOGOUT\r\n"),
            )
            .await?;
        }
        for (user, password) in [("mta", OF_MTA), ("mta", GUESSED)] {
            let stream = TcpStream::connect(self.lmtp).await?;
            let response = plain(user, password);
            let text = format!(
                "LHLO x\r\nAUTH PLAIN {response}\r\nAUTH PLAIN {password}\r\nAUTH {password}\r\n\
                 MAIL FROM:<bob@example.org>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
            );
            said += &spoken(stream, &text).await?;
        }
        for password in [OF_ALICE, GUESSED] {
            let response = plain("alice", password);
            let length = password.len();
            for text in [
                format!("a LOGIN alice {password}\r\nz LOGOUT\r\n"),
                format!("a LOGIN alice {{{length}+}}\r\n{password}\r\nz LOGOUT\r\n"),
                format!("a AUTHENTICATE PLAIN {response}\r\nz LOGOUT\r\n"),
                format!("a AUTHENTICATE {password}\r\nb LOGIN {password}\r\nz LOGOUT\r\n"),
            ] {
                said += &spoken(TcpStream::connect(self.imap).await?, &text).await?;
                said += &spoken(self.tls().await?, &text).await?;
            }
        }
        Ok(said)
    }

    async fn tls(&self) -> Result<impl AsyncRead + AsyncWrite + Unpin> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.certificate())?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(self.imaps).await?;
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?)
    }

    /// What nobody may find in what it shows: the passwords in clear and inside of base64, the verifiers, the key.
    fn secrets(&self) -> Result<Vec<String>> {
        let mut all = vec![MARK.to_owned()];
        for ahead in 0..3 {
            // Three places where it can begin in base64, without what its neighbours have a part in.
            let base64 = BASE64_STANDARD.encode([vec![0; ahead], MARK.into()].concat());
            all.push(base64.chars().skip(ahead + usize::from(ahead > 0)).take(9).collect());
        }
        for file in ["users", "lmtp-users"] {
            let text = std::fs::read_to_string(self.ravenry.home().join(file))?;
            let keys = text.lines().filter(|line| line.contains("key"));
            let verifiers = keys.filter_map(|line| line.split('"').nth(1));
            all.extend(verifiers.map(|verifier| verifier.chars().take(12).collect()));
        }
        all.extend(self.key.lines().filter(|line| !line.contains("---")).map(str::to_owned));
        ensure!(all.len() > 10, "{all:?}");
        Ok(all)
    }

    fn shows_none(&self, what: &str, text: &str) -> Result<()> {
        for secret in self.secrets()? {
            let line = text.lines().find(|line| line.contains(&secret));
            ensure!(line.is_none(), "{what} shows {secret}: {}", line.unwrap_or_default());
        }
        Ok(())
    }
}

/// Says it all, and hears all until the other side hangs up or has nothing more to say.
async fn spoken(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut heard = Vec::new();
    let mut part = [0; 4096];
    while let Ok(Ok(length)) = tokio::time::timeout(QUIET, stream.read(&mut part)).await {
        let Some(part) = part.get(..length).filter(|part| !part.is_empty()) else { break };
        heard.extend_from_slice(part);
    }
    ensure!(!heard.is_empty(), "no answer");
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

/// Every file below, with its mode.
fn files(directory: &Path) -> Result<Vec<(std::path::PathBuf, u32)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let data = path.symlink_metadata()?;
        all.push((path.clone(), data.permissions().mode() & 0o777));
        if data.is_dir() {
            all.extend(files(&path)?);
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_answer_page_file_or_core() -> Result<()> {
    // As where cores are kept: it is the process that has none made.
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: maximum, maximum })?;
    let mut stage = Secretive::prepare().await?;
    stage.ravenry.set_environment([("RAVENRY_LOG".to_owned(), "trace".to_owned())]);
    let mut said = stage.told(&["user", "add", "backend"], OF_BACKEND).await?;
    said += &stage.told(&["user", "add", "--lmtp", "mta"], OF_MTA).await?;

    // The master refuses the password, and later takes another.
    stage.ravenry.launch().await?;
    let refused = |status: &serde_json::Value| status["master"]["last_error"].is_string();
    stage.ravenry.wait_for(PATIENCE, "the master's refusal", refused).await?;
    said += &stage.asked().await?;
    stage.ravenry.kill().await?;
    std::fs::write(stage.ravenry.home().join("master-password"), TO_MASTER)?;
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("following", PATIENCE).await?;
    let heard = stage.spoken().await?;
    ensure!(
        heard.contains("A1 OK") && heard.contains("235 ") && heard.contains("a OK"),
        "not let in: {heard}"
    );
    ensure!(
        heard.contains("A1 NO") && heard.contains("535 ") && heard.contains("a NO"),
        "not kept out: {heard}"
    );
    said += &heard;
    said += &stage.asked().await?;
    said += &stage.misconfigured().await?;
    stage.shows_none("what was said", &said)?;
    let log = stage.ravenry.log()?;
    ensure!(log.contains("TRACE"), "the log is not at its most talkative");
    stage.shows_none("the log", &log)?;

    let state = files(&stage.ravenry.home().join("state"))?;
    ensure!(state.iter().any(|(path, _)| path.ends_with("list.redb")), "{state:?}");
    ensure!(state.iter().any(|(path, _)| path.extension().is_some_and(|end| end == "seg")), "{state:?}");
    for (path, mode) in &state {
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", path.display());
        if path.is_file() {
            stage.shows_none(&path.display().to_string(), &String::from_utf8_lossy(&std::fs::read(path)?))?;
        }
    }
    let mode =
        |file: &str| anyhow::Ok(stage.ravenry.home().join(file).metadata()?.permissions().mode() & 0o777);
    ensure!(mode("users")? == 0o600 && mode("lmtp-users")? == 0o600, "users files are for their owner");
    ensure!(mode("admin.sock")? == 0o660, "orders are for owner and group");

    stage.ravenry.signal("ABRT").await?;
    let ended = stage.ravenry.ended().await?;
    ensure!(ended.signal() == Some(6) && !ended.core_dumped(), "{ended:?}");
    stage.ravenry.stop().await
}
