//! The master by itself: every command, every error that can be had without killing it, and then that.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Book;
use super::script::Script;
use crate::clients::Mupdate;
use crate::murder::{Murder, Plan, Suite};
use crate::transcript::Transcript;

const BE1: &str = "be1.murder.test!default";
const BE2: &str = "be2.murder.test!default";
const ACL: &str = "alice\tlrswipkxtecdan\tanyone\tp\t";

/// A little more than the 5 seconds after which the master sends what is pending.
const TICK: Duration = Duration::from_secs(6);

/// The master lets 3 seconds pass before it tells of a failed login.
const FAILED_LOGIN: Duration = Duration::from_secs(4);

pub(super) async fn capture(suite: Suite, book: &Book) -> Result<()> {
    let murder = Murder::prepare(Plan::new(suite)).await?;
    murder.start_master().await?;
    let mm = murder.mm.mupdate_address();
    book.write("auth", &auth(mm).await?)?;
    book.write("before-login", &before_login(mm).await?)?;
    book.write("commands", &commands(mm).await?)?;
    book.write("syntax", &syntax(mm).await?)?;
    book.write("update", &update(mm).await?)?;
    book.write("partial-update", &partial_update(mm).await?)?;
    book.write("two-at-once", &two_at_once(mm).await?)?;
    book.write("too-many", &too_many(mm).await?)?;
    murder.stop().await
}

async fn auth(mm: SocketAddr) -> Result<Transcript> {
    let plain = |user: &str, password: &str| BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let connect = async || anyhow::Ok(Script::connect(mm).await?.patient(FAILED_LOGIN));
    let mut all = Transcript::default();

    let mut script = connect().await?;
    script
        .say(
            "no such mechanism: answered after 3 seconds, like every failure",
            "A1 AUTHENTICATE \"NOSUCH\"\r\n",
        )
        .await?;
    script.say("the server asks for the response", "A2 AUTHENTICATE \"PLAIN\"\r\n").await?;
    script.say("and the client cancels", "*\r\n").await?;
    script.say("no base64", "A3 AUTHENTICATE \"PLAIN\" \"&&&\"\r\n").await?;
    all.append(script.transcript());

    for (remark, user, password) in
        [("wrong password", "murder", "wrong"), ("no administrator", "alice", "secret")]
    {
        let mut script = connect().await?;
        script.command(remark, "A1 AUTHENTICATE \"PLAIN\"", &[&plain(user, password)]).await?;
        script.say("farewell", "Q01 LOGOUT\r\n").await?;
        all.remark("a new connection");
        all.append(script.transcript());
    }

    let mut script = Script::connect(mm).await?;
    script.say("the server asks for the response", "A1 AUTHENTICATE \"PLAIN\"\r\n").await?;
    script.say("and gets it", &format!("{}\r\n", plain("murder", "secret"))).await?;
    script.command("once more", "A2 AUTHENTICATE \"PLAIN\"", &[&plain("murder", "secret")]).await?;
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    all.remark("a new connection");
    all.append(script.transcript());
    Ok(all)
}

async fn before_login(mm: SocketAddr) -> Result<Transcript> {
    let mut script = Script::connect(mm).await?;
    for command in ["NOOP", "LIST", "UPDATE", "FIND \"user.alice\"", "DELETE \"user.alice\"", "NOSUCH"] {
        script.say(command, &format!("X0 {command}\r\n")).await?;
    }
    script.say("TLS is not configured", "X1 STARTTLS\r\n").await?;
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    Ok(script.transcript().clone())
}

