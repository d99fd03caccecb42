//! The rules that this face keeps, each shown to matter.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{Stage, active, name};
use crate::rules::{Rule, without};

/// What a stream is sent at its end.
async fn end_of_a_stream() -> String {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stream = stage.client().await;
    stream.say("U01 UPDATE\r\n").await;
    stream.until("U01 OK \"streaming starts\"\r\n").await;
    assert_eq!(stream.ask("FIND \"user.alice\"").await, "X1 BAD \"not legal when streaming\"\r\n");
    stage.authority.stop().await;
    stream.rest().await
}

#[tokio::test]
async fn rule_2_a_stream_is_never_ended_by_a_reply() {
    assert_eq!(end_of_a_stream().await, "", "closed bare");
}

#[tokio::test]
async fn without_rule_2_a_slave_would_wipe_its_list() {
    let _off = without(Rule::StreamsEndBare);
    assert_eq!(end_of_a_stream().await, "U01 NO \"the stream ends\"\r\n");
}

/// What a Cyrus slave makes of a list that it is sent, when it holds another: it walks both with `strcmp`, although
/// neither lies in that order, puts what it does not meet in its own, and deletes what it does not meet in ours.
fn slave_merges(own: &[String], sent: &[String]) -> BTreeSet<String> {
    let mut held: BTreeSet<String> = own.iter().cloned().collect();
    let (mut own, mut sent) = (own.iter().peekable(), sent.iter().peekable());
    loop {
        let order = match (own.peek(), sent.peek()) {
            (None, None) => return held,
            (Some(own), Some(sent)) => own.as_bytes().cmp(sent.as_bytes()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        if order != Ordering::Greater
            && let Some(name) = own.next()
            && order == Ordering::Less
        {
            held.remove(name);
        }
        if order != Ordering::Less
            && let Some(name) = sent.next()
        {
            held.insert(name.clone());
        }
    }
}

/// The names in the data lines of a stream, in their order.
fn streamed(text: &str) -> Vec<String> {
    let strings = text.lines().map(|line| line.split('"').nth(1).unwrap_or_default());
    strings.filter(|string| string.starts_with("user.")).map(str::to_owned).collect()
}

/// What a slave holds that missed a deletion and connects again.
async fn slave_after_a_resync() -> Vec<String> {
    let names = ["user.foo", "user.foo-x", "user.foo.bar"];
    let stage = Stage::start(&names.map(|name| (name, "be1!default"))).await;
    let own = {
        let mut stream = stage.client().await;
        stream.say("U UPDATE\r\n").await;
        streamed(&stream.until("U OK \"streaming starts\"\r\n").await)
    };
    assert_eq!(own, ["user.foo", "user.foo.bar", "user.foo-x"], "in the master's order");
    let mut backend = stage.client().await;
    assert_eq!(backend.ask("DELETE \"user.foo.bar\"").await, "X1 OK \"done\"\r\n");
    let mut stream = stage.client().await;
    stream.say("U UPDATE\r\n").await;
    let sent = streamed(&stream.until("U OK \"streaming starts\"\r\n").await);
    stream.say("N NOOP\r\n").await;
    let later = streamed(&stream.until("N OK \"Noop done\"\r\n").await);
    let mut held = slave_merges(&own, &sent);
    held.extend(later);
    held.into_iter().collect()
}

#[tokio::test]
async fn rule_3_a_slave_that_missed_a_deletion_loses_nothing_else() {
    assert_eq!(slave_after_a_resync().await, ["user.foo", "user.foo-x"]);
}

#[tokio::test]
async fn without_rule_3_a_slave_loses_a_neighbour_of_what_was_deleted() {
    let _off = without(Rule::WholeListInOrder);
    assert_eq!(slave_after_a_resync().await, ["user.foo"]);
}

#[tokio::test]
async fn rule_4_ctl_mboxlist_is_not_told_what_would_make_it_wipe() {
    let stage = Stage::start(&[("user.alice", "be2!default"), ("user.bob", "be1!default")]).await;
    let mut backend = stage.client().await;
    backend.say("X0 LIST \"be1!\"\r\n").await;
    backend.until("X0 OK \"list complete\"\r\n").await;
    assert_eq!(backend.ask("FIND \"user.alice\"").await, "X1 NO \"temporary failure\"\r\n");
    let taken = backend.ask("ACTIVATE \"user.alice\" \"be1!default\" \"alice\tlrs\"").await;
    assert_eq!(taken, "X1 NO \"temporary failure\"\r\n");
    assert_eq!(backend.ask("DELETE \"user.alice\"").await, "X1 NO \"temporary failure\"\r\n");
    assert_eq!(backend.ask("ACTIVATE \"user.bob\" \"be1!default\" \"bob\tlrs\"").await, "X1 OK \"done\"\r\n");
}

/// What a backend that compares its list is told of a mailbox that it has, and we have elsewhere.
async fn found_elsewhere() -> String {
    let stage = Stage::start(&[("user.alice", "be2!default")]).await;
    let mut backend = stage.client().await;
    backend.say("X0 LIST \"be1!\"\r\n").await;
    backend.until("X0 OK \"list complete\"\r\n").await;
    backend.say("X1 FIND \"user.alice\"\r\n").await;
    backend.until("\r\n").await
}

#[tokio::test]
async fn rule_4_find_does_not_tell_a_backend_to_wipe_a_mailbox() {
    assert_eq!(found_elsewhere().await, "X1 NO \"temporary failure\"\r\n");
}

#[tokio::test]
async fn without_rule_4_ctl_mboxlist_would_wipe_the_mailbox() {
    let _off = without(Rule::FindNeverGuesses);
    assert!(found_elsewhere().await.starts_with("X1 MAILBOX"));
}

/// Whether somebody who did not log in can change the list.
async fn a_stranger_writes() -> bool {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stranger = stage.stranger().await;
    for command in [
        "DELETE \"user.alice\"",
        "RESERVE \"user.new\" \"be1!default\"",
        "ACTIVATE \"user.new\" \"be1!default\" \"\"",
        "DEACTIVATE \"user.alice\" \"be1!default\"",
    ] {
        stranger.ask(command).await;
    }
    let held = |mailbox: &str| stage.authority.store().get(&name(mailbox)).unwrap();
    held("user.new").is_some() || held("user.alice") != Some(active("be1!default"))
}

#[tokio::test]
async fn rule_11_nothing_unauthenticated_writes() {
    assert!(!a_stranger_writes().await);
}

#[tokio::test]
async fn without_rule_11_a_stranger_changes_the_list() {
    let _off = without(Rule::NothingUnauthenticatedWrites);
    assert!(a_stranger_writes().await);
}
