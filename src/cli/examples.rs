//! Examples for the help and the man pages of every command; tests keep them runnable and complete.

use clap::Command;

/// A command, by its words, and its examples: what to type, and what that does.
type Examples = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const ALL: &[Examples] = &[
    (
        &[],
        &[
            (
                "ravenry init --from fe1/imapd.conf be1/imapd.conf",
                "a configuration from the murder's own files",
            ),
            ("ravenry check --live", "log in everywhere, and say what would fail"),
            ("ravenry serve", "run"),
            ("ravenry status", "where things stand"),
            ("ravenry stand-in", "before maintenance of the master; after it: ravenry follow"),
        ],
    ),
    (&["serve"], &[("ravenry serve", "run until SIGTERM; SIGHUP reads the configuration again")]),
    (
        &["init"],
        &[
            ("ravenry init --from /etc/imapd.conf", "on a frontend or backend, from its own files"),
            (
                "ravenry init --from fe1/imapd.conf be1/imapd.conf mm/imapd.conf",
                "from gathered files, each beside its cyrus.conf",
            ),
            (
                "ravenry init --lmtp --from fe1.example.org=/tmp/imapd.conf --cyrus-conf /tmp/cyrus.conf",
                "take deliveries, too; the host is named here",
            ),
        ],
    ),
    (&["reload"], &[("ravenry reload", "what is wrong changes nothing, and is told")]),
    (
        &["health"],
        &[("ravenry health --ready", "whether the murder can be served, for a container's health check")],
    ),
    (&["owed"], &[("ravenry owed", "before the state is removed: may it go?")]),
    (
        &["check"],
        &[
            ("ravenry check", "look at the file alone"),
            ("ravenry check --live", "ask the master, frontends and backends, too"),
            ("ravenry check --live --json", "the same for scripts"),
        ],
    ),
    (
        &["status"],
        &[("ravenry status", "a table for people"), ("ravenry status --json", "everything, for scripts")],
    ),
    (
        &["top"],
        &[
            ("ravenry top", "look on; q ends it"),
            ("ravenry top --once", "one look, for where there is no terminal"),
        ],
    ),
    (
        &["user", "add"],
        &[
            ("printf %s \"$PASSWORD\" | ravenry user add murder", "let frontends and backends log in"),
            ("ravenry user add --lmtp mta < password", "let an MTA log in"),
        ],
    ),
    (&["stand-in"], &[("ravenry stand-in", "decide here from now on")]),
    (&["follow"], &[("ravenry follow", "the master is back: give it what it missed")]),
    (
        &["plan"],
        &[
            ("ravenry plan", "what a replay would do"),
            ("ravenry plan --for reseed --json", "what a reseed would do, for scripts"),
        ],
    ),
    (
        &["reseed"],
        &[
            ("ravenry reseed", "make the master's list ours; asks first"),
            ("ravenry reseed --yes --remove 1200", "without asking: the master loses 1200 names"),
        ],
    ),
    (
        &["accept"],
        &[("ravenry accept --forget 3", "take the master's list: three of our names are forgotten")],
    ),
    (
        &["expect"],
        &[(
            "ravenry expect --remove-server be1.example.org --for 48",
            "be1 leaves the murder within two days",
        )],
    ),
    (
        &["audit"],
        &[
            ("ravenry audit", "compare, and change nothing"),
            ("ravenry audit --fix", "put right what can be put right without deleting mail"),
        ],
    ),
    (&["list", "find"], &[("ravenry list find user.alice", "where alice's inbox is")]),
    (&["list", "export"], &[("ravenry list export > list.jsonl", "the whole list")]),
    (&["list", "import"], &[("ravenry list import dump.txt", "take in what `ctl_mboxlist -d` wrote")]),
    (&["list", "learn"], &[("ravenry list learn --from fe1.example.org", "take in the list of a frontend")]),
    (&["conflicts", "list"], &[("ravenry conflicts list", "what a person has to decide")]),
    (
        &["conflicts", "show"],
        &[("ravenry conflicts show user.alice", "both sides, and what they last agreed on")],
    ),
    (
        &["conflicts", "resolve"],
        &[("ravenry conflicts resolve user.alice --keep ours", "the master is given what is here")],
    ),
    (&["history"], &[("ravenry history user.alice --most 10", "who changed it, the last ten times")]),
    (&["queue", "list"], &[("ravenry queue list", "what waits, and for what")]),
    (&["queue", "show"], &[("ravenry queue show 42", "its recipients")]),
    (&["queue", "cat"], &[("ravenry queue cat 42", "its text")]),
    (&["queue", "hold"], &[("ravenry queue hold ALL", "try nothing for now")]),
    (&["queue", "release"], &[("ravenry queue release 42", "try it again")]),
    (&["queue", "retry"], &[("ravenry queue retry --all", "try everything now")]),
    (&["queue", "delete"], &[("ravenry queue delete 42", "forget it; nobody is told")]),
    (
        &["queue", "export"],
        &[("ravenry queue export 42 --directory /tmp", "to /tmp/42.eml and /tmp/42.json")],
    ),
    (&["queue", "import"], &[("ravenry queue import /tmp/42.json", "take it in again")]),
    (&["frontend", "drain"], &[("ravenry frontend drain fe1.example.org:143", "before its maintenance")]),
    (&["frontend", "resume"], &[("ravenry frontend resume fe1.example.org:143", "after it")]),
    (
        &["allow-removals"],
        &[("ravenry allow-removals --server be1.example.org --count 120", "be1 may remove 120 names")],
    ),
    (&["backup"], &[("ravenry backup /var/backups/ravenry.redb", "while it is served")]),
    (&["retire"], &[("ravenry retire", "before a Ravenry that was replaced is ever started again")]),
    (&["generate", "metrics"], &[("ravenry generate metrics > metrics.md", "the reference of the metrics")]),
    (
        &["generate", "configuration"],
        &[("ravenry generate configuration > keys.md", "the reference of the configuration")],
    ),
    (
        &["generate", "completions"],
        &[("ravenry generate completions bash > /etc/bash_completion.d/ravenry", "for bash")],
    ),
    (&["generate", "man"], &[("ravenry generate man /usr/local/share/man", "below man1, man5 and man8")]),
];

