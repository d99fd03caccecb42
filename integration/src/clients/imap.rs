//! IMAP, as far as the stories need it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{PASSWORD, Wire};
use crate::frames::words;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Done.
    Ok,
    /// Refused or failed.
    No,
    /// Not understood.
    Bad,
}

/// Everything that answered one command.
#[derive(Clone, Debug)]
pub struct Response {
    /// The untagged lines, without their `* ` and their newline.
    pub untagged: Vec<String>,
    /// How it ended.
    pub completion: Completion,
    /// What followed OK, NO or BAD.
    pub text: String,
}

impl Response {
    /// The response, or an error when the command did not succeed.
    pub fn ok(self) -> Result<Self> {
        match self.completion {
            Completion::Ok => Ok(self),
            other => bail!("{other:?} {}", self.text),
        }
    }
}

/// An IMAP session.
#[derive(Debug)]
pub struct Imap {
    wire: Wire,
    count: u32,
}

impl Imap {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut wire = Wire::connect(address).await?;
        let greeting = wire.expect_line().await?;
        anyhow::ensure!(greeting.starts_with("* OK"), "greeted with {greeting:?}");
        Ok(Self { wire, count: 0 })
    }

    /// Sets how long the server may be silent.
    pub fn set_patience(&mut self, patience: Duration) {
        self.wire.set_patience(patience);
    }

    /// Logs in with the password of every test account.
    pub async fn login(&mut self, user: &str) -> Result<()> {
        let response = self.run(&format!("LOGIN {user} {PASSWORD}")).await?;
        response.ok().with_context(|| format!("logging in as {user}")).map(drop)
    }

    /// Runs any command. An `Err` means that the connection is of no more use; a refusal is a [`Response`].
    pub async fn run(&mut self, command: &str) -> Result<Response> {
        self.run_bytes(command.as_bytes()).await.with_context(|| format!("IMAP {command}"))
    }

    /// `CREATE`. An administrator may name the place, as in `user.alice be1.murder.test!default`.
    pub async fn create(&mut self, mailbox: &str) -> Result<Response> {
        self.run(&format!("CREATE {}", quote(mailbox))).await
    }

    /// `DELETE`.
    pub async fn delete(&mut self, mailbox: &str) -> Result<Response> {
        self.run(&format!("DELETE {}", quote(mailbox))).await
    }

    /// `RENAME`.
    pub async fn rename(&mut self, from: &str, to: &str) -> Result<Response> {
        self.run(&format!("RENAME {} {}", quote(from), quote(to))).await
    }

    /// `SETACL`.
    pub async fn set_acl(&mut self, mailbox: &str, who: &str, rights: &str) -> Result<Response> {
        self.run(&format!("SETACL {} {who} {rights}", quote(mailbox))).await
    }

    /// `SELECT`.
    pub async fn select(&mut self, mailbox: &str) -> Result<Response> {
        self.run(&format!("SELECT {}", quote(mailbox))).await
    }

    /// `XFER`, for administrators: moves a mailbox, or a user with all mailboxes, to another backend.
    /// To be sent to the backend that holds it: a frontend answers OK and moves nothing.
    pub async fn xfer(&mut self, mailbox: &str, server: &str) -> Result<Response> {
        let mut response = self.run(&format!("XFER {} {server}", quote(mailbox))).await?;
        // What could not be moved is told on the way, and then the command succeeds.
        if let Some(refusal) = response.untagged.iter().find_map(|line| line.strip_prefix("NO ")) {
            response.text = refusal.to_owned();
            response.completion = Completion::No;
        }
        Ok(response)
    }

    /// `LIST "" pattern`: the names that can be selected.
    pub async fn list(&mut self, pattern: &str) -> Result<Vec<String>> {
        let response = self.run(&format!("LIST \"\" {}", quote(pattern))).await?.ok()?;
        let selectable = |line: &&String| !line.contains("\\NonExistent") && !line.contains("\\Noselect");
        let lists = response.untagged.iter().filter(|line| line.starts_with("LIST ")).filter(selectable);
        // The attributes are in parentheses: count words from the end.
        Ok(lists.filter_map(|line| words(line.as_bytes()).pop()).map(|name| text(&name)).collect())
    }

    /// `APPEND` of a whole message.
    pub async fn append(&mut self, mailbox: &str, message: &str) -> Result<Response> {
        let command = format!("APPEND {} {{{}+}}\r\n{message}", quote(mailbox), message.len());
        self.run_bytes(command.as_bytes()).await.context("IMAP APPEND")
    }

    /// How many messages a mailbox holds.
    pub async fn count(&mut self, mailbox: &str) -> Result<u32> {
        let response = self.run(&format!("STATUS {} (MESSAGES)", quote(mailbox))).await?.ok()?;
        let line =
            response.untagged.iter().find(|line| line.starts_with("STATUS ")).context("no STATUS line")?;
        let number: String =
            line.rsplit(' ').next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        Ok(number.parse()?)
    }

    async fn run_bytes(&mut self, command: &[u8]) -> Result<Response> {
        self.count += 1;
        let tag = format!("a{} ", self.count);
        let line = [tag.as_bytes(), command, b"\r\n"].concat();
        self.wire.send(&line).await?;
        let mut untagged = Vec::new();
        loop {
            let line = text(self.wire.expect_frame().await?.trim_ascii_end());
            if let Some(rest) = line.strip_prefix(&tag) {
                let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let completion = match word {
                    "OK" => Completion::Ok,
                    "NO" => Completion::No,
                    "BAD" => Completion::Bad,
                    _ => bail!("no completion: {line}"),
                };
                return Ok(Response { untagged, completion, text: text.to_owned() });
            }
            if line.starts_with("* BYE") && !command.eq_ignore_ascii_case(b"LOGOUT") {
                bail!("the server said {line}");
            }
            untagged.push(line.strip_prefix("* ").unwrap_or(&line).to_owned());
        }
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
