//! In what order each release streams its list, and which names a real frontend loses over it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::Book;
use crate::clients::{Mupdate, Record};
use crate::deadline::within;
use crate::murder::{Dump, Murder, Plan, Suite};

const COUNT: usize = 10_000;
const ACL: &str = "anyone\tlrs\t";
/// How many commands are on their way at once.
const BATCH: usize = 200;

/// Fills a master with random names and files the order in which it streams them.
pub async fn capture(suite: Suite) -> Result<()> {
    let murder = Murder::prepare(Plan::new(suite)).await?;
    murder.start_master().await?;
    let names = names(COUNT);
    fill(&murder, &names).await?;

    let mut session = murder.mm.mupdate().await?;
    let listed = in_order(session.list(None).await?);
    let streamed = in_order(session.update().await?);
    ensure!(streamed == listed, "UPDATE and LIST differ in their order");
    ensure!(
        streamed.iter().collect::<BTreeSet<_>>() == names.iter().collect(),
        "a name was lost"
    );
    let book = Book::open("order", suite)?;
    let path = book.directory.join("names.txt");
    std::fs::write(&path, streamed.join("\n") + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    eprintln!("{}: {} names", path.display(), streamed.len());

    let report = frontends(&murder, &names).await?;
    let path = book.directory.join("frontend.txt");
    std::fs::write(&path, report).with_context(|| format!("writing {}", path.display()))?;
    murder.stop().await
}

/// Names that are hard to sort: every kind of character that matters, and relatives of one another.
fn names(count: usize) -> Vec<String> {
    // Fixed, so that every release sorts the same names.
    let mut rng = Rng::with_seed(3656);
    let mut names = BTreeSet::new();
    let mut known = vec!["user.alice".to_owned()];
    while names.len() < count {
        let mut name = if rng.u8(..3) == 0 {
            root(&mut rng)
        } else {
            // A relative: the same beginning, then a byte that decides.
            let relative = known.get(rng.usize(..known.len())).cloned().unwrap_or_default();
            let joint = [".", "-", "^", " ", "!", "0", "A", "a", "_", "&AOk-", "+"];
            relative + rng.choice(joint).unwrap_or(".")
        };
        name.push_str(&word(&mut rng));
        if name.len() < 120 && names.insert(name.clone()) {
            known.push(name);
        }
    }
    let mut names: Vec<String> = names.into_iter().collect();
    rng.shuffle(&mut names);
    names
}

fn root(rng: &mut Rng) -> String {
    let roots = [
        "user.",
        "user.",
        "user.",
        "DELETED.user.",
        "example.org!user.",
        "shared.",
        "",
        "#news.",
    ];
    rng.choice(roots).unwrap_or_default().to_owned()
}

fn word(rng: &mut Rng) -> String {
    let pieces = [
        "a", "b", "z", "A", "Z", "0", "9", "-", "^", " ", "_", "&AOk-", "&-", "'", "+", "~", "=", "@", "$",
    ];
    let length = rng.usize(1..5);
    (0..length).filter_map(|_| rng.choice(pieces)).collect()
}

/// Puts names on two backends, many commands at a time.
async fn fill(murder: &Murder, names: &[String]) -> Result<()> {
    let mut session = murder.mm.mupdate().await?;
    within(Duration::from_secs(300), "filling the master", async {
        for batch in names.chunks(BATCH) {
            let mut tags = Vec::new();
            for name in batch {
                let backend = if name.len() % 2 == 0 {
                    &murder.be1
                } else {
                    &murder.be2
                };
                tags.push(
                    session
                        .send("ACTIVATE", &[name, &backend.location(), ACL])
                        .await?,
                );
            }
            for tag in tags {
                session.reply(&tag).await?.ok()?;
            }
        }
        Ok(())
    })
    .await
}

fn in_order(records: Vec<Record>) -> Vec<String> {
    records.into_iter().map(|record| record.name).collect()
}

/// Lets real frontends take the list twice, the second time over a list that they have, and tells what they lost.
async fn frontends(murder: &Murder, names: &[String]) -> Result<String> {
    murder.start_frontends(murder.mm.mupdate_address()).await?;
    let fe1 = &murder.fe1;
    fe1.wait_for_log("synchronization complete", 0, Duration::from_secs(120))
        .await?;
    let first = missing(names, &fe1.dump().await?);
    fe1.restart().await?;
    fe1.wait_for_log("synchronization complete", 1, Duration::from_secs(120))
        .await?;
    let second = missing(names, &fe1.dump().await?);
    let shown = |names: &[String]| names.iter().map(|name| format!("  {name}\n")).collect::<String>();
    let version = Mupdate::connect(murder.mm.mupdate_address()).await?.version();
    Ok(format!(
        "{version}, {} names\n\nmissing in a frontend after its first synchronisation: {}\n{}\
         missing after the second, over the same list: {}\n{}",
        names.len(),
        first.len(),
        shown(&first),
        second.len(),
        shown(&second),
    ))
}

fn missing(names: &[String], dump: &Dump) -> Vec<String> {
    names
        .iter()
        .filter(|name| dump.get(name).is_none())
        .cloned()
        .collect()
}
