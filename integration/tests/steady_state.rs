//! In peace nobody can tell Ravenry from the master: the same script has the same replies in a murder without it
//! and in one with it, and leaves the same lists.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use ravenry_integration::agreement::{Agreement, Difference};
use ravenry_integration::clients::{Imap, Response};
use ravenry_integration::murder::{Entry, Murder, Node, Plan};
use ravenry_integration::stage::Stage;

/// Without Ravenry a frontend learns of a change within the master's 5 s tick; this is for a busy machine.
const AGREED: Duration = Duration::from_secs(20);

/// What a murder said to the script, and the list that it ended with.
#[derive(Debug, Default)]
struct Account {
    /// The step, and everything that answered it.
    replies: Vec<(String, Vec<String>)>,
    list: BTreeMap<String, Entry>,
}

#[tokio::test(flavor = "multi_thread")]
async fn in_peace_the_murder_behaves_as_without_ravenry() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let without = Script::run(&murder, &Agreement::begin(&murder).await?).await?;
    murder.stop().await?;

    let stage = Stage::start(Plan::chosen()?, "").await?;
    let with = Script::run(&stage.murder, &stage.agreement().await?).await?;
    let status = stage.ravenry.status().await?;
    assert_eq!(status["state"], "following");
    assert_eq!((status["journal"].as_u64(), status["doubts"].as_u64()), (Some(0), Some(0)), "{status}");

    for (step, lines) in &with.replies {
        println!("{step}: {}", lines.last().map_or("", String::as_str));
    }
    let mut differences = Vec::new();
    for ((step, theirs), (_, ours)) in without.replies.iter().zip(&with.replies) {
        if theirs != ours {
            differences.push(format!("{step}\n  without: {theirs:#?}\n  with: {ours:#?}"));
        }
    }
    println!("{} steps, {} names", with.replies.len(), with.list.len());
    assert!(differences.is_empty(), "{} replies differ\n{}", differences.len(), differences.join("\n"));
    assert_eq!(without.replies.len(), with.replies.len());
    assert_eq!(without.list, with.list);
    // be2 deletes at once, and tells nobody.
    stage.stop_but_for(Difference::is_ghost).await
}

/// One run of the script.
struct Script<'a> {
    murder: &'a Murder,
    agreement: &'a Agreement<'a>,
    account: Account,
}

impl<'a> Script<'a> {
    async fn run(murder: &'a Murder, agreement: &'a Agreement<'a>) -> Result<Account> {
        let mut script = Self { murder, agreement, account: Account::default() };
        let (be1, be2) = (murder.be1.location(), murder.be2.location());
        let mut admin = murder.fe1.imap("cyrus").await?;
        script
            .imap(
                &mut admin,
                "administrator",
                &[
                    &format!("CREATE user.alice {be1}"),
                    &format!("CREATE user.bob {be2}"),
                    &format!("CREATE user.carol {be1}"),
                    &format!("CREATE user.alice {be2}"),
                    "CREATE user.nobody nowhere.murder.test!default",
                    "GETACL user.alice",
                ],
            )
            .await?;
        script.settle().await?;
        script.owner().await?;
        script.settle().await?;
        script.elsewhere().await?;
        script.deliveries().await?;
        script.moves(&mut admin).await?;
        script.settle().await?;
        let master = murder.mm.dump().await?;
        script.account.list = master.0.into_iter().map(|(name, entry)| (normal(&name), entry)).collect();
        Ok(script.account)
    }

