//! Rule 12 at work: what has to be said, and on which session, before a name is taken off the list.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::unconfirmed::Round;
use super::*;
use crate::authority::testing::List;
use crate::list::{Acl, Location};
use crate::net::secret::Secret;
use crate::net::tls::ClientTls;
use crate::rules::without;
use crate::store::Change;

const GHOST: &str = "user.bob.gone";
const NEIGHBOUR: &str = "user.bob";
const HELD: &str = "user.bob.held";
const MOVED: &str = "user.bob.moved";

fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

/// What a backend holds; it may lose all of it with its first answer.
#[derive(Clone, Copy)]
struct Holds {
    names: &'static [&'static str],
    loses_it: bool,
}

async fn backend(holds: Holds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // The client hangs up as it likes.
            let _ = converse(client, holds).await;
        }
    });
    address
}

async fn converse(client: TcpStream, holds: Holds) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut held: BTreeSet<&str> = holds.names.iter().copied().collect();
    client.write_all(b"* OK be1\r\n").await?;
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (tag, command) = line.trim().split_once(' ').unwrap_or_default();
        let mut said = String::new();
        if command == "LIST \"\" \"\"" {
            said = "* LIST () \".\" \"\"\r\n".to_owned();
        } else if command.starts_with("LIST") {
            let mut asked = String::new();
            client.read_line(&mut asked).await?;
            if held.contains(asked.trim()) {
                said = format!("* LIST () \".\" {}\r\n", asked.trim());
            }
            if holds.loses_it {
                held.clear();
            }
        }
        client.write_all(format!("{said}{tag} OK done\r\n").as_bytes()).await?;
    }
}

fn asked_at(be1: SocketAddr) -> Backends {
    Backends {
        user: "cyrus".into(),
        password: Secret::new("secret"),
        tls: ClientTls::Off,
        addresses: [("be1".to_owned(), be1.to_string())].into(),
        deadline: Duration::from_secs(10),
    }
}

/// Suspects the ghost: why it is kept, if it is; and what the list was told.
async fn suspected(list: List, at: SocketAddr) -> (Result<(), Kept>, Vec<Write>) {
    let writes = list.writes.clone();
    let mut watch = Watch::new(Arc::new(list), Live::new(asked_at(at)));
    let outcome = watch.look_into(&name(GHOST)).await.map(drop);
    let told = writes.all();
    (outcome, told)
}

const BOTH: [(&str, &str); 2] = [(NEIGHBOUR, "be1!default"), (GHOST, "be1!default")];

async fn listed(holds: Holds) -> (Result<(), Kept>, Vec<Write>) {
    suspected(List::of(&BOTH).await, backend(holds).await).await
}

#[tokio::test]
async fn a_ghost_goes_when_its_backend_denies_it_and_has_its_neighbour() {
    let list = List::of(&BOTH).await;
    let (_, version) = list.versioned(&name(GHOST)).unwrap().unwrap();
    let (outcome, told) =
        suspected(list, backend(Holds { names: &[NEIGHBOUR], loses_it: false }).await).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(told, [Write::Forget { name: name(GHOST), version }]);
}

#[tokio::test]
async fn a_ghost_among_ghosts_goes_when_its_backend_has_anything_of_what_it_must_hold() {
    let ghosts: Vec<String> = (0..40).map(|nth| format!("user.bob.lost{nth:02}")).collect();
    let mut names: Vec<(&str, &str)> = ghosts.iter().map(|ghost| (ghost.as_str(), "be1!default")).collect();
    names.extend([(GHOST, "be1!default"), ("user.carol", "be1!default")]);
    let at = backend(Holds { names: &["user.carol"], loses_it: false }).await;
    let (outcome, told) = suspected(List::of(&names).await, at).await;
    assert!(outcome.is_ok() && told.len() == 1, "{outcome:?} {told:?}");
}

#[tokio::test]
async fn where_the_neighbours_are_the_whole_list_twice_as_many_serve() {
    let neighbours: Vec<String> = (0..12).map(|nth| format!("user.bob.lost{nth:02}")).collect();
    let mut names: Vec<(&str, &str)> = neighbours.iter().map(|name| (name.as_str(), "be1!default")).collect();
    names.push((GHOST, "be1!default"));
    let at = backend(Holds { names: &["user.bob.lost11"], loses_it: false }).await;
    let (outcome, told) = suspected(List::of(&names).await, at).await;
    assert!(outcome.is_ok() && told.len() == 1, "{outcome:?} {told:?}");
}

