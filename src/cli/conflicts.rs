//! `ravenry conflicts`

use clap::Subcommand;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, ConflictsAsk, Disagreement};
use crate::config::Config;
use crate::list::{Held, Text, place};

#[derive(Subcommand, Debug)]
pub(super) enum ConflictsCommand {
    /// All of them.
    List,
    /// One of them: what both held when they last agreed, and what each holds now.
    Show {
        /// The mailbox, in Cyrus's internal form: user.alice
        name: String,
    },
}

pub(super) fn run(config: &Config, command: &ConflictsCommand, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    match command {
        ConflictsCommand::List => {
            let ask = Ask::Conflicts(ConflictsAsk::List);
            let mut count = 0;
            talk.items::<Disagreement, ()>(&ask, |conflict| {
                count += 1;
                if talk.json() {
                    println!("{}", serde_json::to_string(&conflict)?);
                } else {
                    let (ours, theirs) = (place(conflict.ours.as_ref()), place(conflict.theirs.as_ref()));
                    println!("{}: here {ours}; at the master {theirs}", conflict.name);
                }
                Ok(())
            })?;
            if count == 0 && !talk.json() {
                println!("no conflicts");
            }
            Ok(())
        }
        ConflictsCommand::Show { name } => {
            let ask = Ask::Conflicts(ConflictsAsk::Show { name: Text::new(name.as_bytes()) });
            let conflict: Disagreement = talk.ask(&ask)?;
            talk.tell(&conflict, || {
                let side = |held: &Option<Held>| {
                    let acl = held.as_ref().and_then(|held| held.acl.as_ref());
                    let acl = acl.map(|acl| format!("  [{}]", acl.to_string().trim().replace('\t', " ")));
                    format!("{}{}", place(held.as_ref()), acl.unwrap_or_default())
                };
                format!(
                    "{}\n  both had       {}\n  here           {}\n  at the master  {}",
                    conflict.name,
                    side(&conflict.base),
                    side(&conflict.ours),
                    side(&conflict.theirs)
                )
            });
            Ok(())
        }
    }
}