    /// What users do with what is theirs.
    ///
    /// Now and then the frontends are given time: without Ravenry, a frontend deadlocks with itself when it is to
    /// rename or delete what it has not heard of yet (Cyrus issue 5926).
    async fn owner(&mut self) -> Result<()> {
        let mut alice = self.murder.fe1.imap("alice").await?;
        // His backend deletes at once, and tells nobody.
        let mut bob = self.murder.fe2.imap("bob").await?;
        let creates = [
            "CAPABILITY",
            "LIST \"\" *",
            "CREATE INBOX.work",
            "CREATE INBOX.work",
            "CREATE INBOX.a.b.c",
            "CREATE \"INBOX.&AOk-t&AOk- x\"",
            "CREATE INBOX.old",
            "CREATE INBOX.old.child",
            "CREATE INBOX.doomed",
            "CREATE INBOX.doomed.child",
            "CREATE user.bob.stolen",
            "CREATE user.mallory",
            "LIST \"\" *",
        ];
        self.imap(&mut alice, "alice", &creates).await?;
        self.imap(&mut bob, "bob", &["CREATE INBOX.gone", "CREATE INBOX.kept"]).await?;
        self.settle().await?;
        let renames = [
            "RENAME INBOX.old INBOX.new",
            "RENAME INBOX.old INBOX.newer",
            "RENAME INBOX.work INBOX.new",
            "LIST \"\" *",
        ];
        self.imap(&mut alice, "alice", &renames).await?;
        let deletes =
            ["DELETE INBOX.gone", "SELECT INBOX.gone", "RENAME INBOX.kept INBOX.moved", "LIST \"\" *"];
        self.imap(&mut bob, "bob", &deletes).await?;
        self.settle().await?;
        let rights = [
            "SETACL INBOX.work bob lrs",
            "SETACL INBOX.work anyone p",
            "SETACL INBOX.work bob +w",
            "SETACL INBOX.nowhere bob lrs",
            "SETACL INBOX.work bob !",
            "GETACL INBOX.work",
            "LISTRIGHTS INBOX.work bob",
            "MYRIGHTS INBOX.work",
            "SETACL INBOX.new bob lrs",
            "DELETEACL INBOX.new bob",
            "GETACL INBOX.new",
            "SUBSCRIBE INBOX.work",
            "SUBSCRIBE INBOX.new",
            "SUBSCRIBE INBOX.nowhere",
            "UNSUBSCRIBE INBOX.new",
            "LSUB \"\" *",
        ];
        self.imap(&mut alice, "alice", &rights).await?;
        let deletes = [
            "DELETE INBOX.doomed",
            "DELETE INBOX.doomed.child",
            "DELETE INBOX.nowhere",
            "SELECT INBOX.nowhere",
        ];
        self.imap(&mut alice, "alice", &deletes).await?;
        self.settle().await?;
        let messages = [
            "SELECT INBOX.doomed",
            "APPEND INBOX.work {22+}\r\nSubject: x\r\n\r\nHello.\r\n",
            "APPEND INBOX.nowhere {22+}\r\nSubject: x\r\n\r\nHello.\r\n",
            "SELECT INBOX.work",
            "FETCH 1 (UID FLAGS BODY[])",
            "STORE 1 +FLAGS.SILENT (\\Flagged)",
            "COPY 1 INBOX.new",
            "COPY 1 INBOX.nowhere",
            "CLOSE",
            "STATUS INBOX.new (MESSAGES UNSEEN)",
            "EXAMINE user.bob",
            "LIST \"\" *",
        ];
        self.imap(&mut alice, "alice", &messages).await
    }

    /// The same mailboxes through the other frontend, and other people's.
    async fn elsewhere(&mut self) -> Result<()> {
        let shows = [
            "LIST \"\" *",
            "LSUB \"\" *",
            "GETACL user.alice.work",
            "MYRIGHTS user.alice.work",
            "SELECT user.alice.work",
            "FETCH 1:* (FLAGS)",
            "UNSELECT",
            "STATUS user.alice.new (MESSAGES)",
            "SELECT user.bob.gone",
            "CREATE user.alice.work",
        ];
        for frontend in self.murder.frontends() {
            for user in ["alice", "bob", "cyrus"] {
                let mut session = frontend.imap(user).await?;
                self.imap(&mut session, &format!("{user} at {}", frontend.name()), &shows).await?;
            }
        }
        self.settle().await
    }

    async fn deliveries(&mut self) -> Result<()> {
        for frontend in self.murder.frontends() {
            for (number, recipients) in [
                &["alice"][..],
                &["alice+work"],
                &["alice+nowhere"],
                &["bob+gone"],
                &["nobody"],
                &["alice", "nobody", "bob", "alice+new"],
            ]
            .iter()
            .enumerate()
            {
                self.deliver(frontend, recipients, number).await?;
            }
        }
        for user in ["alice", "bob"] {
            let mut session = self.murder.fe2.imap(user).await?;
            let counts =
                ["STATUS INBOX (MESSAGES)", "STATUS INBOX.work (MESSAGES)", "STATUS INBOX.new (MESSAGES)"];
            self.imap(&mut session, user, &counts).await?;
        }
        Ok(())
    }

