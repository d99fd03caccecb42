//! In what order each release streams its list, and which names a real frontend loses over it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::Book;
use crate::clients::Record;
use crate::deadline::within;
use crate::murder::{Dump, Murder, Plan, Suite};

const COUNT: usize = 10_000;
const ACL: &str = "anyone\tlrs\t";
/// What a slave logs when it has the whole list, and how long that may take.
const SYNCHRONISED: &str = "synchronization complete";
const SYNCHRONISING: Duration = Duration::from_secs(120);
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
    let (sent, got): (BTreeSet<_>, BTreeSet<_>) = (names.iter().collect(), streamed.iter().collect());
    let differing: Vec<_> = sent.symmetric_difference(&got).take(20).collect();
    ensure!(differing.is_empty(), "sent and got differ: {differing:?}");
    let book = Book::open("order", suite)?;
    let path = book.directory.join("names.txt");
    std::fs::write(&path, streamed.join("\n") + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    eprintln!("{}: {} names", path.display(), streamed.len());

    let report = frontend(&murder, &names).await?;
    let path = book.directory.join("frontend.txt");
    std::fs::write(&path, report).with_context(|| format!("writing {}", path.display()))?;
    murder.stop().await
}

/// Names that are hard to sort: every kind of character that matters, and relatives of one another.
///
/// They are names that Cyrus itself could make. From 3.6 the master takes a name apart and puts it together
/// again: of a `DELETED.` name the last part is read as a hexadecimal time, and what is before the first `!` as a
/// domain, so others do not come back as they were sent. Up to 3.4 a name that starts with `$` is not listed.
fn names(count: usize) -> Vec<String> {
    // Fixed, so that every release sorts the same names.
    let mut rng = Rng::with_seed(3656);
    let mut names = BTreeSet::new();
    let mut known = vec!["user.alice".to_owned()];
    while names.len() < count {
        let mut name = if rng.u8(..3) == 0 {
            rng.choice(ROOTS).unwrap_or_default().to_owned()
        } else {
            // A relative: the same beginning, then a byte that decides.
            let relative = known.get(rng.usize(..known.len())).cloned().unwrap_or_default();
            relative + rng.choice(JOINTS).unwrap_or(".")
        };
        name.push_str(&word(&mut rng));
        if name.len() < 120 && !names.contains(&name) {
            known.push(name.clone());
            // Some of them were deleted at some time.
            let deleted = match rng.u8(..8) {
                0 if name.contains('!') => name.replacen('!', "!DELETED.", 1),
                0 => format!("DELETED.{name}"),
                _ => String::new(),
            };
            names.insert(if deleted.is_empty() { name } else { format!("{deleted}.{:X}", rng.u32(1..)) });
        }
    }
    let mut names: Vec<String> = names.into_iter().collect();
    rng.shuffle(&mut names);
    names
}

const ROOTS: [&str; 8] =
    ["user.", "user.", "user.", "example.org!user.", "example.com!user.", "shared.", "", "#news."];
const JOINTS: [&str; 10] = [".", "-", "^", " ", "0", "A", "a", "_", "&AOk-", "+"];
const PIECES: [&str; 18] =
    ["a", "b", "z", "A", "Z", "0", "9", "-", "^", " ", "_", "&AOk-", "&-", "'", "+", "~", "=", "@"];

fn word(rng: &mut Rng) -> String {
    let length = rng.usize(1..5);
    (0..length).filter_map(|_| rng.choice(PIECES)).collect()
}

/// Puts names on two backends, many commands at a time.
async fn fill(murder: &Murder, names: &[String]) -> Result<()> {
    let mut session = murder.mm.mupdate().await?;
    within(Duration::from_secs(300), "filling the master", async {
        for batch in names.chunks(BATCH) {
            let mut tags = Vec::new();
            for name in batch {
                let backend = if name.len() % 2 == 0 { &murder.be1 } else { &murder.be2 };
                tags.push(session.send("ACTIVATE", &[name, &backend.location(), ACL]).await?);
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

/// Lets a real frontend take the list, then once more after a change that it did not see, and tells what it lost.
async fn frontend(murder: &Murder, names: &[String]) -> Result<String> {
    let fe1 = &murder.fe1;
    murder.start_frontends(murder.mm.mupdate_address()).await?;
    fe1.wait_for_log(SYNCHRONISED, 0, SYNCHRONISING).await?;
    let first = missing(names.iter(), &fe1.dump().await?);

    fe1.stop().await?;
    let (gone, kept): (Vec<_>, Vec<_>) = names.iter().enumerate().partition(|(at, _)| at % 50 == 0);
    let mut session = murder.mm.mupdate().await?;
    for (_, name) in &gone {
        session.delete(name).await?.ok()?;
    }
    fe1.start().await?;
    fe1.wait_for_log(SYNCHRONISED, 1, SYNCHRONISING).await?;
    let second = missing(kept.into_iter().map(|(_, name)| name), &fe1.dump().await?);
    let shown = |names: &[String]| names.iter().map(|name| format!("  {name}\n")).collect::<String>();
    Ok(format!(
        "{}, {} names\n\nmissing in a frontend after its first synchronisation: {}\n{}\
         missing after the next, {} names having been deleted meanwhile: {}\n{}",
        session.version(),
        names.len(),
        first.len(),
        shown(&first),
        gone.len(),
        second.len(),
        shown(&second),
    ))
}

/// The names that a dump lacks.
fn missing<'a>(names: impl Iterator<Item = &'a String>, dump: &Dump) -> Vec<String> {
    names.filter(|name| dump.get(name).is_none()).cloned().collect()
}
