//! `ravenry history`

use mail_builder::headers::date::Date;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, PastChange};
use crate::config::Config;
use crate::list::{Text, place_and_acl};

pub(super) fn run(config: &Config, name: &str, most: usize, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let ask = Ask::History { name: Text::new(name.as_bytes()), most };
    let (count, ()) = talk.print_each(&ask, in_words)?;
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
    format!(
        "{}  {}{who}, while {}\n    before  {}\n    after   {}",
        Date::new(i64::try_from(change.at).unwrap_or(i64::MAX)).to_rfc822(),
        change.cause.words(),
        change.state,
        place_and_acl(change.before.as_ref()),
        place_and_acl(change.after.as_ref())
    )
}
