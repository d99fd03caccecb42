//! Real mail clients through Ravenry, under TLS, while the mupdate master is there, gone, and back: what they read and
//! write is what a direct connection to a frontend shows.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::deadline::within;
use ravenry_integration::identity::Authority;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::stage::Stage;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);

/// What the programs need to know.
struct Desk {
    directory: TempDir,
    authority: Authority,
    tls: SocketAddr,
    clear: SocketAddr,
}

impl Desk {
    fn new() -> Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (directory, authority) = (TempDir::with_prefix("ravenry-clients-")?, Authority::new()?);
        Ok(Self { directory, authority, tls: free()?, clear: free()? })
    }

    fn config(&self) -> Result<String> {
        let identity = self.authority.issue(&["localhost", "127.0.0.1"])?;
        Ok(format!(
            "[imap]\nlisten = [\"{}\", \"{{gateway}}:1143\"]\nlisten_tls = [\"{}\"]\n\
             frontends = [\"{{fe1}}:143\", \"{{fe2}}:143\"]\ncertificate = {:?}\nkey = {:?}\n\
             allow_plaintext = true\ncheck_every = \"500ms\"\n",
            self.clear, self.tls, identity.certificate, identity.key
        ))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// curl, under TLS; `path` is what follows the host in the URL.
    async fn curl(&self, path: &str, extra: &[&str]) -> Result<String> {
        let url = format!("imaps://localhost:{}/{path}", self.tls.port());
        let authority = self.authority.certificate();
        let mut words =
            vec!["-sS", "--max-time", "30", "--cacert", text(&authority)?, "-u", "alice:secret", &url];
        words.extend_from_slice(extra);
        program("curl", &words, "").await
    }

    /// curl, with STARTTLS.
    async fn curl_starttls(&self, path: &str) -> Result<String> {
        let url = format!("imap://localhost:{}/{path}", self.clear.port());
        let authority = self.authority.certificate();
        let words = [
            "-sS",
            "--max-time",
            "30",
            "--ssl-reqd",
            "--cacert",
            text(&authority)?,
            "-u",
            "alice:secret",
            &url,
        ];
        program("curl", &words, "").await
    }

    /// Python's imaplib.
    async fn imaplib(&self, script: &str) -> Result<String> {
        let start = format!(
            "import imaplib, ssl\ntls = ssl.create_default_context(cafile={:?})\n\
             box = imaplib.IMAP4_SSL('localhost', {}, ssl_context=tls)\nbox.login('alice', 'secret')\n",
            self.authority.certificate(),
            self.tls.port()
        );
        program("python3", &["-c", &format!("{start}{script}\nbox.logout()\n")], "").await
    }

    /// isync: everything here and there in step.
    async fn mbsync(&self) -> Result<()> {
        let mail = self.path().join("mail");
        std::fs::create_dir_all(&mail)?;
        let config = format!(
            "IMAPAccount a\nHost localhost\nPort {}\nUser alice\nPass secret\nSSLType IMAPS\nCertificateFile {}\n\
             AuthMechs PLAIN\n\nIMAPStore far\nAccount a\nPath INBOX.\n\nMaildirStore near\nPath {mail}/\nInbox {mail}/INBOX\n\
             SubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns * INBOX\nCreate Both\nSync All\n\
             SyncState *\n",
            self.tls.port(),
            self.authority.certificate().display(),
            mail = mail.display(),
        );
        let file = self.path().join("mbsyncrc");
        std::fs::write(&file, config)?;
        program("mbsync", &["-q", "-c", text(&file)?, "-a"], "").await.map(drop)
    }

    /// OfflineIMAP: everything here and there in step, once more and on its own.
    async fn offlineimap(&self) -> Result<()> {
        let config = format!(
            "[general]\naccounts = a\nmetadata = {here}/offline-state\n\n[Account a]\nlocalrepository = near\n\
             remoterepository = far\n\n[Repository near]\ntype = Maildir\nlocalfolders = {here}/offline\n\n\
             [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {}\nssl = yes\n\
             sslcacertfile = {}\nremoteuser = alice\nremotepass = secret\nauth_mechanisms = PLAIN\n",
            self.tls.port(),
            self.authority.certificate().display(),
            here = self.path().display(),
        );
        let file = self.path().join("offlineimaprc");
        std::fs::write(&file, config)?;
        program("offlineimap", &["-o", "-u", "quiet", "-c", text(&file)?], "").await.map(drop)
    }

    /// The subjects of what mbsync holds of a folder.
    fn synced(&self, folder: &str) -> Result<BTreeSet<String>> {
        subjects(&self.path().join("mail").join(folder))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// The subjects of what a maildir holds.
fn subjects(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for part in ["cur", "new"] {
        for file in std::fs::read_dir(folder.join(part))? {
            found.extend(subject(&std::fs::read_to_string(file?.path())?));
        }
    }
    Ok(found)
}

fn subject(message: &str) -> Option<String> {
    message.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned)
}

async fn program(name: &str, words: &[&str], input: &str) -> Result<String> {
    within(PATIENCE, format!("{name} {words:?}"), async {
        let mut command = Command::new(name);
        command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be run"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}\n{out}\n{err}", output.status);
        Ok(out.into_owned())
    })
    .await
}

