//! `ravenry history`

use mail_builder::headers::date::Date;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, PastChange};
use crate::config::Config;
use crate::list::{Held, Text, place};

pub(super) fn run(config: &Config, name: &str, most: usize, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let ask = Ask::History { name: Text::new(name.as_bytes()), most };
    let mut count = 0;
    talk.items::<PastChange, ()>(&ask, |change| {
        count += 1;
        if talk.json() {
            println!("{}", serde_json::to_string(&change)?);
        } else {
            println!("{}", in_words(&change));
        }
        Ok(())
    })?;
    if count == 0 && !talk.json() {
        println!("no change of {name} is on record: see `store.history`");
    }
    Ok(())
}

fn in_words(change: &PastChange) -> String {
    let who = match (&change.identity, &change.peer) {
        (Some(identity), Some(peer)) => format!(" by {identity} from {peer}"),
        _ => String::new(),
    };
    let side = |held: &Option<Held>| {
        let acl = held.as_ref().and_then(|held| held.acl.as_ref());
        let acl = acl.map(|acl| format!("  [{}]", acl.to_string().trim().replace('\t', " ")));
        format!("{}{}", place(held.as_ref()), acl.unwrap_or_default())
    };
    format!(
        "{}  {}{who}, while {}\n    before  {}\n    after   {}",
        Date::new(i64::try_from(change.at).unwrap_or(i64::MAX)).to_rfc822(),
        change.cause.words(),
        change.state,
        side(&change.before),
        side(&change.after)
    )
}
