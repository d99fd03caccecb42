//! A storm of renames: what a frontend deadlocks with itself in (Cyrus issue 5926), because it holds a user's lock
//! while it waits for its own slave, which needs that lock to store what it was sent.
//!
//! A storm that crosses needs what `[mupdate] frontends` is for.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::clients::Imap;
use crate::murder::{Murder, Node};

/// How large a storm is.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Users that rename at the same time; `u000` and so on.
    pub users: usize,
    /// How many mailboxes each of them creates, and renames at once.
    pub pairs: usize,
    /// How many subfolders one more user renames in a row.
    pub row: usize,
    /// Whether they rename at the one frontend what they just created at the other. Otherwise each stays at one.
    pub crossing: bool,
    /// How long an operation may take before it counts as hanging.
    pub patience: Duration,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Aftermath {
    /// Operations that were answered OK.
    pub done: usize,
    /// Operations that were refused, with the words.
    pub refused: Vec<String>,
    /// Operations that were not answered.
    pub hung: Vec<String>,
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} done, {} refused, {} hung", self.done, self.refused.len(), self.hung.len())?;
        for line in self.refused.iter().chain(&self.hung).take(10) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

impl Aftermath {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.refused.extend(other.refused);
        self.hung.extend(other.hung);
    }

    /// Whether it went on after an operation.
    async fn take(&mut self, imap: &mut Imap, command: String) -> bool {
        match imap.run(&command).await {
            Ok(response) => match response.ok() {
                Ok(_) => self.done += 1,
                Err(refusal) => self.refused.push(format!("{command}: {refusal}")),
            },
            Err(error) => {
                self.hung.push(format!("{error:#}"));
                return false;
            }
        }
        true
    }
}

impl Storm {
    /// The storm of the stories.
    pub fn new(crossing: bool, patience: Duration) -> Self {
        Self { users: 20, pairs: 10, row: 50, crossing, patience }
    }

    /// Creates the users, half of them on each backend. Once for a murder, before any storm.
    pub async fn prepare(&self, murder: &Murder) -> Result<()> {
        for (number, backend) in (0..=self.users).zip(murder.backends().into_iter().cycle()) {
            murder.create_user(&user(number), backend).await?;
        }
        Ok(())
    }

    /// How many operations it is made of.
    pub fn operations(&self) -> usize {
        2 * (self.users * self.pairs + self.row)
    }

    /// Lets it blow. `name` tells its mailboxes from those of other storms.
    ///
    /// Half of the users create at each frontend. A frontend knows what was created through itself, because it
    /// kicks its slave for that; of the rest it is told by its stream.
    pub async fn blow(&self, murder: &Murder, name: &str) -> Result<Aftermath> {
        let mut sessions = Vec::new();
        for number in 0..=self.users {
            sessions.push(self.sessions(murder, number).await?);
        }
        let mut row = sessions.pop();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, mut pair) in sessions.into_iter().enumerate() {
            if number / 2 % 2 == 1 {
                pair.reverse();
            }
            let crossing = self.crossing;
            let (pairs, name) = (self.pairs, name.to_owned());
            tasks.spawn(async move {
                let mut aftermath = Aftermath::default();
                for count in 0..pairs {
                    let old = format!("INBOX.{name}-{count}");
                    let [here, there] = &mut pair;
                    let on = aftermath.take(here, format!("CREATE {old}")).await
                        && aftermath
                            .take(if crossing { there } else { here }, format!("RENAME {old} {old}-renamed"))
                            .await;
                    if !on {
                        break;
                    }
                }
                aftermath
            });
        }
        let mut all = Aftermath::default();
        if let Some([here, there]) = &mut row {
            all.add(self.in_a_row(here, there, name).await);
        }
        while let Some(one) = tasks.join_next().await {
            all.add(one?);
        }
        Ok(all)
    }

    async fn sessions(&self, murder: &Murder, number: usize) -> Result<[Imap; 2]> {
        let [mut here, mut there] =
            [murder.fe1.imap(&user(number)).await?, murder.fe2.imap(&user(number)).await?];
        for imap in [&mut here, &mut there] {
            imap.set_patience(self.patience);
        }
        Ok([here, there])
    }

    /// One user's subfolders, all created, then renamed one after the other.
    async fn in_a_row(&self, here: &mut Imap, there: &mut Imap, name: &str) -> Aftermath {
        let mut aftermath = Aftermath::default();
        for number in 0..self.row {
            if !aftermath.take(here, format!("CREATE INBOX.{name}-{number}")).await {
                return aftermath;
            }
        }
        for number in 0..self.row {
            let old = format!("INBOX.{name}-{number}");
            let at = if self.crossing { &mut *there } else { &mut *here };
            if !aftermath.take(at, format!("RENAME {old} {old}-renamed")).await {
                return aftermath;
            }
        }
        aftermath
    }
}

/// Who a frontend's mupdate slave waits for, if it is for an imapd: that one waits for the slave in turn, since
/// nothing else is done for long under a lock which the slave needs. Told by the kernel's table of locks.
pub async fn deadlock(frontend: &Node) -> Result<Option<String>> {
    let table = frontend.exec_root(&["cat", "/proc/locks"]).await?.success()?.stdout;
    let pids = async |process: &str| -> Result<Vec<String>> {
        let found = frontend.exec_root(&["pgrep", "-x", process]).await?.stdout;
        Ok(found.lines().map(str::to_owned).collect())
    };
    let (slaves, imapds) = (pids("mupdate").await?, pids("imapd").await?);
    Ok(waits(&table).into_iter().find_map(|(waiter, holder)| {
        let dead = slaves.contains(&waiter) && imapds.contains(&holder);
        dead.then(|| format!("mupdate {waiter} waits for a lock of imapd {holder}"))
    }))
}

/// Who waits and for whom, by pid, of a table like `/proc/locks`: a waiter follows the holder under the same
/// number, with an arrow.
fn waits(table: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut holder = String::new();
    for line in table.lines() {
        let (waiting, words): (Vec<&str>, Vec<&str>) =
            line.split_whitespace().partition(|word| *word == "->");
        let pid = words.get(4).copied().unwrap_or_default().to_owned();
        if waiting.is_empty() {
            holder = pid;
        } else {
            found.push((pid, holder.clone()));
        }
    }
    found
}

fn user(number: usize) -> String {
    format!("u{number:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_who_waits_for_whom() {
        let table = "6: POSIX  ADVISORY  WRITE 76 00:4f:1387171 0 EOF\n\
                     7: POSIX  ADVISORY  WRITE 70 00:4f:1386739 0 EOF\n\
                     7: -> POSIX  ADVISORY  WRITE 60 00:4f:1386739 0 EOF\n\
                     8: OFDLCK ADVISORY  READ -1 00:06:3 0 EOF\n";
        assert_eq!(waits(table), [("60".to_owned(), "70".to_owned())]);
    }
}
