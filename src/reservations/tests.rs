//! What is made of the answers that real backends gave about mailboxes that XFER was moving.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::authority::testing::List;
use crate::backends::BackendError;
use crate::list::{Location, MailboxName};
use crate::net::secret::Secret;
use crate::net::tls::ClientTls;
use crate::store::{Change, Conflict};

/// What a backend answers, by the command with its mailbox; `None`: nothing.
type Answers = BTreeMap<String, Option<Vec<String>>>;

/// The lines of a recorded conversation, in order: whose it is, and what it was.
fn recorded(step: &str) -> impl Iterator<Item = (bool, &str)> {
    step.lines().filter_map(|line| {
        let said = line.get(3..)?.strip_suffix("\\r\\n")?;
        Some((line.starts_with("C: "), said))
    })
}

/// The steps of a recording, by what each says of itself.
fn steps(recording: &'static str) -> Vec<(&'static str, Answers)> {
    let steps = recording.split("# ").filter(|step| !step.is_empty());
    steps
        .map(|step| {
            let (mut answers, mut asked, mut command) = (Answers::new(), String::new(), String::new());
            for (client, said) in recorded(step) {
                let (tag, rest) = said.split_once(' ').unwrap_or((said, ""));
                match (client, rest.strip_suffix("+}").and_then(|head| head.rsplit_once(" {"))) {
                    (true, Some((head, _))) => command = head.to_owned(),
                    (true, None) => {
                        asked = format!("{command} {said}");
                        answers.insert(asked.clone(), None);
                    }
                    (false, _) => {
                        let words = said.strip_prefix(&format!("{tag} ")).unwrap_or_default();
                        let said = if tag == "*" { said.to_owned() } else { format!("TAG {words}") };
                        let said = said.replace("\\\\", "\\");
                        answers.entry(asked.clone()).or_default().get_or_insert_default().push(said);
                    }
                }
            }
            (step.lines().next().unwrap_or_default(), answers)
        })
        .collect()
}

async fn backend(answers: Answers) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let answers = answers.clone();
            // The client hangs up as it likes.
            tokio::spawn(async move { converse(client, &answers).await });
        }
    });
    address
}

async fn converse(client: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"* OK ready\r\n").await?;
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (tag, command) = line.trim().split_once(' ').unwrap_or_default();
        let said = match command.strip_suffix("+}").and_then(|head| head.rsplit_once(" {")) {
            None if command == "LIST \"\" \"\"" => "* LIST () \".\" \"\"\r\nTAG OK done\r\n".to_owned(),
            None => "TAG OK done\r\n".to_owned(),
            Some((command, _)) => {
                let mut mailbox = String::new();
                client.read_line(&mut mailbox).await?;
                match answers.get(&format!("{command} {}", mailbox.trim())) {
                    Some(None) => std::future::pending().await,
                    Some(Some(lines)) => lines.iter().flat_map(|line| [line, "\r\n"]).collect(),
                    // What it was not asked when it was recorded, it does not have.
                    None => "TAG OK done\r\n".to_owned(),
                }
            }
        };
        client.write_all(said.replace("TAG", tag).as_bytes()).await?;
    }
}

/// Who holds these, and lets them be used.
fn holds(names: &[&str]) -> Answers {
    let mut answers = Answers::new();
    let mut say = |asked: String, said: String| answers.insert(asked, Some(vec![said, "TAG OK done".into()]));
    for name in names {
        say(format!("LIST \"\" {name}"), format!("* LIST () \".\" {name}"));
        say(format!("GETACL {name}"), format!("* ACL {name} bob lrs"));
        let partition = "/shared/vendor/cmu/cyrus-imapd/partition";
        say(
            format!("GETMETADATA {name} {partition}"),
            format!("* METADATA {name} (\"{partition}\" \"default\")"),
        );
    }
    answers
}

/// What is special about the names before anybody is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Nothing,
    Old,
    OldAndInDoubt,
    InConflict,
}

const CONTROL: &str = "user.control";

/// One look at a user who was to be moved from be1 to be2, and what follows from it.
async fn looked(user: &str, be1: Answers, be2: Answers) -> Result<Vec<Verdict>, Unsure> {
    looked_at(user, be1, be2, Special::Nothing).await
}

