//! The walk: a day on which the mupdate master is lost and comes back, the same for both murders.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::screen::{Screen, Told};
use super::side::{Pushes, Side};
use crate::agreement::{Agreement, Difference};
use crate::murder::{Dump, Murder, Node, Suite};
use crate::stage::Stage;

/// Bounds of what is waited for; what Ravenry promises is far below.
const PATIENCE: Duration = Duration::from_secs(30);
/// Promised: changes reach every frontend within a second. With slack for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Whom a row has to content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Both murders.
    Both,
    /// The one with Ravenry; the other must show what an outage does.
    OnlyWith,
    /// The one with Ravenry; the other may fare either way.
    With,
}

/// Says what will be seen.
pub(super) fn introduce(screen: &Screen, suite: Suite) {
    screen.paragraph(&format!(
        "Two murders live through the same day. Each is a real Cyrus {}: a mupdate master that knows where every \
         mailbox is, two frontends (fe1, fe2) that users talk to, and two backends (be1, be2) that hold the mail. \
         In the right one Ravenry stands between them and the master. Replies are shown as users and senders \
         get them.",
        suite.cyrus()
    ));
}

/// Both murders, and what was not as promised.
pub(super) struct Walk<'a> {
    screen: &'a mut Screen,
    stage: &'a Stage,
    without: Side<'a>,
    with: Side<'a>,
    /// The master's list before the outage.
    before: Dump,
    refused: usize,
    surprises: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(super) async fn begin(screen: &'a mut Screen, without: &'a Murder, with: &'a Stage) -> Result<Self> {
        let sides = async {
            tokio::try_join!(Side::begin(without, None), Side::begin(&with.murder, Some(&with.ravenry)))
        };
        let (without, with_ravenry) = screen.during("alice and bob get their mailboxes", sides).await?;
        screen.head();
        Ok(Self {
            screen,
            stage: with,
            without,
            with: with_ravenry,
            before: Dump::default(),
            refused: 0,
            surprises: Vec::new(),
        })
    }

    /// All is well: Ravenry is not in the way, and news travels faster.
    pub(super) async fn steady(&mut self) -> Result<()> {
        self.screen.act("All is well");
        self.row("alice makes a folder, Plans", Expected::Both, async |side| {
            side.create("INBOX.Plans").await
        })
        .await;
        let what = "it shows on the other frontend";
        let seen = async {
            let (without, with) = (&mut self.without, &mut self.with);
            tokio::try_join!(without.seen_elsewhere("INBOX.Plans"), with.seen_elsewhere("INBOX.Plans"))
        };
        let (without, with) = self.screen.step(what, seen).await?;
        self.screen.row(what, &without.0, &with.0);
        if with.1 > AT_ONCE {
            self.surprises.push(format!("a change took {:?} to the other frontend", with.1));
        }
        self.row("mail for alice arrives at fe1", Expected::Both, async |side| {
            let frontend = &side.murder.fe1;
            side.mail("alice", frontend).await
        })
        .await;
        self.before = self.stage.murder.mm.dump().await?;
        Ok(())
    }

    /// The master is gone.
    pub(super) async fn outage(&mut self) -> Result<()> {
        self.screen.act("The mupdate master dies (kill -9)");
        tokio::try_join!(self.without.murder.mm.kill_cyrus(), self.stage.murder.mm.kill_cyrus())?;
        self.row("alice makes a folder, Project", Expected::OnlyWith, async |side| {
            side.create("INBOX.Project").await
        })
        .await;
        let ravenry = &self.stage.ravenry;
        ravenry.wait_for_state("standing-in", PATIENCE).await?;
        let decides = Told::plain("Ravenry (state: standing-in)");
        self.screen.row("who decides about mailboxes now", &Told::plain("nobody"), &decides);
        self.row("she renames Draft to Final", Expected::OnlyWith, async |side| {
            side.rename("INBOX.Draft", "INBOX.Final").await
        })
        .await;
        self.row("she lets bob read Plans", Expected::OnlyWith, async |side| side.share("INBOX.Plans").await)
            .await;
        self.row("she deletes Junk", Expected::OnlyWith, async |side| side.delete("INBOX.Junk").await).await;
        self.row("an administrator makes carol's mailbox", Expected::OnlyWith, async |side| {
            side.new_user("carol").await
        })
        .await;
        self.row("mail for carol arrives at fe1", Expected::OnlyWith, async |side| {
            let frontend = &side.murder.fe1;
            side.mail("carol", frontend).await
        })
        .await;
        self.row("mail for carol arrives at fe2", Expected::OnlyWith, async |side| {
            let frontend = &side.murder.fe2;
            side.mail("carol", frontend).await
        })
        .await;
        self.folders(["Final", "Plans", "Project"]).await?;
        let status = ravenry.status().await?;
        let names = status.get("journal").and_then(Value::as_u64).unwrap_or_default();
        let waiting = format!("{names} names, on disk");
        self.screen.row("what waits for the master", &Told::plain("nothing"), &Told::plain(waiting));
        Ok(())
    }

    /// The master is back.
    pub(super) async fn back(&mut self) -> Result<()> {
        self.screen.act("The mupdate master is started again");
        tokio::try_join!(self.without.murder.mm.start_cyrus(), self.stage.murder.mm.start_cyrus())?;
        tokio::try_join!(self.without.murder.mm.wait_until_up(), self.stage.murder.mm.wait_until_up())?;
        let opened = Instant::now();
        let what = "the master is given what it missed";
        self.screen.step(what, self.stage.ravenry.wait_for_state("following", PATIENCE)).await?;
        let mut agreement = self.stage.agreement().await?;
        let given = Told::good(format!("all of it, within {:.1} s", opened.elapsed().as_secs_f64()));
        self.screen.row(what, &Told::plain("nothing to give"), &given);
        let after = self.stage.murder.mm.dump().await?;
        for line in changes(&self.before, &after) {
            self.screen.note(&format!("      {line}"));
        }
        self.row("carol's mailbox is made, if it was not", Expected::Both, async |side| match side.ravenry {
            Some(_) => Told::good("it is there"),
            None => side.new_user("carol").await,
        })
        .await;
        // On a slow machine the frontend without Ravenry may have reconnected by now.
        self.row("a sender tries carol again, every second", Expected::With, async |side| {
            side.mail_until_taken("carol").await
        })
        .await;
        self.row("messages that carol has", Expected::With, async |side| {
            match side.messages("carol").await {
                Ok(count) if side.bounced == 0 => Told::good(format!("{count}, none bounced")),
                Ok(count) => Told::bad(format!("{count}, and {} bounced", side.bounced)),
                Err(error) => Told::bad(format!("{error:#}")),
            }
        })
        .await;
        self.pushes(|murder| &murder.be1, &after).await?;
        self.pushes(|murder| &murder.be2, &after).await?;
        agreement.master_was_restarted().await?;
        self.agree(&agreement).await
    }

    /// What it came to. Returns what was not as promised.
    pub(super) fn conclude(self) -> Vec<String> {
        println!();
        let without = format!(
            "Without Ravenry: {} changes refused, {} messages bounced for good.",
            self.refused, self.without.bounced
        );
        self.screen.verdict(false, &without);
        if self.surprises.is_empty() {
            self.screen.verdict(
                true,
                "With Ravenry: every change was made, every message delivered, and the master knows of it all.",
            );
        }
        println!();
        self.surprises
    }

    /// The same step in both murders at once.
    async fn row(&mut self, what: &str, expected: Expected, step: impl AsyncFn(&mut Side<'_>) -> Told) {
        let both = async { tokio::join!(step(&mut self.without), step(&mut self.with)) };
        let (without, with) = self.screen.step(what, both).await;
        self.judge(what, expected, &without, &with);
    }

    fn judge(&mut self, what: &str, expected: Expected, without: &Told, with: &Told) {
        self.screen.row(what, without, with);
        if with.good == Some(false) {
            self.surprises.push(format!("with Ravenry: {what}: {}", with.text));
        }
        let content = without.good != Some(false);
        self.refused += usize::from(without.text.starts_with("NO "));
        match expected {
            Expected::Both if !content => {
                self.surprises.push(format!("without Ravenry: {what}: {}", without.text));
            }
            Expected::OnlyWith if content => {
                self.surprises.push(format!("without Ravenry, an outage does no harm here: {what}"));
            }
            _ => {}
        }
    }

    async fn folders(&mut self, expected: [&str; 3]) -> Result<()> {
        let what = "her folders, seen on fe2";
        let wanted: BTreeSet<String> = expected.map(str::to_owned).into();
        let (without, with) = tokio::try_join!(self.without.folders(), self.with.folders())?;
        let tell = |folders: &BTreeSet<String>| {
            let text = folders.iter().cloned().collect::<Vec<_>>().join(", ");
            if *folders == wanted { Told::good(text) } else { Told::bad(text) }
        };
        let (without, with) = (tell(&without), tell(&with));
        self.judge(what, Expected::OnlyWith, &without, &with);
        Ok(())
    }

    async fn pushes(&mut self, which: impl Fn(&Murder) -> &Node, after: &Dump) -> Result<()> {
        let what = format!("`ctl_mboxlist -mw` on {} would push", which(self.without.murder).name());
        let master = self.without.murder.mm.dump().await?;
        let (without, with) = tokio::try_join!(
            self.without.pushes(which(self.without.murder), &master),
            self.with.pushes(which(self.with.murder), after)
        )?;
        self.judge(&what, Expected::With, &told_pushes(&without), &told_pushes(&with));
        if !with.unsaid.is_empty() {
            self.screen.note(&format!(
                "      {}\n      (Cyrus's own RENAME tells the master no partition. -mw wants to fill it in, without an \
                 outage too.)",
                with.unsaid.join("\n      ")
            ));
        }
        Ok(())
    }

    async fn agree(&mut self, agreement: &Agreement<'_>) -> Result<()> {
        let what = "all lists agree, name by name";
        let reached = self.screen.step(what, agreement.reached_within(PATIENCE)).await;
        let with = match reached {
            Ok(_) => {
                let names = self.stage.murder.mm.dump().await?.0.len();
                Told::good(format!("{names} names: master, Ravenry, fe1, fe2, be1 and be2"))
            }
            Err(error) => Told::bad(format!("{error:#}")),
        };
        let differences = Agreement::begin(self.without.murder).await?.differences().await?;
        let without = match differences.as_slice() {
            [] => Told::good("yes"),
            [only] => Told::bad(format!("no: {}", briefly(only))),
            [first, ..] => Told::bad(format!("no, {} times: {}", differences.len(), briefly(first))),
        };
        self.judge(what, Expected::With, &without, &with);
        Ok(())
    }
}

