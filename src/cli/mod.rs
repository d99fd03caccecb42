//! The command line: one file per command.

mod audit;
mod backup;
mod check;
mod conflicts;
mod deliveries;
mod desk;
#[cfg(test)]
mod documents;
mod examples;
mod frontend;
mod generate;
mod history;
mod imap_face;
mod init;
mod limits;
mod list;
mod live;
mod manual;
mod onlooker;
mod operate;
mod owed;
mod plan;
mod queue;
mod reach;
mod reference;
mod reload;
mod reseed;
mod retire;
mod serve;
mod service;
mod status;
mod talk;
mod top;
mod user;
mod witnesses;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::admin::Ask;
use crate::config::{Config, DEFAULT_PATH};
use crate::list::Text;
use examples::with_examples;
use talk::Manner;

/// Exit codes, of sysexits.h where it has one.
mod exit {
    macro_rules! codes {
        ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
            $($(#[doc = $doc])+ pub(super) const $name: u8 = $code;)+
            /// What each of them means, for the man pages.
            pub(super) const ALL: &[(u8, &str)] = &[(0, " All is well."), $(($code, concat!($($doc),+)),)+];
        };
    }
    codes! {
        /// What was compared differs.
        DIFFERENT = 1;
        /// The command line is not understood.
        USAGE = 64;
        /// What was read is not what it should be.
        DATA = 65;
        /// A file that is to be read cannot be.
        NO_INPUT = 66;
        /// Ravenry does not run, refused, or somebody whom it needs cannot be reached.
        UNAVAILABLE = 69;
        /// A mistake of Ravenry's own.
        SOFTWARE = 70;
        /// A file that would be written is there already, or cannot be written.
        CANT_CREATE = 73;
        /// Reading or writing failed.
        IO = 74;
        /// Somebody speaks another protocol than he should.
        PROTOCOL = 76;
        /// A login was refused or is not an administrator's; or nobody confirmed what would have been changed.
        NO_PERMISSION = 77;
        /// The configuration is wrong.
        CONFIG = 78;
    }
}

/// Keeps a Cyrus IMAP Murder whole when its mupdate master is gone.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Line {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run: stand between the murder and its master.
    Serve,
    /// Write a configuration from the files of a murder's hosts, and say what to change on each of them.
    Init(init::Init),
    /// Look at the configuration and say what is wrong with it.
    Check(check::Check),
    /// Say where things stand.
    Status {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Look on: state, what is pending, streams, writes, queue, frontends, last events; refreshed every second.
    Top(top::Top),
    /// Who may log in.
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Decide about the namespace until `follow`, whatever the master says: before its maintenance.
    StandIn,
    /// Let the master decide again: after its maintenance.
    Follow,
    /// Say what would change at the master and here, and why; changes nothing. Exit code 0: nothing would; 1:
    /// something would, or waits for somebody; 69: the master cannot be read.
    Plan {
        /// If what is done.
        #[arg(long = "for", value_enum, default_value = "replay")]
        wanted: crate::admin::For,
        #[command(flatten)]
        manner: Manner,
    },
    /// Make the master's list ours: when it came back empty, with an older backup, or only in part. Can be run
    /// again when it was cut off; ends with a comparison over a second UPDATE.
    Reseed {
        /// The number of names that the master loses by it; needed, even with --yes, when it is more than the
        /// guard lets pass.
        #[arg(long, value_name = "N")]
        remove: Option<u64>,
        #[command(flatten)]
        manner: Manner,
    },
    /// Make our list the master's: forget what it does not have.
    Accept {
        /// The number of our names that are forgotten or moved by it; needed, even with --yes, when there are any.
        #[arg(long, value_name = "N")]
        forget: Option<u64>,
        #[command(flatten)]
        manner: Manner,
    },
    /// Announce that a server is taken out of the murder: that the master deletes its names is then no reason to
    /// distrust it.
    Expect {
        /// The server's name, as in locations: be1.example.org
        #[arg(long, value_name = "NAME")]
        remove_server: String,
        /// For so long.
        #[arg(long = "for", value_name = "HOURS", default_value_t = 24)]
        hours: u64,
    },
    /// Compare the list with what the backends hold: ghosts, orphans, duplicates, wrong locations. Exit code 0: they
    /// agree; 1: they do not.
    Audit {
        /// Take ghosts off the list, and reservations of yesterday that nobody holds; put mailboxes on it that only their
        /// backend knows. Never deletes mail.
        #[arg(long)]
        fix: bool,
        #[command(flatten)]
        manner: Manner,
    },
    /// The list itself: look, write it to a file, take one in.
    List {
        #[command(subcommand)]
        command: list::ListCommand,
        #[command(flatten)]
        manner: Manner,
    },
    /// Names that differ here and at the master, for a person to decide.
    Conflicts {
        #[command(subcommand)]
        command: conflicts::ConflictsCommand,
        #[command(flatten)]
        manner: Manner,
    },
    /// Say who changed a name: identity and address, in which state, before and after.
    History {
        /// The mailbox, in Cyrus's internal form: user.alice
        name: String,
        /// No more than the latest.
        #[arg(long, value_name = "N", default_value_t = 100)]
        most: usize,
        #[command(flatten)]
        manner: Manner,
    },
    /// Deliveries that were accepted and could not be placed yet.
    Queue {
        #[command(subcommand)]
        command: queue::QueueCommand,
        #[command(flatten)]
        manner: Manner,
    },
    /// Frontends that mail is delivered through.
    Frontend {
        #[command(subcommand)]
        command: frontend::FrontendCommand,
    },
    /// Let a backend remove names from the list with its next `ctl_mboxlist -m`, within the hour.
    ///
    /// Without it a backend may remove 100 names, or 1 % of its names if that is more, but never all. Ask the
    /// backend how many it would be: `ctl_mboxlist -mw | grep -c '^Remove from MUPDATE'`.
    AllowRemovals {
        /// The backend, as in locations: `be1.example.org`.
        #[arg(long)]
        server: String,
        /// How many names, at most.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
    },
    /// Copy the state into a new file, while it is served.
    Backup {
        /// The file; the running Ravenry writes it, and must be allowed to.
        file: PathBuf,
        #[command(flatten)]
        manner: Manner,
    },
    /// Mark the state of a Ravenry that is not running: the murder was pointed past it. What it has on disk is then
    /// neither served nor replayed before it was compared with the master, however soon it is started again.
    Retire,
    /// For health checks: whether the running Ravenry makes progress, as /healthz says. Exit code 0: it does; 69: it does
    /// not, or is not there.
    Health {
        /// And whether it may serve the murder, as /readyz says.
        #[arg(long)]
        ready: bool,
    },
    /// Have the running Ravenry read its configuration again, as SIGHUP does, and say what became of it. When anything is
    /// wrong the old one stays. Nobody's session ends.
    Reload,
    /// Say what would be lost with the state of a Ravenry that is not running: queued mail, changes that the master was
    /// not given. Exit code 0: nothing; 1: something.
    Owed,
    /// Completions, man pages and references, made from the program itself.
    Generate {
        #[command(subcommand)]
        what: generate::What,
    },
}

/// What a command ended with: an exit code and a sentence.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl ToString) -> Self {
        Self { code, text: text.to_string() }
    }

    /// An exit code that says all there is to say.
    fn quiet(code: u8) -> Self {
        Self { code, text: String::new() }
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(|error| Failure::new(exit::CONFIG, error))
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let parsed = with_examples(Line::command()).try_get_matches();
    let line = match parsed.and_then(|matches| Line::from_arg_matches(&matches)) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let Line { config: path, command } = line;
    let done = match command {
        // What needs no configuration.
        Command::Generate { what } => generate::run(&what),
        Command::Init(args) => init::run(&path, &args),
        // It asks the running Ravenry all the same: that one is to know, and to say so, that its file is wrong.
        Command::Reload => operate::reload(load(&path)),
        command => load(&path).and_then(|config| run(command, config, &path)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            if !text.is_empty() {
                eprintln!("ravenry: {text}");
            }
            ExitCode::from(code)
        }
    }
}

