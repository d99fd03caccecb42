//! The file: what suffices, what is refused, and that the example tells everything.

use proptest::prelude::*;

use super::*;
use crate::config;

mod any;

const CONTRACT: &str = r#"
state_dir = "/var/lib/ravenry"
[mupdate]
listen = ["0.0.0.0:3905"]
users_file = "/etc/ravenry/users.toml"
allow_plaintext = true
[master]
address = "mm.example.org:3905"
user = "murder"
password_file = "/etc/ravenry/master.pw"
[lmtp]
listen = ["0.0.0.0:24"]
frontends = ["fe1.example.org:24"]
[imap]
listen = ["0.0.0.0:143"]
frontends = ["fe1.example.org:143"]
allow_plaintext = true
[admin]
socket = "/run/ravenry/admin.sock"
[metrics]
listen = "127.0.0.1:9805"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("ravenry.toml"))
}

#[test]
fn the_contract_suffices() {
    let config = parse(CONTRACT).unwrap();
    assert_eq!(config.master.address, "mm.example.org:3905");
    assert_eq!(config.max_unattended.get().as_secs(), 3600);
}

#[test]
fn frontends_are_asked_what_they_stored_unless_somebody_says_otherwise() {
    let config = parse(CONTRACT).unwrap();
    assert_eq!(config.slaves(), ["fe1.example.org:3905"], "of [lmtp] and [imap], once");
    assert!(config.without_faces().slaves().is_empty(), "the shadow asks nobody");
    let said = |list: &str| {
        let text = CONTRACT.replace("[mupdate]\n", &format!("[mupdate]\nfrontends = {list}\n"));
        parse(&text).unwrap().slaves()
    };
    assert_eq!(said("[\"[::1]:4905\"]"), ["[::1]:4905"]);
    assert!(said("[]").is_empty());
}

#[test]
fn a_misspelt_key_is_an_error_with_its_place_and_a_suggestion() {
    let error = parse(&CONTRACT.replace("users_file", "user_file")).unwrap_err();
    assert_eq!(error.to_string(), "ravenry.toml:5:1: unknown key `user_file`, did you mean `users_file`?");
    let error = parse(&CONTRACT.replace("[metrics]", "[grafana]")).unwrap_err();
    assert!(error.to_string().contains("unknown key `grafana`, expected one of"), "{error}");
}

/// Every key of the types stands in the example, as itself or as a comment, and the example parses with
/// every comment of the form `#key = value` taken in.
#[test]
fn the_example_shows_every_key_and_is_valid() {
    let example = include_str!("../../../ravenry.example.toml");
    parse(example).unwrap();
    let all = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let config = parse(&all).unwrap();
    let shown = |key: &str| all.lines().any(|line| line.starts_with(&format!("{key} = ")));
    let debug = format!("{config:?}");
    let keys = debug
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|word| word.strip_suffix(':'))
        .filter(|word| is_key(word));
    for key in keys {
        let section = all.contains(&format!("[{key}]")) || all.contains(&format!(".{key}]"));
        assert!(shown(key) || section, "{key} is not in the example");
    }
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// What was once found stays found without a fuzzer.
#[test]
fn the_fuzzers_seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let text = std::fs::read_to_string(seed.unwrap().path()).unwrap();
        any::check(&text);
        // Each of them cut off anywhere: more than the fuzzer's own first steps.
        text.char_indices().for_each(|(at, _)| any::check(&text[..at]));
        count += 1;
    }
    assert!(count > 10, "seeds are missing");
}

proptest! {
    #[test]
    fn whatever_is_wrong_is_wrong_at_a_place_that_is_there(
        at in proptest::prelude::any::<prop::sample::Index>(),
        length in 0..40_usize,
        put in "[ -~\n\u{e4}]{0,12}",
    ) {
        let example = include_str!("../../../ravenry.example.toml").chars().collect::<Vec<_>>();
        let at = at.index(example.len());
        let rest = example.iter().skip(at + length);
        let text: String = example.iter().take(at).copied().chain(put.chars()).chain(rest.copied()).collect();
        any::check(&text);
    }
}
