//! `ctl_mboxlist -d`, whatever the release: text up to 3.4, JSON from 3.6.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Rights by identifier. Order and separators differ between sources; this is what they have in common.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Acl(BTreeMap<String, String>);

impl Acl {
    /// Reads the internal form: identifier, TAB, rights, TAB, and so on.
    pub fn parse(text: &str) -> Self {
        let mut words = text.split('\t');
        let mut rights = BTreeMap::new();
        while let (Some(who), Some(what)) = (words.next(), words.next()) {
            rights.insert(who.to_owned(), what.to_owned());
        }
        Self(rights)
    }

    /// What this identifier may do; empty when it is not mentioned.
    pub fn rights(&self, who: &str) -> &str {
        self.0.get(who).map_or("", String::as_str)
    }
}

impl fmt::Debug for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (who, what) in &self.0 {
            write!(f, "{between}{who}:{what}")?;
            between = " ";
        }
        Ok(())
    }
}

/// What a list says of a mailbox's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Usable.
    Active,
    /// Its name is taken, but it may not be used.
    Reserved,
}

/// One mailbox in a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Active or reserved.
    pub state: State,
    /// `server!partition`; of a mailbox that the node holds itself, only the partition.
    pub location: String,
    /// Who may do what.
    pub acl: Acl,
    /// The remote flag: another server holds it. A list that was copied as text has the server and lacks the flag.
    pub remote: bool,
}

impl Entry {
    /// An active mailbox.
    pub fn active(location: &str, acl: &str) -> Self {
        Self::new(State::Active, location.to_owned(), Acl::parse(acl))
    }

    /// A reserved name.
    pub fn reserved(location: &str) -> Self {
        Self::new(State::Reserved, location.to_owned(), Acl::default())
    }

    /// What has a server is remote.
    fn new(state: State, location: String, acl: Acl) -> Self {
        let remote = location.contains('!');
        Self { state, location, acl, remote }
    }

    /// Whether it may be used.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Whether the node that was asked holds the mailbox itself.
    pub fn is_local(&self) -> bool {
        !self.location.contains('!')
    }

    /// The server's name; nothing for a local mailbox.
    pub fn server(&self) -> Option<&str> {
        self.location.split_once('!').map(|(server, _)| server)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is as it should be is not worth a word.
        let flag = match (self.remote, self.server().is_some()) {
            (false, true) => ", without the remote flag",
            (true, false) => ", with the remote flag",
            _ => "",
        };
        write!(f, "{:?} at {} [{:?}]{flag}", self.state, self.location, self.acl)
    }
}

/// A whole list, by internal name. Tombstones and intermediate names are left out: they are not streamed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dump(pub BTreeMap<String, Entry>);

impl Dump {
    /// Reads what `ctl_mboxlist -d` printed.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') { Self::parse_json(text) } else { Self::parse_text(text) }
    }

    /// The entry of a mailbox.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// The mailboxes that the node holds itself.
    pub fn local(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter().filter(|(_, entry)| entry.is_local())
    }

    fn parse_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("the dump is no JSON")?;
        let mut list = BTreeMap::new();
        for (name, record) in value.as_object().context("the dump is no JSON object")? {
            let field = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
            let Some((state, remote)) = kind_of(field("mbtype")) else {
                continue;
            };
            let location = match field("server") {
                "" => field("partition").to_owned(),
                server => format!("{server}!{}", field("partition")),
            };
            let rights = record.get("acl").and_then(Value::as_object).into_iter().flatten();
            let rights =
                rights.map(|(who, what)| (who.clone(), what.as_str().unwrap_or_default().to_owned()));
            list.insert(name.clone(), Entry { state, location, acl: Acl(rights.collect()), remote });
        }
        Ok(Self(list))
    }

    /// `name TAB type SPACE [server!]partition SPACE acl`, and a blank line at the end.
    fn parse_text(text: &str) -> Result<Self> {
        let mut list = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some((name, rest)) = line.split_once('\t') else { bail!("no TAB in {line:?}") };
            let mut fields = rest.splitn(3, ' ');
            let (Some(kind), Some(location)) = (fields.next(), fields.next()) else {
                bail!("too few fields in {line:?}")
            };
            let Some((state, remote)) = kind_of(kind) else { continue };
            let acl = Acl::parse(fields.next().unwrap_or_default());
            list.insert(name.to_owned(), Entry { state, location: location.to_owned(), acl, remote });
        }
        Ok(Self(list))
    }
}

/// The state behind a type, and the remote flag: letters, or bits up to 3.2 (1 remote, 2 reserved, 8 moving, 16
/// deleted). `None` for what is not streamed.
fn kind_of(kind: &str) -> Option<(State, bool)> {
    let (deleted, intermediate, reserved, remote) = match kind.parse::<u32>() {
        Ok(bits) => (bits & 16 != 0, false, bits & 2 != 0, bits & 1 != 0),
        Err(_) => (kind.contains('d'), kind.contains('i'), kind.contains('z'), kind.contains('r')),
    };
    if deleted || intermediate {
        return None;
    }
    Some((if reserved { State::Reserved } else { State::Active }, remote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_say_the_same() {
        let text = "user.a\t1 be1.murder.test!default a\tlrs\t\nuser.r\t3 be2.murder.test! \nuser.l\t0 default a\tl\t\n\n";
        let json = r#"{
            "user.a": {"name": "user.a", "mbtype": "er", "partition": "default", "server": "be1.murder.test", "acl": {"a": "lrs"}},
            "user.r": {"name": "user.r", "mbtype": "erz", "partition": "", "server": "be2.murder.test", "acl": {}},
            "user.l": {"name": "user.l", "mbtype": "e", "partition": "default", "acl": {"a": "l"}},
            "user.d": {"name": "user.d", "mbtype": "ed", "partition": "default", "acl": {}}
        }"#;
        let (text, json) = (Dump::parse(text).unwrap(), Dump::parse(json).unwrap());
        assert_eq!(text, json);
        assert_eq!(text.get("user.a"), Some(&Entry::active("be1.murder.test!default", "a\tlrs\t")));
        assert_eq!(text.get("user.r"), Some(&Entry::reserved("be2.murder.test!")));
        assert!(text.get("user.l").unwrap().is_local());
    }

    /// As `ctl_mboxlist -u` leaves a master's list.
    #[test]
    fn a_list_that_lost_the_remote_flag_is_another_list() {
        let text = "user.a\t0 be1.murder.test!default a\tlrs\t\n\n";
        let json = r#"{"user.a": {"name": "user.a", "mbtype": "e", "partition": "default", "server": "be1.murder.test", "acl": {"a": "lrs"}}}"#;
        for dump in [text, json] {
            let list = Dump::parse(dump).unwrap();
            let entry = list.get("user.a").unwrap();
            assert!(!entry.remote);
            assert_ne!(*entry, Entry::active("be1.murder.test!default", "a\tlrs\t"));
            assert!(format!("{entry:?}").ends_with("without the remote flag"));
        }
    }
}