/// imtest and cyradm come with Cyrus: they run on a node, and find Ravenry at the gateway.
async fn on_a_node(murder: &Murder, script: &str) -> Result<String> {
    Ok(murder.be1.exec_root(&["sh", "-c", script]).await?.success()?.stdout)
}

fn message(subject: &str) -> String {
    format!(
        "From: a@example.org\r\nTo: alice@example.org\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.org>\r\n\
         Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\nThe body of {subject}, {{5}}\r\n* BYE\r\n"
    )
}

/// Everybody at work once. The folder and the subjects are named after the hour.
async fn a_round(desk: &Desk, stage: &Stage, hour: &str) -> Result<()> {
    let murder = &stage.murder;
    let gateway = murder.gateway();
    // curl makes a folder and files a message; imaplib finds it there byte for byte.
    desk.curl("", &["-X", &format!("CREATE INBOX.curl-{hour}")]).await?;
    let file = desk.path().join("message");
    std::fs::write(&file, message(&format!("curl-{hour}")))?;
    desk.curl(&format!("INBOX.curl-{hour}"), &["-T", text(&file)?]).await?;
    let found = desk
        .imaplib(&format!(
            "box.select('INBOX.curl-{hour}')\nimport sys\n\
             sys.stdout.buffer.write(box.fetch('1', '(BODY.PEEK[])')[1][0][1])"
        ))
        .await?;
    ensure!(found == message(&format!("curl-{hour}")), "{found:?}");
    // imaplib makes another, with a message, a rename, an ACL, a search, and waits in IDLE for nothing.
    let subject = format!("imaplib-{hour}");
    desk.imaplib(&format!(
        "def ok(answer):\n    assert answer[0] == 'OK', answer\n    return answer[1]\n\
         ok(box.create('INBOX.draft-{hour}'))\nok(box.rename('INBOX.draft-{hour}', 'INBOX.py-{hour}'))\n\
         ok(box.setacl('INBOX.py-{hour}', 'bob', 'lrs'))\n\
         ok(box.append('INBOX.py-{hour}', '(\\\\Seen)', None, {:?}.encode()))\nok(box.select('INBOX.py-{hour}'))\n\
         assert ok(box.search(None, 'SUBJECT', '{subject}')) == [b'1']\nok(box.create('INBOX.gone'))\n\
         ok(box.delete('INBOX.gone'))",
        message(&subject)
    ))
    .await?;
    // isync has it all, and brings up what was made here.
    desk.mbsync().await?;
    ensure!(desk.synced(&format!("curl-{hour}"))? == BTreeSet::from([format!("curl-{hour}")]));
    ensure!(desk.synced(&format!("py-{hour}"))? == BTreeSet::from([subject]));
    let here = desk.path().join("mail").join(format!("mbsync-{hour}"));
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(here.join(part))?;
    }
    let from_here = format!("mbsync-{hour}");
    std::fs::write(here.join("new").join("1.1.host"), message(&from_here).replace("\r\n", "\n"))?;
    desk.mbsync().await?;
    let told = desk.curl_starttls(&format!("INBOX.{from_here};UID=1")).await?;
    ensure!(told.contains(&format!("The body of {from_here}")), "{told:?}");
    // OfflineIMAP takes all of that too, and brings up what was made here.
    desk.offlineimap().await?;
    let offline = |folder: &str| desk.path().join("offline").join(format!("INBOX.{folder}"));
    for folder in [format!("curl-{hour}"), format!("py-{hour}"), from_here] {
        ensure!(subjects(&offline(&folder))? == desk.synced(&folder)?, "{folder}");
    }
    let from_there = format!("offline-{hour}");
    std::fs::write(
        offline(&format!("curl-{hour}")).join("new").join("2.1.host"),
        message(&from_there).replace("\r\n", "\n"),
    )?;
    desk.offlineimap().await?;
    let told = desk.curl(&format!("INBOX.curl-{hour};UID=2"), &[]).await?;
    ensure!(told.contains(&format!("The body of {from_there}")), "{told:?}");
    // Cyrus's own programs.
    let imtest = format!(
        "printf '. CREATE INBOX.imtest-{hour}\\r\\n. LOGOUT\\r\\n' | \
         imtest -t '' -m plain -u alice -a alice -w secret -p 1143 {gateway}"
    );
    let said = on_a_node(murder, &imtest).await?;
    ensure!(said.contains("\n. OK") && said.contains("TLS connection established"), "{said}");
    let cyradm = format!(
        "printf 'createmailbox user.u00{hour} be2.murder.test!default\\nlistmailbox user.u00{hour}\\nquit\\n' | \
         cyradm --user cyrus --password secret --auth PLAIN --port 1143 {gateway}"
    );
    let said = on_a_node(murder, &cyradm).await?;
    ensure!(said.contains(&format!("user.u00{hour}")), "{said}");
    same_as_direct(desk, stage).await
}

