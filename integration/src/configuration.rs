//! What users and administrators do in a murder that is set up in some way, through Ravenry's three faces, while the master
//! is gone. With `CONFIGURATIONS=bare` the same is done without Ravenry and with the master there, which shows what a
//! configuration cannot do by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use crate::agreement::Agreement;
use crate::clients::{Imap, Lmtp};
use crate::murder::{Murder, Names, Node, Plan, Suite};
use crate::post::arrived;
use crate::sight::Sight;
use crate::stage::{BACKENDS, IMAP, LMTP, Stage};

/// A master sends changes every 5 seconds.
const SHOWN: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(30);

/// The users, and how everything is written here.
struct Cast<'a> {
    murder: &'a Murder,
    names: Names,
    alice: String,
    bob: String,
    carol: String,
}

impl<'a> Cast<'a> {
    /// Sees to the users' accounts; alice is on be1, bob on be2, and carol is nowhere yet.
    async fn enter(murder: &'a Murder) -> Result<Self> {
        let names = murder.plan().names;
        let domain = if names.domains { "@example.net" } else { "" };
        let [alice, bob] = ["alice", "bob"].map(|user| format!("{user}{domain}"));
        // With `/` between folders a dot is a part of the name; inside it is `^`.
        let carol = if names.unix_separator { format!("carol.o{domain}") } else { format!("carol{domain}") };
        for user in [&alice, &bob, &carol] {
            // The usual names are in the image.
            if user.contains(['@', '.']) {
                let nodes = murder.frontends().into_iter().chain(murder.backends());
                try_join_all(nodes.map(|node| account(node, user))).await?;
            }
        }
        let cast = Self { murder, names, alice, bob, carol };
        murder.create_user(&cast.alice, &murder.be1).await?;
        murder.create_user(&cast.bob, &murder.be2).await?;
        let mut alice = murder.fe1.imap(&cast.alice).await?;
        for folder in ["old", "old.child", "doomed"] {
            alice.create(&names.own(folder)).await?.ok().with_context(|| format!("CREATE {folder}"))?;
        }
        let mut bob = murder.fe2.imap(&cast.bob).await?;
        bob.create(&names.own("taken along")).await?.ok()?;
        Ok(cast)
    }

    /// The internal name of a user's folder.
    fn inside(&self, user: &str, folder: &str) -> String {
        let inbox = self.names.inbox(user);
        if folder.is_empty() { inbox } else { format!("{inbox}.{folder}") }
    }

    /// Everything that users and administrators do, through a frontend. Each change shows at both frontends.
    async fn play(&self, mut alice: Imap) -> Result<()> {
        let (murder, names) = (self.murder, self.names);
        let mut sight = Sight::open(murder).await?;
        alice.create(&names.own("new")).await?.ok().context("CREATE of a child")?;
        sight.active(&self.inside(&self.alice, "new"), SHOWN).await?;
        murder.create_user(&self.carol, &murder.be2).await.context("CREATE at the top")?;
        sight.active(&self.inside(&self.carol, ""), SHOWN).await?;

        alice.rename(&names.own("old"), &names.own("renamed")).await?.ok().context("RENAME")?;
        for folder in ["", ".child"] {
            sight.gone(&self.inside(&self.alice, &format!("old{folder}")), SHOWN).await?;
            sight.active(&self.inside(&self.alice, &format!("renamed{folder}")), SHOWN).await?;
        }
        alice.set_acl(&names.own("new"), "anyone", "p").await?.ok().context("SETACL")?;
        let new = self.inside(&self.alice, "new");
        let shown = sight.of(&new, SHOWN, |entry| {
            entry.is_some_and(|entry| entry.is_active() && entry.acl.rights("anyone") == "p")
        });
        shown.await.context("SETACL")?;
        alice.delete(&names.own("doomed")).await?.ok().context("DELETE, delayed")?;
        sight.gone(&self.inside(&self.alice, "doomed"), SHOWN).await?;

        let mut admin = murder.be2.imap("cyrus").await?;
        let bobs = names.for_admin(&names.inbox(&self.bob));
        admin.xfer(&bobs, &murder.be1.server()).await?.ok().context("XFER")?;
        // A backend of 3.2 takes no name with slashes for a mailbox of its own: it says OK and moves nobody, with a master, too.
        let stays = names.unix_separator && murder.plan().suite_of("be2") == Suite::Bullseye;
        let home = if stays { murder.be2.server() } else { murder.be1.server() };
        for folder in ["", "taken along"] {
            let name = self.inside(&self.bob, folder);
            let moved = sight.of(&name, SHOWN, |entry| {
                entry.is_some_and(|entry| entry.is_active() && entry.server() == Some(&home))
            });
            moved.await.context("XFER")?;
        }
        Ok(())
    }

