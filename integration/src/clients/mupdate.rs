//! MUPDATE, raw: what Cyrus's own clients and slaves send, and whatever else a story wants to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::{PASSWORD, Wire};
use crate::frames::words;
use crate::murder::Entry;
use crate::transcript::Transcript;

/// One line from the server, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The tag, or `*`.
    pub tag: String,
    /// OK, NO, BAD, BYE, MAILBOX, RESERVE, DELETE, AUTH …
    pub keyword: String,
    /// The strings after it.
    pub args: Vec<Bytes>,
}

impl Line {
    /// Takes a frame apart.
    pub fn parse(frame: &[u8]) -> Self {
        let mut words = words(frame).into_iter();
        let mut word =
            || words.next().map(|word| String::from_utf8_lossy(&word).into_owned()).unwrap_or_default();
        let (tag, keyword) = (word(), word().to_ascii_uppercase());
        Self { tag, keyword, args: words.collect() }
    }

    /// An argument as text; empty when there is none.
    pub fn arg(&self, index: usize) -> String {
        self.args.get(index).map(|arg| String::from_utf8_lossy(arg).into_owned()).unwrap_or_default()
    }

    /// Whether this line ends a command.
    pub fn is_completion(&self) -> bool {
        self.tag != "*" && matches!(self.keyword.as_str(), "OK" | "NO" | "BAD" | "BYE")
    }
}

/// What a data line says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The internal name.
    pub name: String,
    /// The entry; `None` for `DELETE`.
    pub entry: Option<Entry>,
}

impl Record {
    fn of(line: &Line) -> Option<Self> {
        let location = line.arg(1);
        let entry = match line.keyword.as_str() {
            "MAILBOX" => Some(Entry::active(&location, &line.arg(2))),
            "RESERVE" => Some(Entry::reserved(&location)),
            "DELETE" => None,
            _ => return None,
        };
        Some(Self { name: line.arg(0), entry })
    }
}

/// Everything that answered one command.
#[derive(Clone, Debug)]
pub struct MupdateReply {
    /// The data lines before the end, in the order sent.
    pub records: Vec<Record>,
    /// OK, NO, BAD or BYE.
    pub keyword: String,
    /// The text with it.
    pub text: String,
}

impl MupdateReply {
    /// Whether the command succeeded.
    pub fn is_ok(&self) -> bool {
        self.keyword == "OK"
    }

    /// The reply, or an error when the command did not succeed.
    pub fn ok(self) -> Result<Self> {
        if self.is_ok() { Ok(self) } else { bail!("{} {:?}", self.keyword, self.text) }
    }
}

/// A MUPDATE session.
#[derive(Debug)]
pub struct Mupdate {
    wire: Wire,
    banner: Vec<Line>,
    count: u32,
}