fn told_pushes(pushes: &Pushes) -> Told {
    match (pushes.missed.is_empty(), pushes.unsaid.len()) {
        (false, _) => Told::bad(pushes.missed.join(", ")),
        (true, 0) => Told::good("nothing"),
        (true, _) => Told::good("nothing that it missed"),
    }
}

fn briefly(difference: &Difference) -> String {
    match difference {
        Difference::List { whose, name, .. } => format!("{whose} and the master about {name}"),
        Difference::Ghost { name, .. } => format!("{name} is listed and does not exist"),
        Difference::Unlisted { name, backend, .. } => format!("{name} on {backend} is not listed"),
        Difference::Held { name, .. } => format!("the master has other rights for {name} than its backend"),
        Difference::Reserved { name, .. } => format!("{name} is reserved, and by nobody"),
        Difference::MasterDied => "the master crashed".to_owned(),
    }
}

/// What the master's list did not hold before.
fn changes(before: &Dump, after: &Dump) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, entry) in &after.0 {
        match before.get(name) {
            None => lines.push(format!("new      {name}, on {}", entry.server().unwrap_or("?"))),
            Some(old) if old.acl != entry.acl => lines.push(format!("rights   {name}: {:?}", entry.acl)),
            Some(old) if old != entry => lines.push(format!("place    {name}: {}", entry.location)),
            Some(_) => {}
        }
    }
    for name in before.0.keys().filter(|name| after.get(name).is_none()) {
        lines.push(format!("gone     {name}"));
    }
    lines
}
