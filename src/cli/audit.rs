//! `ravenry audit`

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, Audited, Finding};
use crate::config::Config;

pub(super) fn run(config: &Config, fix: bool, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let mut audited = audit(&talk, false)?;
    if fix && audited.found > 0 {
        talk.confirm("Put right what can be?")?;
        audited = audit(&talk, true)?;
    }
    if talk.json() {
        println!("{}", serde_json::json!({ "summary": audited }));
    } else {
        let Audited { backends, held, found, fixed } = &audited;
        println!("{backends} backends hold {held} mailboxes; {found} findings, {fixed} put right");
    }
    if audited.found == audited.fixed { Ok(()) } else { Err(Failure::quiet(exit::DIFFERENT)) }
}

fn audit(talk: &Talk<'_>, fix: bool) -> Result<Audited, Failure> {
    Ok(talk.print_each(&Ask::Audit { fix }, Finding::to_string)?.1)
}