    /// Delivers to each, and tells how it went.
    async fn deliver(&self, mut way: Lmtp, id: &str) -> Result<()> {
        let folder = match self.alice.split_once('@') {
            Some((user, domain)) => format!("{user}+{}@{domain}", self.names.of_address("new")),
            None => format!("{}+{}", self.alice, self.names.of_address("new")),
        };
        for recipient in [&self.carol, &folder, &self.bob] {
            let delivery = way.deliver_one(recipient, &format!("{recipient}-{id}")).await?;
            ensure!(delivery.verdict().is_ok(), "{id}: {delivery:?}");
        }
        Ok(())
    }

    /// So many messages are in each of the mailboxes.
    async fn arrived(&self, count: u32) -> Result<()> {
        for (user, mailbox) in [
            (&self.alice, self.names.own("new")),
            (&self.bob, "INBOX".to_owned()),
            (&self.carol, "INBOX".to_owned()),
        ] {
            arrived(&self.murder.fe2, user, &mailbox, count, SOON).await?;
        }
        Ok(())
    }
}

/// A plain name is in the realm of its host: those with a domain, or with a dot, are new.
async fn account(node: &Node, user: &str) -> Result<()> {
    let (name, realm) = match user.split_once('@') {
        Some((name, realm)) => (name, realm.to_owned()),
        None => (user, node.server()),
    };
    let script = "printf secret | saslpasswd2 -p -c -u \"$1\" \"$2\" && chown cyrus /etc/sasldb2";
    node.exec_root(&["sh", "-c", script, "sh", &realm, name]).await?.success().map(drop)
}

/// What the configuration does without Ravenry.
async fn bare(plan: Plan) -> Result<()> {
    let murder = Murder::start(plan).await?;
    let cast = Cast::enter(&murder).await?;
    let agreement = Agreement::begin(&murder).await?;
    agreement.reached_within(SOON).await?;
    cast.play(murder.fe1.imap(&cast.alice).await?).await?;
    for frontend in murder.frontends() {
        cast.deliver(frontend.lmtp().await?, frontend.name()).await?;
    }
    cast.arrived(2).await?;
    agreement.reached_within(SOON).await?;
    agreement.nothing_to_push().await?;
    murder.stop().await
}

/// How Ravenry reads addresses, as the frontends do.
fn addresses(names: Names) -> String {
    let domains =
        if names.domains { "virtdomains = \"userid\"\ndefaultdomain = \"example.org\"\n" } else { "" };
    format!("[lmtp.names]\nunixhierarchysep = {}\n{domains}", names.unix_separator)
}

/// Everything that the murder of this plan is for, with Ravenry and without a master.
pub async fn in_an_outage(plan: Plan) -> Result<()> {
    if std::env::var("CONFIGURATIONS").is_ok_and(|which| which == "bare") {
        return bare(plan).await;
    }
    let names = plan.names;
    let stage = Stage::start(plan, &format!("{IMAP}{LMTP}{}{BACKENDS}", addresses(names))).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let cast = Cast::enter(murder).await?;
    let mut agreement = stage.agreement().await?;
    agreement.reached_within(SOON).await?;

    murder.mm.stop_cyrus().await?;
    let mut client = Imap::connect(stage.imap()).await?;
    client.login(&cast.alice).await?;
    cast.play(client).await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    for frontend in murder.frontends() {
        cast.deliver(frontend.lmtp().await?, frontend.name()).await?;
    }
    cast.deliver(Lmtp::connect((murder.gateway(), 2424).into()).await?, "ravenry").await?;
    cast.arrived(3).await?;
    ghost(&stage, &cast).await?;

    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SOON).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;
    agreement.nothing_to_push().await?;
    let audit = ravenry.cli(&["audit"]).await?;
    ensure!(audit.exit == 0, "what the backends hold: {audit:?}");
    stage.stop().await
}

/// What be2 deletes without a word to anybody is off the lists: Ravenry understood the client's name for it, and asked
/// the backend by the administrator's.
async fn ghost(stage: &Stage, cast: &Cast<'_>) -> Result<()> {
    let mut carol = Imap::connect(stage.imap()).await?;
    carol.login(&cast.carol).await?;
    let mut sight = Sight::open(&stage.murder).await?;
    let folder = if cast.names.unix_separator { "gone.v^2" } else { "gone.v2" };
    let (own, inside) = (cast.names.own(folder), cast.inside(&cast.carol, folder));
    carol.create(&own).await?.ok()?;
    sight.active(&inside, SHOWN).await?;
    carol.delete(&own).await?.ok()?;
    sight.gone(&inside, SHOWN).await.context("a ghost")?;
    Ok(())
}