/// Every message of every folder, through Ravenry and at the frontend itself.
async fn same_as_direct(desk: &Desk, stage: &Stage) -> Result<()> {
    let read = |connect: String| {
        format!(
            "import imaplib, ssl, hashlib\n{connect}\nbox.login('alice', 'secret')\n\
             for line in sorted(box.list()[1]):\n    name = line.split(b'\"')[-2] if line.endswith(b'\"') else line.split()[-1]\n\
             \x20   box.select(b'\"' + name + b'\"', readonly=True)\n    uids = box.uid('search', None, 'ALL')[1][0].split()\n\
             \x20   for uid in uids:\n        data = box.uid('fetch', uid, '(FLAGS INTERNALDATE BODY.PEEK[])')[1]\n\
             \x20       print(name, uid, hashlib.sha256(repr(data).encode()).hexdigest())\nbox.logout()\n"
        )
    };
    let through = format!(
        "tls = ssl.create_default_context(cafile={:?})\nbox = imaplib.IMAP4_SSL('localhost', {}, ssl_context=tls)",
        desk.authority.certificate(),
        desk.tls.port()
    );
    let through = program("python3", &["-c", &read(through)], "").await?;
    for frontend in stage.murder.frontends() {
        let direct = format!("box = imaplib.IMAP4({:?})", frontend.ip().to_string());
        let direct = program("python3", &["-c", &read(direct)], "").await?;
        ensure!(direct == through, "{}:\n{direct}\nthrough Ravenry:\n{through}", frontend.name());
    }
    ensure!(through.lines().count() >= 3, "{through}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_clients_work_under_tls_whatever_the_master_does() -> Result<()> {
    let desk = Desk::new()?;
    let stage = Stage::start(Plan::chosen()?, &desk.config()?).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut agreement = stage.agreement().await?;

    a_round(&desk, &stage, "1").await.context("with a master")?;
    murder.mm.stop_cyrus().await?;
    a_round(&desk, &stage, "2").await.context("without a master")?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", Duration::from_secs(25)).await?;
    agreement.master_was_restarted().await?;
    a_round(&desk, &stage, "3").await.context("with the master back")?;
    agreement.reached_within(SOON).await?;
    stage.stop().await
}