async fn commands(mm: SocketAddr) -> Result<Transcript> {
    let mut script = Script::login(mm).await?;
    let script_lines: &[(&str, &str, &[&str])] = &[
        ("the empty list", "X0 LIST", &[]),
        ("a name that is not there", "X1 FIND", &["user.alice"]),
        ("a new name", "X2 RESERVE", &["user.alice", BE1]),
        ("the same again", "X3 RESERVE", &["user.alice", BE1]),
        ("from elsewhere", "X4 RESERVE", &["user.alice", BE2]),
        ("reserved", "X5 FIND", &["user.alice"]),
        ("activation", "X6 ACTIVATE", &["user.alice", BE1, ACL]),
        ("active", "X7 FIND", &["user.alice"]),
        ("another ACL", "X8 ACTIVATE", &["user.alice", BE1, "alice\tlrs\t"]),
        ("an active one from elsewhere", "X9 RESERVE", &["user.alice", BE2]),
        ("an active one from its own place: demoted", "X10 RESERVE", &["user.alice", BE1]),
        ("its ACL is gone", "X11 FIND", &["user.alice"]),
        ("without a reservation, with strange bytes", "X12 ACTIVATE", &["user.a^b.&AOk- \"\\x", BE1, ACL]),
        ("found", "X13 FIND", &["user.a^b.&AOk- \"\\x"]),
        ("an empty partition, as a rename sends it", "X14 ACTIVATE", &["user.bob", "be2.murder.test!", ACL]),
        ("an empty ACL", "X15 ACTIVATE", &["user.carol", BE2, ""]),
        ("activated from elsewhere: moved without a word", "X16 ACTIVATE", &["user.carol", BE1, ACL]),
        ("the list", "X17 LIST", &[]),
        ("of one server", "X18 LIST", &["be1.murder.test!"]),
        ("of a server that is only a prefix", "X19 LIST", &["be1"]),
        ("of one that nobody knows", "X20 LIST", &["be9.murder.test!"]),
        ("deactivation of an active one", "X21 DEACTIVATE", &["user.carol", BE1]),
        ("found as reserved", "X22 FIND", &["user.carol"]),
        ("deletion of a reserved one", "X23 DELETE", &["user.carol"]),
        ("deletion of an active one", "X24 DELETE", &["user.bob"]),
        ("gone", "X25 FIND", &["user.bob"]),
        ("the rest", "X26 LIST", &[]),
        ("NOOP", "X27 NOOP", &[]),
        ("reserving what is there, then deleting it", "X28 RESERVE", &["user.alice", "ravenry!none"]),
        ("so that nothing can be missing", "X29 DELETE", &["user.alice"]),
        ("reserving what is not there", "X30 RESERVE", &["user.alice", "ravenry!none"]),
        ("then deleting it", "X31 DELETE", &["user.alice"]),
    ];
    for (remark, line, args) in script_lines {
        script.command(remark, line, args).await?;
    }
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    Ok(script.transcript().clone())
}

async fn syntax(mm: SocketAddr) -> Result<Transcript> {
    let mut script = Script::login(mm).await?;
    for (remark, line) in [
        ("an empty line", "\r\n"),
        ("a tag alone", "X0\r\n"),
        ("an unknown command", "X1 NOSUCH\r\n"),
        ("an argument too few", "X2 FIND\r\n"),
        ("an argument too many", "X3 FIND \"a\" \"b\"\r\n"),
        ("arguments for a command without", "X4 NOOP \"a\"\r\n"),
        ("an atom for an argument", "X5 FIND user.alice\r\n"),
        ("a small letter command", "x6 find \"user.alice\"\r\n"),
        ("a quoted string with escapes", "X7 FIND \"user.\\\"a\\\\\"\r\n"),
        ("a line end without CR", "X8 NOOP\n"),
        ("a literal that waits", "X9 FIND {10}\r\n"),
        ("after the server said go ahead", "user.alice\r\n"),
        ("a literal without a name", "X10 FIND {0+}\r\n\r\n"),
        ("a location without a server", "X11 RESERVE \"user.odd\" \"nowhere\"\r\n"),
        ("what became of it", "X12 FIND \"user.odd\"\r\n"),
        ("compression", "X13 COMPRESS \"NOSUCH\"\r\n"),
        ("two commands in one segment", "X14 NOOP\r\nX15 FIND \"user.alice\"\r\n"),
        ("farewell", "Q01 LOGOUT\r\n"),
    ] {
        script.say(remark, line).await?;
    }
    Ok(script.transcript().clone())
}