fn run(command: Command, config: Config, path: &Path) -> Result<(), Failure> {
    match command {
        // Answered before there was a configuration.
        Command::Generate { .. } | Command::Init(_) | Command::Reload => Ok(()),
        Command::Serve => serve::run(config, path),
        Command::Check(args) => check::run(&config, &args),
        Command::Status { json } => status::run(&config, json),
        Command::Top(args) => top::run(&config, &args),
        Command::User { command } => user::run(&config, command),
        Command::Plan { wanted, manner } => plan::run(&config, wanted, manner),
        Command::Reseed { remove, manner } => reseed::reseed(&config, remove, manner),
        Command::Accept { forget, manner } => reseed::accept(&config, forget, manner),
        Command::Expect { remove_server, hours } => {
            let seconds = hours.saturating_mul(3600);
            let ask = Ask::Expect { server: Text::new(remove_server.as_bytes()), seconds };
            operate::run(&config, &ask, &format!("names of {remove_server} may go for {hours} h"))
        }
        Command::Audit { fix, manner } => audit::run(&config, fix, manner),
        Command::List { command, manner } => list::run(&config, command, manner),
        Command::Conflicts { command, manner } => conflicts::run(&config, &command, manner),
        Command::History { name, most, manner } => history::run(&config, &name, most, manner),
        Command::Queue { command, manner } => queue::run(&config, command, manner),
        Command::Frontend { command } => frontend::run(&config, command),
        Command::AllowRemovals { server, count } => {
            let done = format!(
                "{server} may remove up to {count} names with its next ctl_mboxlist -m, within the hour"
            );
            operate::run(&config, &Ask::AllowRemovals { server, count }, &done)
        }
        Command::Backup { file, manner } => backup::run(&config, &file, manner),
        Command::Retire => retire::run(&config),
        Command::Owed => owed::run(&config),
        Command::Health { ready } => operate::health(&config, ready),
        Command::StandIn => operate::run(&config, &Ask::StandIn, "standing in until `ravenry follow`"),
        Command::Follow => {
            operate::run(&config, &Ask::Follow, "the master is asked for its list; see `ravenry status`")
        }
    }
}