async fn looked_at(user: &str, be1: Answers, be2: Answers, special: Special) -> Result<Vec<Verdict>, Unsure> {
    let sub = format!("{user}.sub");
    let names = [(user, "be1!default"), (sub.as_str(), "be1!default")];
    let list = List::of(&[(CONTROL, "be1!default")]).await.reserving(&names).await;
    let list = if special == Special::OldAndInDoubt { list.doubted() } else { list };
    if special == Special::InConflict {
        let name = MailboxName::new(sub.as_bytes()).unwrap();
        let conflict = Conflict { name, base: None, theirs: None, ours: None, at_unix: 1 };
        list.store.commit(vec![Change::Conflict(conflict)]).await.unwrap();
    }
    let addresses = [
        ("be1".to_owned(), backend(be1).await.to_string()),
        ("be2".to_owned(), backend(be2).await.to_string()),
    ];
    let servers = addresses.iter().map(|(server, _)| server.clone()).collect();
    let backends = Backends {
        user: "cyrus".into(),
        password: Secret::new("secret"),
        tls: ClientTls::Off,
        addresses: addresses.into(),
        deadline: Duration::from_millis(500),
    };
    let mut round = Round::default();
    let mut look = Look {
        namespace: &list,
        backends: &backends,
        round: &mut round,
        servers: &servers,
        nobodys: match special {
            Special::Old | Special::OldAndInDoubt => Duration::ZERO,
            Special::Nothing | Special::InConflict => Duration::from_secs(3600),
        },
    };
    let names = names.map(|(name, _)| MailboxName::new(name.as_bytes()).unwrap());
    Ok(judge(&look.at(names.to_vec()).await?))
}

fn revived(server: &str, acl: &str) -> Verdict {
    let location = Location::new(format!("{server}!default").as_bytes()).unwrap();
    Verdict::Revive(location, crate::list::Acl::new(acl.as_bytes()))
}

/// Each user of a recording, and what a look at each step comes to.
async fn judged(recording: &'static str, users: &[&str]) -> Vec<Result<Vec<Verdict>, Unsure>> {
    let mut all = Vec::new();
    for ((_, mut answers), user) in steps(recording).into_iter().zip(users) {
        answers.extend(holds(&[CONTROL]));
        all.push(looked(user, answers, Answers::new()).await);
    }
    all
}

#[tokio::test]
async fn nobody_is_revived_while_a_backend_of_3_6_moves_him() {
    let recording = include_str!("../../fixtures/imap/moving-3.6.1.txt");
    let all = judged(recording, &["user.u001", "user.u002", "user.u003", "user.u005"]).await;
    let [looked_up, first, both, off] = &all[..] else { panic!("{all:?}") };
    // XFER holds the user's lock: what wants to know the partition waits for it.
    for locked in [looked_up, first] {
        assert!(matches!(locked, Err(Unsure::Backend(BackendError::Late { .. }))), "{locked:?}");
    }
    assert_eq!(both.as_ref().unwrap(), &[Verdict::Wait, Verdict::Wait]);
    assert_eq!(off.as_ref().unwrap(), &[Verdict::Wait, Verdict::Wait]);
}

#[tokio::test]
async fn nobody_is_revived_while_a_backend_of_3_2_moves_him() {
    let recording = include_str!("../../fixtures/imap/moving-3.2.6.txt");
    for looked in judged(recording, &["user.u001", "user.u002", "user.u003"]).await {
        assert_eq!(looked.unwrap(), [Verdict::Wait, Verdict::Wait]);
    }
}

#[tokio::test]
async fn who_is_off_the_source_is_where_the_destination_has_him() {
    let recording = include_str!("../../fixtures/imap/moving-3.6.1.txt");
    let (_, mut off) = steps(recording).pop().unwrap();
    off.extend(holds(&[CONTROL]));
    let there = holds(&["user.u005", "user.u005.sub"]);
    let verdicts = looked("user.u005", off.clone(), there.clone()).await.unwrap();
    assert_eq!(verdicts, [revived("be2", "bob\tlrs\t"), revived("be2", "bob\tlrs\t")]);
    // A source that denies what it must hold is not believed.
    off.retain(|asked, _| !asked.contains(CONTROL));
    let outcome = looked("user.u005", off, there).await;
    assert!(matches!(outcome, Err(Unsure::Unproved(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_is_in_conflict_is_not_judged() {
    let here = holds(&[CONTROL, "user.u001", "user.u001.sub"]);
    let outcome = looked_at("user.u001", here, Answers::new(), Special::InConflict).await;
    assert!(matches!(outcome, Err(Unsure::Conflict)), "{outcome:?}");
}

#[tokio::test]
async fn what_is_in_doubt_may_come_but_not_go() {
    let nowhere = holds(&[CONTROL]);
    let old = looked_at("user.u001", nowhere.clone(), Answers::new(), Special::Old).await.unwrap();
    assert_eq!(old, [Verdict::Forget, Verdict::Forget]);
    let doubted = looked_at("user.u001", nowhere, Answers::new(), Special::OldAndInDoubt).await.unwrap();
    assert_eq!(doubted, [Verdict::Wait, Verdict::Wait]);
    let here = holds(&[CONTROL, "user.u001", "user.u001.sub"]);
    let doubted = looked_at("user.u001", here, Answers::new(), Special::OldAndInDoubt).await.unwrap();
    assert_eq!(doubted, [revived("be1", "bob\tlrs\t"), revived("be1", "bob\tlrs\t")]);
}

#[tokio::test]
async fn who_is_at_the_source_and_not_moving_is_there() {
    let here = holds(&[CONTROL, "user.u001", "user.u001.sub"]);
    let verdicts = looked("user.u001", here, Answers::new()).await.unwrap();
    assert_eq!(verdicts, [revived("be1", "bob\tlrs\t"), revived("be1", "bob\tlrs\t")]);
}