async fn update(mm: SocketAddr) -> Result<Transcript> {
    let mut writer = Mupdate::login(mm).await?;
    writer.delete("user.odd").await?.ok()?;
    writer.activate("user.alice", BE1, ACL).await?.ok()?;
    writer.activate("user.bob", BE2, ACL).await?.ok()?;
    writer.reserve("user.carol", BE2).await?.ok()?;

    let mut script = Script::login(mm).await?;
    script.say("the whole list", "U01 UPDATE\r\n").await?;
    script.say("nothing is pending", "N1 NOOP\r\n").await?;
    writer.activate("user.dave", BE1, ACL).await?.ok()?;
    writer.activate("user.carol", BE2, ACL).await?.ok()?;
    writer.delete("user.bob").await?.ok()?;
    script
        .say("another session activated user.dave and user.carol and deleted user.bob", "N2 NOOP\r\n")
        .await?;
    writer.activate("user.dave", BE2, ACL).await?.ok()?;
    script.listen("another session moved user.dave; nobody asks, the master's tick brings it", TICK).await?;
    for count in 0..3 {
        writer
            .activate("user.dave", BE1, &format!("alice\t{}\t", "lrs".get(..=count).unwrap_or_default()))
            .await?
            .ok()?;
    }
    script.say("another session changed user.dave three times", "N3 NOOP\r\n").await?;
    writer.reserve("user.erin", BE1).await?.ok()?;
    writer.delete("user.erin").await?.ok()?;
    script.say("another session reserved user.erin and deleted it", "N4 NOOP\r\n").await?;
    writer.run("DEACTIVATE", &["user.dave", BE1]).await?.ok()?;
    script.say("another session deactivated user.dave", "N5 NOOP\r\n").await?;
    for command in ["LIST", "FIND \"user.dave\"", "UPDATE", "DELETE \"user.dave\""] {
        script.say("not while streaming", &format!("X0 {command}\r\n")).await?;
    }
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    Ok(script.transcript().clone())
}

async fn partial_update(mm: SocketAddr) -> Result<Transcript> {
    let mut writer = Mupdate::login(mm).await?;
    let mut script = Script::login(mm).await?;
    script.say("only what is on one server", "U01 UPDATE \"be1.murder.test\"\r\n").await?;
    writer.activate("user.bob", BE2, ACL).await?.ok()?;
    writer.activate("user.frank", BE1, ACL).await?.ok()?;
    script.say("another session activated user.bob on be2 and user.frank on be1", "N1 NOOP\r\n").await?;
    writer.activate("user.frank", BE2, ACL).await?.ok()?;
    script.say("another session moved user.frank to be2", "N2 NOOP\r\n").await?;
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    Ok(script.transcript().clone())
}

/// What another client asks between the two halves of a literal's size, which may come in two segments: that client's
/// name as a literal, and quoted.
async fn two_at_once(mm: SocketAddr) -> Result<Transcript> {
    let mut all = Transcript::default();
    for (form, asked) in [("as a literal", "{10+}\r\nuser.alice"), ("quoted", "\"user.alice\"")] {
        let (mut halves, mut other) = (Script::login(mm).await?, Script::login(mm).await?);
        halves.say("the first digit of a size", "A1 FIND {1").await?;
        other.say(&format!("the other client asks {form}"), &format!("B1 FIND {asked}\r\n")).await?;
        halves.say("the other digit; the client below has asked meanwhile", "0+}\r\nuser.alice\r\n").await?;
        halves.say("is it understood?", "A2 NOOP\r\n").await?;
        for script in [&halves, &other] {
            all.remark("a new connection");
            all.append(script.transcript());
        }
    }
    Ok(all)
}

/// `mupdate_connections_max` is 128 unless configured.
async fn too_many(mm: SocketAddr) -> Result<Transcript> {
    let mut crowd = Vec::new();
    for _ in 0..150 {
        let mut wire = crate::clients::Wire::connect(mm).await?;
        let first = wire.expect_frame().await?;
        if first.starts_with(b"* BYE") {
            wire.drain().await?;
            let mut all = Transcript::default();
            all.remark(format!("{} connections are open", crowd.len()));
            all.append(wire.transcript());
            return Ok(all);
        }
        crowd.push(wire);
    }
    anyhow::bail!("the master takes any number of connections")
}