impl Mupdate {
    /// Connects and reads the banner.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut wire = Wire::connect(address).await?;
        let mut banner = Vec::new();
        loop {
            let line = Line::parse(&wire.expect_frame().await?);
            let end = line.keyword.clone();
            banner.push(line);
            match end.as_str() {
                "OK" => {
                    return Ok(Self { wire, banner, count: 0 });
                }
                "BYE" | "NO" | "BAD" => bail!("greeted with {banner:?}"),
                _ => {}
            }
        }
    }

    /// Connects and authenticates as the administrator that Cyrus's own nodes use.
    pub async fn login(address: SocketAddr) -> Result<Self> {
        let mut session = Self::connect(address).await?;
        session.authenticate("murder", PASSWORD).await?.ok().context("authenticating")?;
        Ok(session)
    }

    /// The lines of the banner; the last one is `* OK MUPDATE "server" "Cyrus IMAP" "version" "(master)"`.
    pub fn banner(&self) -> &[Line] {
        &self.banner
    }

    /// The Cyrus version that the banner tells.
    pub fn version(&self) -> String {
        self.banner.last().map(|line| line.arg(3)).unwrap_or_default()
    }

    /// Sets how long the server may be silent.
    pub fn set_patience(&mut self, patience: Duration) {
        self.wire.set_patience(patience);
    }

    /// Everything said so far.
    pub fn transcript(&self) -> &Transcript {
        self.wire.transcript()
    }

    /// The connection itself, for what has no method here.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// See [`Wire::into_std`].
    pub fn into_std(self) -> Result<std::net::TcpStream> {
        self.wire.into_std()
    }

    /// Authenticates with PLAIN.
    pub async fn authenticate(&mut self, user: &str, password: &str) -> Result<MupdateReply> {
        let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        let command = format!("A01 AUTHENTICATE \"PLAIN\" {}\r\n", literal(&response));
        self.wire.send(command.as_bytes()).await?;
        self.reply("A01").await.context("MUPDATE AUTHENTICATE")
    }

    /// Runs a command, its arguments sent as literals like Cyrus does. An `Err` means that the connection is of
    /// no more use.
    pub async fn run(&mut self, command: &str, args: &[&str]) -> Result<MupdateReply> {
        let tag = self.send(command, args).await?;
        self.reply(&tag).await.with_context(|| format!("MUPDATE {command} {args:?}"))
    }

    /// Sends a command without waiting for its reply. Returns its tag.
    pub async fn send(&mut self, command: &str, args: &[&str]) -> Result<String> {
        self.count += 1;
        let tag = format!("X{}", self.count);
        let args: String = args.iter().map(|arg| format!(" {}", literal(arg))).collect();
        self.wire.send(format!("{tag} {command}{args}\r\n").as_bytes()).await?;
        Ok(tag)
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.send(bytes).await
    }

    /// Reads until the reply to the command with this tag.
    pub async fn reply(&mut self, tag: &str) -> Result<MupdateReply> {
        let mut records = Vec::new();
        loop {
            let line = self.line().await?;
            if line.tag == tag && line.is_completion() {
                return Ok(MupdateReply { records, keyword: line.keyword.clone(), text: line.arg(0) });
            }
            anyhow::ensure!(line.keyword != "BYE", "the server said BYE {:?}", line.arg(0));
            records.extend(Record::of(&line));
        }
    }

    /// The next line, whatever it is. Closing is an error.
    pub async fn line(&mut self) -> Result<Line> {
        Ok(Line::parse(&self.wire.expect_frame().await?))
    }

    /// Takes a name.
    pub async fn reserve(&mut self, name: &str, location: &str) -> Result<MupdateReply> {
        self.run("RESERVE", &[name, location]).await
    }

    /// Makes a mailbox usable.
    pub async fn activate(&mut self, name: &str, location: &str, acl: &str) -> Result<MupdateReply> {
        self.run("ACTIVATE", &[name, location, acl]).await
    }

    /// Removes a name. **A name that the master does not know kills it.**
    pub async fn delete(&mut self, name: &str) -> Result<MupdateReply> {
        self.run("DELETE", &[name]).await
    }

    /// Looks one name up.
    pub async fn find(&mut self, name: &str) -> Result<Option<Record>> {
        Ok(self.run("FIND", &[name]).await?.ok()?.records.pop())
    }

    /// The whole list, or what is on one server (`be1.murder.test!`), in the order sent.
    pub async fn list(&mut self, prefix: Option<&str>) -> Result<Vec<Record>> {
        Ok(self.run("LIST", prefix.as_slice()).await?.ok()?.records)
    }

    /// Starts the stream and returns its first dump, in the order sent. Afterwards only NOOP and LOGOUT work.
    pub async fn update(&mut self) -> Result<Vec<Record>> {
        self.wire.send(b"U01 UPDATE\r\n").await?;
        Ok(self.reply("U01").await.context("MUPDATE UPDATE")?.ok()?.records)
    }

    /// Asks a stream for what is pending. Returns the changes that came before the reply.
    pub async fn noop(&mut self) -> Result<Vec<Record>> {
        Ok(self.run("NOOP", &[]).await?.ok()?.records)
    }
}

/// A string as Cyrus's clients send it.
pub fn literal(text: &str) -> String {
    format!("{{{}+}}\r\n{text}", text.len())
}