#[tokio::test]
async fn rule_12_a_backend_that_denies_what_it_must_hold_is_not_believed() {
    // It came up with an empty list; or it loses its list while it is asked, so that the first denial was a true one.
    for (names, loses_it) in [(&[][..], false), (&[NEIGHBOUR], true)] {
        let (outcome, told) = listed(Holds { names, loses_it }).await;
        assert!(
            matches!(&outcome, Err(Kept::Unproved(Unproved::Unbelievable(server))) if server == "be1"),
            "{outcome:?}"
        );
        assert_eq!(told, []);
    }
}

#[tokio::test]
async fn without_rule_12_a_backend_that_lost_its_list_empties_ours() {
    let _off = without(Rule::NoRemovalOnStaleEvidence);
    let (outcome, told) = listed(Holds { names: &[], loses_it: false }).await;
    assert!(outcome.is_ok() && told.len() == 1, "{outcome:?} {told:?}");
}

#[tokio::test]
async fn rule_12_what_there_is_nothing_to_compare_with_stays() {
    // Another backend's mailbox proves nothing, nor does one that may be about to go with the ghost.
    let below = format!("{GHOST}.below");
    let alone = [(GHOST, "be1!default"), (below.as_str(), "be1!default"), ("user.carol", "be2!default")];
    let at = backend(Holds { names: &[], loses_it: false }).await;
    let (outcome, told) = suspected(List::of(&alone).await, at).await;
    assert!(
        matches!(&outcome, Err(Kept::Unproved(Unproved::NoControl(server))) if server == "be1"),
        "{outcome:?}"
    );
    assert_eq!(told, []);
}

#[tokio::test]
async fn what_is_held_or_in_doubt_or_cannot_be_asked_stays() {
    let (outcome, told) = listed(Holds { names: &[NEIGHBOUR, GHOST], loses_it: false }).await;
    assert!(matches!(outcome, Err(Kept::Held)) && told.is_empty(), "{outcome:?} {told:?}");

    let doubted = List::of(&BOTH).await.doubted();
    let at = backend(Holds { names: &[NEIGHBOUR], loses_it: false }).await;
    let (outcome, told) = suspected(doubted, at).await;
    assert!(matches!(outcome, Err(Kept::InDoubt)) && told.is_empty(), "{outcome:?} {told:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (outcome, told) = suspected(List::of(&BOTH).await, nobody).await;
    assert!(matches!(outcome, Err(Kept::Backend(_))) && told.is_empty(), "{outcome:?} {told:?}");
}

/// A round over what is unconfirmed, at a backend that holds this; what is forgotten, and what the round says.
async fn reviewed(unconfirmed: &[(&str, Option<Entry>)], holds: Holds) -> (Vec<MailboxName>, Round) {
    let list = List::of(&[
        (NEIGHBOUR, "be1!default"),
        (GHOST, "be1!default"),
        (HELD, "be1!default"),
        (MOVED, "be1!default"),
    ])
    .await;
    let put =
        |(of, theirs): &(&str, Option<Entry>)| Change::Unconfirmed { name: name(of), theirs: theirs.clone() };
    list.store.commit(unconfirmed.iter().map(put).collect()).await.unwrap();
    let writes = list.writes.clone();
    let mut watch = Watch::new(Arc::new(list), Live::new(asked_at(backend(holds).await)));
    let round = Round::go(&mut watch).await.unwrap();
    let told = writes.all();
    (told.iter().map(|write| write.name().clone()).collect(), round)
}

#[tokio::test]
async fn of_what_the_master_lacks_goes_only_what_its_backend_denies() {
    let elsewhere = Entry::active(Location::new(b"be2!default").unwrap(), Acl::new(b"bob\tlrs"));
    let unconfirmed = [(GHOST, None), (HELD, None), (MOVED, Some(elsewhere))];
    let (told, round) = reviewed(&unconfirmed, Holds { names: &[NEIGHBOUR, HELD], loses_it: false }).await;
    assert_eq!(told, [name(GHOST)], "nor what the master has elsewhere");
    assert_eq!((round.forgotten, round.left()), (1, 1));
}

#[tokio::test]
async fn a_backend_that_is_not_believed_is_asked_once_in_a_round() {
    let unconfirmed = [(GHOST, None), (HELD, None)];
    let (told, round) = reviewed(&unconfirmed, Holds { names: &[], loses_it: false }).await;
    assert_eq!((told, round.forgotten, round.left()), (vec![], 0, 2));
    assert_eq!(round.kept.len(), 1, "{:?}", round.kept);
}
