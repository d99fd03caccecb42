//! What to change on each host, in lines of its own files, and the way back.

use std::fmt::Write as _;

use super::Choice;
use super::document::{as_server, missing};
use super::files::Files;
use super::murder::Murder;
use crate::cyrus::{Host, Role};

/// What every host's `mupdate_retry_delay` becomes: see docs/configuration.md.
const RETRY_DELAY: &str = "4";

/// One line of a file: as it is, and as it is to be.
struct Change {
    place: String,
    before: Option<String>,
    after: String,
}

/// Everything that a person is told.
pub(super) fn text(hosts: &[Host], murder: &Murder, choice: &Choice, files: &Files) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(out, "{line}");
    };
    let document = super::document::text(hosts, murder, choice, files);
    let config = files.config.display();
    say("\nBefore Ravenry is started:");
    for todo in missing(&document, &files.config) {
        say(&format!("  - {todo}"));
    }
    say(&format!("  - ravenry --config {config} check --live"));
    if !murder.remarks.is_empty() {
        say("\nTo know:");
        for remark in &murder.remarks {
            say(&format!("  - {remark}"));
        }
    }
    say(
        "\nThen start Ravenry, wait until `ravenry status` says following, and change, one host after the other:",
    );
    for host in hosts {
        let changes = changes(host, murder, choice);
        if changes.is_empty() {
            say(&format!("\n{} ({}): nothing.", host.name, host.role.word()));
            continue;
        }
        say(&format!("\n{} ({}):", host.name, host.role.word()));
        for change in &changes {
            say(&format!("    {}", change.place));
            if let Some(before) = &change.before {
                say(&format!("      - {before}"));
            }
            say(&format!("      + {}", change.after));
        }
        say("    and restart Cyrus there (Debian: systemctl restart cyrus-imapd).");
        say("    To undo it:");
        for change in &changes {
            say(&format!("    {}", change.place));
            say(&format!("      - {}", change.after));
            if let Some(before) = &change.before {
                say(&format!("      + {before}"));
            }
        }
        say("    and restart Cyrus there.");
    }
    say(
        "\nUndo it only while `ravenry status` says following, with nothing pending and no conflicts: then the master has",
    );
    say("everything. See docs/migrate.md.");
    out.trim_end().to_owned()
}

fn changes(host: &Host, murder: &Murder, choice: &Choice) -> Vec<Change> {
    if host.role == Role::Master {
        let user = &murder.user;
        if host.is_admin(user, "mupdate") {
            return Vec::new();
        }
        let own = if host.options.get("mupdate_admins").is_some() { "mupdate_admins" } else { "admins" };
        let admins: Vec<&str> = host.admins("mupdate").chain([user.as_str()]).collect();
        return vec![change(host, own, &admins.join(" "))];
    }
    let server = as_server(&choice.name, choice.listen.port());
    let wanted = [("mupdate_server", server.as_str()), ("mupdate_retry_delay", RETRY_DELAY)];
    let differ = wanted.iter().filter(|(option, value)| host.options.get(option) != Some(value));
    differ.map(|(option, value)| change(host, option, value)).collect()
}

fn change(host: &Host, option: &str, value: &str) -> Change {
    let given = host.options.given(option);
    Change {
        place: match given {
            Some(given) => format!("{}, line {}:", given.file.display(), given.line),
            None => format!("{}, a new line:", host.file.display()),
        },
        before: given.map(|given| format!("{option}: {}", given.value)),
        after: format!("{option}: {value}"),
    }
}
