//! `ravenry conflicts`

use clap::Subcommand;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, ConflictsAsk, Disagreement, Dispute, Keep};
use crate::config::Config;
use crate::list::{Held, Text, place, place_and_acl};

#[derive(Subcommand, Debug)]
pub(super) enum ConflictsCommand {
    /// All of them.
    List,
    /// One of them: what both held when they last agreed, and what each holds now.
    Show {
        /// The mailbox, in Cyrus's internal form: user.alice
        name: String,
    },
    /// Decide about one of them: whose word counts, here and at the master.
    Resolve {
        /// The mailbox, in Cyrus's internal form: user.alice
        name: String,
        /// Whose word counts.
        #[arg(long, value_enum)]
        keep: Keep,
    },
}

pub(super) fn run(config: &Config, command: &ConflictsCommand, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    match command {
        ConflictsCommand::List => {
            let ask = Ask::Conflicts(ConflictsAsk::List);
            let (count, ()) = talk.print_each(&ask, in_short)?;
            if count == 0 && !talk.json() {
                println!("no conflicts, nothing unconfirmed");
            }
            Ok(())
        }
        ConflictsCommand::Resolve { name, keep } => {
            let conflict = show(&talk, name)?;
            eprintln!("{}", in_words(&conflict));
            let kept = match keep {
                Keep::Master => conflict.theirs.as_ref(),
                Keep::Ours => conflict.ours.as_ref(),
            };
            talk.confirm(&format!("Keep it {} everywhere?", place(kept)))?;
            let ask = Ask::Conflicts(ConflictsAsk::Resolve { name: Text::new(name.as_bytes()), keep: *keep });
            talk.ask::<()>(&ask)?;
            talk.tell(&serde_json::json!({ "name": name, "kept": kept }), || {
                format!("{name}: {} is kept", place(kept))
            });
            Ok(())
        }
        ConflictsCommand::Show { name } => {
            let conflict = show(&talk, name)?;
            talk.tell(&conflict, || in_words(&conflict));
            Ok(())
        }
    }
}

fn show(talk: &Talk<'_>, name: &str) -> Result<Disagreement, Failure> {
    talk.ask(&Ask::Conflicts(ConflictsAsk::Show { name: Text::new(name.as_bytes()) }))
}

fn in_short(conflict: &Disagreement) -> String {
    let (ours, theirs) = (place(conflict.ours.as_ref()), place(conflict.theirs.as_ref()));
    let dispute = match conflict.dispute {
        Dispute::Conflict => "conflict",
        Dispute::Unconfirmed => "unconfirmed",
    };
    format!("{dispute:<12} {}: here {ours}; at the master {theirs}", conflict.name)
}

fn in_words(conflict: &Disagreement) -> String {
    let side = |held: &Option<Held>| place_and_acl(held.as_ref());
    let base = match conflict.dispute {
        Dispute::Conflict => format!("\n  both had       {}", side(&conflict.base)),
        Dispute::Unconfirmed => String::new(),
    };
    let (ours, theirs) = (side(&conflict.ours), side(&conflict.theirs));
    format!("{}{base}\n  here           {ours}\n  at the master  {theirs}", conflict.name)
}