    /// Whole users on their way to another backend and another name.
    async fn moves(&mut self, admin: &mut Imap) -> Result<()> {
        let (be1, be2) = (self.murder.be1.server(), self.murder.be2.server());
        let mut there = self.murder.be1.imap("cyrus").await?;
        self.imap(
            &mut there,
            "administrator at be1",
            &[
                &format!("XFER user.alice {be2}"),
                &format!("XFER user.alice {be2}"),
                &format!("XFER user.nobody {be2}"),
                "XFER user.carol nowhere.murder.test",
            ],
        )
        .await?;
        self.settle().await?;
        self.imap(
            admin,
            "administrator",
            &[
                &format!("XFER user.bob {be1}"),
                "RENAME user.carol user.caroline",
                "SETACL user.caroline cyrus lrswipkxtecda",
                "GETACL user.caroline",
                "LIST \"\" *",
            ],
        )
        .await?;
        self.settle().await?;
        for frontend in self.murder.frontends() {
            self.deliver(frontend, &["alice", "alice+work", "carol", "caroline"], 10).await?;
            let mut alice = frontend.imap("alice").await?;
            self.imap(
                &mut alice,
                "alice, moved",
                &[
                    "LIST \"\" *",
                    "LSUB \"\" *",
                    "SELECT INBOX.work",
                    "FETCH 1:* (FLAGS)",
                    &format!("CREATE INBOX.from-{}", frontend.name()),
                    &format!("SETACL INBOX.from-{} bob lrs", frontend.name()),
                ],
            )
            .await?;
        }
        self.settle().await?;
        let deletes =
            ["DELETE user.caroline", "SETACL user.bob cyrus lrswipkxtecda", "DELETE user.bob", "LIST \"\" *"];
        self.imap(admin, "administrator", &deletes).await
    }

    /// Runs commands and writes down what they were told.
    async fn imap(&mut self, session: &mut Imap, who: &str, commands: &[&str]) -> Result<()> {
        for command in commands {
            let Response { untagged, completion, text } = session.run(command).await?;
            let mut lines: Vec<String> = untagged.iter().map(|line| normal(line)).collect();
            lines.push(normal(&format!("{completion:?} {text}")));
            self.account.replies.push((format!("{who}: {command}"), lines));
        }
        Ok(())
    }

    async fn deliver(&mut self, frontend: &Node, recipients: &[&str], number: usize) -> Result<()> {
        let step = format!("LMTP at {} for {recipients:?}", frontend.name());
        let message =
            format!("Message-ID: <{number}@{}>\r\nSubject: {number}\r\n\r\nHello.\r\n", frontend.name());
        let deliveries = frontend.lmtp().await?.deliver(recipients, &message).await?;
        let lines = deliveries.iter().map(|delivery| normal(&format!("{delivery:?}"))).collect();
        self.account.replies.push((step, lines));
        Ok(())
    }

    /// Waits until both frontends know everything. A frontend that is asked for somebody unknown asks for news at
    /// once, or else this would take until the master's next tick where there is no Ravenry.
    async fn settle(&self) -> Result<()> {
        for frontend in self.murder.frontends() {
            frontend.lmtp().await?.deliver_one("stranger", "stranger").await?;
        }
        self.agreement.reached_but_for(AGREED, Difference::is_ghost).await.map(drop)
    }
}

/// A line without what differs from one run to the next: numbers that Cyrus makes of the time or of chance.
fn normal(line: &str) -> String {
    type IsMasked = fn(char) -> bool;
    let masks: [(&str, IsMasked); 9] = [
        // A frontend tells its clients where its mupdate server is.
        ("MUPDATE=mupdate://", |c| c != '/'),
        // How long it took: `(0.001 secs 10 calls)`.
        ("Completed (", |c| c.is_ascii_digit() || c == '.'),
        ("SESSIONID=<", |c| c != '>'),
        ("UIDVALIDITY ", |c| c.is_ascii_digit()),
        ("APPENDUID ", |c| c.is_ascii_digit()),
        ("COPYUID ", |c| c.is_ascii_digit()),
        ("MAILBOXID (", |c| c != ')'),
        ("EMAILID (", |c| c != ')'),
        ("THREADID (", |c| c != ')'),
    ];
    let mut line = line.to_owned();
    for (before, masked) in masks {
        let mut parts = line.split(before);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push_str(before);
            text.push('#');
            text.push_str(part.trim_start_matches(masked));
        }
        line = text;
    }
    // DELETED.user.alice.doomed.6B041D87
    if let Some(at) = line.find("DELETED.")
        && let Some(dot) = line.rfind('.')
        && dot > at
        && line[dot + 1..].chars().take_while(char::is_ascii_hexdigit).count() == 8
    {
        line.replace_range(dot + 1..dot + 9, "#");
    }
    line
}
