//! What `ctl_mboxlist -d` prints on a master, a frontend and a backend of each release.

use anyhow::{Context, Result};

use serde_json::json;

use super::Book;
use crate::clients::Mupdate;
use crate::deadline::eventually;
use crate::murder::{Murder, Node, Plan, Suite};

/// How long a frontend may take to hear of what the master was told.
const HEARD: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes mailboxes of every kind and files each node's dump, and what the master streams of the same list.
pub async fn capture(suite: Suite) -> Result<()> {
    let murder = Murder::start(Plan::new(suite)).await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    murder.create_user("first^last", &murder.be1).await.context("a dot in a name")?;
    let mut alice = murder.fe1.imap("alice").await?;
    for name in ["INBOX.My Folder", "INBOX.&AOk-t&AOk-", "INBOX.deep.er", "INBOX.gone"] {
        alice.create(name).await?.ok().with_context(|| name.to_owned())?;
    }
    alice.set_acl("INBOX.My Folder", "bob", "lrs").await?.ok()?;
    alice.set_acl("INBOX.My Folder", "anyone", "p").await?.ok()?;
    alice.set_acl("INBOX.My Folder", "-carol", "lr").await?.ok()?;
    alice.rename("INBOX.deep.er", "INBOX.renamed").await?.ok()?;
    alice.delete("INBOX.gone").await?.ok()?;
    let mut session = murder.mm.mupdate().await?;
    session.reserve("user.carol", &murder.be2.location()).await?.ok()?;
    session.activate("user.dave", &murder.be2.location(), "").await?.ok()?;

    eventually(HEARD, "fe1 knowing what the master knows", async || {
        Ok(murder.fe1.dump().await?.get("user.dave").is_some().then_some(()))
    })
    .await?;
    let book = Book::open("dumps", suite)?;
    for (role, node) in [("master", &murder.mm), ("frontend", &murder.fe1), ("backend", &murder.be1)] {
        write(&book, &format!("{role}.txt"), &dump(node).await?)?;
    }
    write(&book, "list.jsonl", &listed(&mut session).await?)?;
    murder.stop().await
}

/// The master's LIST, a line of JSON for each name.
async fn listed(session: &mut Mupdate) -> Result<String> {
    session.send("LIST", &[]).await?;
    let mut lines = String::new();
    loop {
        let line = session.line().await?;
        let (name, location) = (line.arg(0), line.arg(1));
        let record = match line.keyword.as_str() {
            "MAILBOX" => json!({ "name": name, "location": location, "acl": line.arg(2) }),
            "RESERVE" => json!({ "name": name, "location": location }),
            _ => return Ok(lines),
        };
        lines += &format!("{record}\n");
    }
}

async fn dump(node: &Node) -> Result<String> {
    Ok(node.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout)
}

fn write(book: &Book, file: &str, text: &str) -> Result<()> {
    let path = book.directory.join(file);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("{}", path.display());
    Ok(())
}
