//! Which mailbox an address means: a frontend of real Cyrus is asked, and then Ravenry, when no frontend can answer.
//!
//! Ravenry must never take mail for a mailbox that the frontend would not have found, and should know those that it
//! would; where releases differ or nobody can be sure, it says "later".

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::clients::Lmtp;
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::post::Post;

const SOON: Duration = Duration::from_secs(20);

/// What Ravenry is to make of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// The frontend finds the mailbox, and so does Ravenry.
    Known,
    /// The frontend finds none, and Ravenry says "later" (the list is not current in this story).
    Unknown,
    /// Whatever the frontend says, Ravenry is not sure.
    Unsure,
}

use Expected::{Known, Unknown, Unsure};

/// Addresses whose meaning is the same with virtual domains and without.
const ADDRESSES: &[(&str, Expected)] = &[
    ("alice", Known),
    ("alice@example.org", Known),
    ("ALICE@example.org", Known),
    ("Alice+Folder.x@example.org", Known),
    ("alice+@example.org", Known),
    ("alice+no.such.folder", Known),
    ("@relay.example.com:alice@example.org", Known),
    ("first.last@example.org", Known),
    ("First.Last+x@example.org", Known),
    ("we-ird_=~'#$1@example.org", Known),
    ("first", Unknown),
    ("nobody@example.org", Unknown),
    ("alic@example.org", Unknown),
    ("alice.folder@example.org", Unknown),
    ("user.alice@example.org", Unknown),
    ("first^last@example.org", Unsure),
    ("\"alice\"@example.org", Unsure),
    ("\"alice+x\"@example.org", Unsure),
    ("al\\ice@example.org", Unsure),
    ("alice/x@example.org", Unsure),
    ("alice!x@example.org", Unsure),
    ("%@example.org", Unsure),
    (".alice@example.org", Unsure),
    ("alice.@example.org", Unsure),
];

async fn mailboxes(murder: &Murder) -> Result<()> {
    for user in ["alice", "first^last", "we-ird_=~'#$1"] {
        murder.create_user(user, &murder.be1).await.with_context(|| user.to_owned())?;
    }
    let mut admin = murder.fe1.imap("cyrus").await?;
    for (folder, rights) in [("open", "lrsp"), ("open.sub", "lrsp"), ("closed", "lrs"), ("secret", "")] {
        admin.run(&format!("CREATE {folder} {}", murder.be1.location())).await?.ok().context(folder)?;
        // A frontend proxies no SETACL of an administrator in every release: the backend is asked.
        let mut there = murder.be1.imap("cyrus").await?;
        there.set_acl(folder, "anyone", &format!("\"{rights}\"")).await?.ok().context(folder)?;
    }
    Ok(())
}

/// The code of RCPT alone.
async fn rcpt(lmtp: &mut Lmtp, address: &str) -> Result<u16> {
    anyhow::ensure!(lmtp.run("MAIL FROM:<>").await?.is_ok());
    let code = lmtp.run(&format!("RCPT TO:<{address}>")).await?.code;
    anyhow::ensure!(lmtp.run("RSET").await?.is_ok());
    Ok(code)
}

async fn compare(plan: Plan, names: &str, addresses: &[(&str, Expected)], domains: &[&str]) -> Result<()> {
    let post = Post::start(plan, names).await?;
    let murder = &post.stage.murder;
    mailboxes(murder).await?;
    for user in domains {
        let mut admin = murder.fe1.imap("cyrus").await?;
        admin
            .run(&format!("CREATE user.{user} {}", murder.be1.location()))
            .await?
            .ok()
            .with_context(|| (*user).to_owned())?;
    }
    let agreement = post.stage.agreement().await?;
    agreement.reached_within(SOON).await?;

    let mut frontend = murder.fe1.lmtp().await?;
    let mut real = Vec::new();
    for (address, _) in addresses {
        real.push(rcpt(&mut frontend, address).await.with_context(|| (*address).to_owned())?);
    }
    drop(frontend);
    // Now nobody but the list can answer, and it is not current.
    murder.mm.stop_cyrus().await?;
    for frontend in murder.frontends() {
        frontend.stop_cyrus().await?;
    }
    eventually(SOON, "both frontends known to be down", async || {
        let status = post.stage.ravenry.status().await?;
        let all = status.pointer("/lmtp/frontends").and_then(|all| all.as_array()).context("no frontends")?;
        let is_down = |frontend: &serde_json::Value| frontend.get("down").is_some_and(|why| !why.is_null());
        Ok(all.iter().all(is_down).then_some(()))
    })
    .await?;
    let mut ravenry = post.lmtp().await?;
    for ((address, expected), real) in addresses.iter().zip(real) {
        let ours = rcpt(&mut ravenry, address).await.with_context(|| (*address).to_owned())?;
        println!("{address:45} frontend {real}, Ravenry {ours}");
        match expected {
            Known => assert_eq!((real, ours), (250, 250), "{address}"),
            Unknown => assert_eq!((real, ours), (550, 451), "{address}"),
            Unsure => assert_eq!(ours, 451, "{address} (the frontend says {real})"),
        }
    }
    drop(ravenry);
    for frontend in murder.frontends() {
        frontend.start_cyrus().await?;
    }
    post.stage.master_back().await?;
    post.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_virtual_domains() -> Result<()> {
    let shared: &[(&str, Expected)] = &[
        ("alice@anywhere.example.net", Known),
        ("alice@", Known),
        ("+open@example.org", Known),
        ("+open.sub@example.org", Known),
        ("+nothing@example.org", Unknown),
        ("+closed@example.org", Unsure),
        ("+secret@example.org", Unsure),
        ("+user.alice@example.org", Unsure),
        ("+@example.org", Unsure),
    ];
    let names = "[lmtp.names]\nunixhierarchysep = false";
    compare(Plan::chosen()?, names, &[ADDRESSES, shared].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_virtual_domains_and_a_post_user() -> Result<()> {
    let plan = Plan {
        extra_conf: "virtdomains: userid\ndefaultdomain: example.org\npostuser: bb\n".into(),
        ..Plan::chosen()?
    };
    let names = "[lmtp.names]\nunixhierarchysep = false\nvirtdomains = \"userid\"\n\
                 defaultdomain = \"example.org\"\npostuser = \"bb\"";
    let domains: &[(&str, Expected)] = &[
        ("dora@example.net", Known),
        ("Dora+x@EXAMPLE.NET", Known),
        ("dora@example.org", Unknown),
        ("dora", Unknown),
        ("alice@example.net", Unknown),
        // Releases differ.
        ("alice@EXAMPLE.org", Unsure),
        ("bb+open@example.org", Known),
        ("BB+open.sub@example.org", Known),
        ("bb+nothing@example.org", Unknown),
        ("bb@example.org", Unsure),
        ("+open@example.org", Unsure),
        ("dora@[192.0.2.1]", Unsure),
    ];
    let addresses = [ADDRESSES, domains].concat();
    compare(plan, names, &addresses, &["dora@example.net"]).await
}