/// The same command with its examples, and those of the commands below it.
pub(super) fn with_examples(command: Command) -> Command {
    below(command, &[])
}

fn below(command: Command, path: &[&str]) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names.iter().fold(command, |command, name| {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(name, |sub| below(sub, &path))
    });
    match ALL.iter().find(|(of, _)| *of == path) {
        Some((_, examples)) => command.after_help(text(examples)),
        None => command,
    }
}

fn text(examples: &[(&str, &str)]) -> String {
    let lines = examples.iter().map(|(line, does)| format!("  {line}\n      {does}"));
    std::iter::once("Examples:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Line;
    use super::*;

    fn leaves(command: &Command, path: &[String], found: &mut Vec<Vec<String>>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
            if sub.has_subcommands() {
                leaves(sub, &path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_command_has_an_example_and_no_example_is_of_nothing() {
        let mut found = Vec::new();
        leaves(&Line::command(), &[], &mut found);
        assert!(found.len() > 30);
        for path in &found {
            assert!(ALL.iter().any(|(of, _)| of == path), "no example of {path:?}");
        }
        for (of, _) in ALL.iter().filter(|(of, _)| !of.is_empty()) {
            assert!(found.iter().any(|path| path == of), "{of:?} is no command");
        }
    }

    #[test]
    fn every_example_is_what_the_program_takes() {
        for (of, examples) in ALL {
            for (line, _) in *examples {
                let typed = line.rsplit(" | ").next().unwrap();
                let words: Vec<&str> =
                    typed.split(' ').take_while(|word| *word != ">" && *word != "<").collect();
                let matches =
                    with_examples(Line::command()).try_get_matches_from(&words).map_err(|e| e.to_string());
                let mut matches = &matches.unwrap();
                for word in *of {
                    let (name, inner) = matches.subcommand().unwrap();
                    assert_eq!(name, *word, "{line}");
                    matches = inner;
                }
            }
        }
    }
}
