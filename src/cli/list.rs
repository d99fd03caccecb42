//! `ravenry list`

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, Form, ListAsk, StepLine, TakenIn};
use crate::config::Config;
use crate::list::{Record, Text};

#[derive(Subcommand, Debug)]
pub(super) enum ListCommand {
    /// Say where a mailbox is, and who may use it.
    Find {
        /// The mailbox, in Cyrus's internal form: user.alice
        name: String,
    },
    /// Write the whole list to standard output.
    Export {
        /// In which form.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Form,
    },
    /// Take in a dump: of `ctl_mboxlist -d` of any release, or of `ravenry list export`. While Ravenry has no list
    /// that it may serve, the dump becomes its list; otherwise what it has more is added, and nothing else changes.
    Import {
        /// The file.
        file: PathBuf,
        /// The dump is a backend's: this is the name that it has in locations.
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
        /// The number of names on disk that are forgotten by it; needed, even with --yes, when there are any.
        #[arg(long, value_name = "N")]
        forget: Option<u64>,
    },
    /// Take in the list of a frontend, over MUPDATE, as `import` does a dump. Nothing has to be stopped.
    Learn {
        /// The frontend: fe1.example.org, or with a port.
        #[arg(long, value_name = "HOST")]
        from: String,
        /// The number of names on disk that are forgotten by it; needed, even with --yes, when there are any.
        #[arg(long, value_name = "N")]
        forget: Option<u64>,
    },
}

pub(super) fn run(config: &Config, command: ListCommand, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    match command {
        ListCommand::Find { name } => {
            let record: Record = talk.ask(&Ask::List(ListAsk::Find { name: Text::new(name.as_bytes()) }))?;
            talk.tell(&record, || {
                let acl = record.held.acl.as_ref().map_or_else(String::new, |acl| acl.to_string());
                format!("{}  {}  {}", record.name, record.held, acl.trim_end().replace('\t', " "))
            });
            Ok(())
        }
        ListCommand::Export { format } => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            talk.items::<String, u64>(&Ask::List(ListAsk::Export { form: format }), |text| {
                out.write_all(text.as_bytes())
            })?;
            out.flush().map_err(|error| Failure::new(exit::SOFTWARE, error))
        }
        ListCommand::Import { file, server, forget } => {
            let open = || open(&file);
            let ask = |bytes, dry| {
                let file = file.display().to_string();
                Ask::List(ListAsk::Import { bytes, file, server: server.clone(), dry })
            };
            let (bytes, content) = open()?;
            let dry = talk.upload(&ask(bytes, true), content, shown(&talk))?;
            confirm(&talk, &dry, forget)?;
            let (bytes, content) = open()?;
            done(&talk, &talk.upload(&ask(bytes, false), content, |_: StepLine| Ok(()))?);
            Ok(())
        }
        ListCommand::Learn { from, forget } => {
            let ask = |dry| Ask::List(ListAsk::Learn { from: from.clone(), dry });
            let dry = talk.items(&ask(true), shown(&talk))?;
            confirm(&talk, &dry, forget)?;
            done(&talk, &talk.items(&ask(false), |_: StepLine| Ok(()))?);
            Ok(())
        }
    }
}

fn open(file: &Path) -> Result<(u64, File), Failure> {
    let failed = |error: std::io::Error| Failure::new(exit::NO_INPUT, format!("{}: {error}", file.display()));
    let content = File::open(file).map_err(failed)?;
    let about = content.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(Failure::new(exit::NO_INPUT, format!("{} is not a file", file.display())));
    }
    Ok((about.len(), content))
}

/// Names that are not taken in are told one by one.
fn shown<'a>(talk: &'a Talk<'_>) -> impl FnMut(StepLine) -> std::io::Result<()> + 'a {
    |step| {
        if !talk.json() {
            println!("{step}");
        }
        Ok(())
    }
}

fn confirm(talk: &Talk<'_>, dry: &TakenIn, forget: Option<u64>) -> Result<(), Failure> {
    eprintln!("{dry}");
    match forget {
        _ if dry.forgotten == 0 => talk.confirm("Take it in?"),
        None => talk.confirm_number("How many names on disk are forgotten or elsewhere?", dry.forgotten),
        Some(said) if said == dry.forgotten => talk.confirm("Take it in?"),
        Some(said) => {
            let why = format!("{} names would be forgotten, not {said}; nothing was changed", dry.forgotten);
            Err(Failure::new(exit::NO_PERMISSION, why))
        }
    }
}

fn done(talk: &Talk<'_>, taken: &TakenIn) {
    talk.tell(taken, || {
        if taken.replaces {
            format!("{} names are our list now, and are served: see `ravenry status`", taken.read)
        } else {
            format!("{} names were added", taken.added)
        }
    });
}
