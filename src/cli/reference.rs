//! The reference of the configuration, from `ravenry.example.toml`, which a test of the configuration's holds against
//! the types.

use std::fmt::Write as _;

const EXAMPLE: &str = include_str!("../../ravenry.example.toml");

/// A section of the file.
#[derive(Default, Debug)]
pub(super) struct Section {
    /// Empty for what stands above all sections.
    pub(super) name: String,
    pub(super) about: String,
    pub(super) keys: Vec<Keys>,
}

/// Keys that share their words.
#[derive(Default, Debug)]
pub(super) struct Keys {
    /// `key = value`
    pub(super) lines: Vec<String>,
    pub(super) about: String,
}

/// All of them, in the example's order.
pub(super) fn sections() -> Vec<Section> {
    let mut all = vec![Section::default()];
    let mut about: Vec<&str> = Vec::new();
    let mut keys: Option<Keys> = None;
    let close = |all: &mut Vec<Section>, keys: &mut Option<Keys>| {
        if let (Some(section), Some(keys)) = (all.last_mut(), keys.take()) {
            section.keys.push(keys);
        }
    };
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            close(&mut all, &mut keys);
            all.push(Section { name: name.into(), about: about.join(" "), ..Section::default() });
            about.clear();
        } else if let Some(words) = line.strip_prefix("# ") {
            close(&mut all, &mut keys);
            about.push(words);
        } else if line.is_empty() {
            close(&mut all, &mut keys);
            if let (Some(section), false) =
                (all.last_mut().filter(|section| section.keys.is_empty()), about.is_empty())
                && section.about.is_empty()
            {
                section.about = about.join(" ");
            }
            about.clear();
        } else {
            let keys = keys.get_or_insert_with(|| Keys { about: about.join(" "), ..Keys::default() });
            about.clear();
            keys.lines.push(line.trim_start_matches('#').to_owned());
        }
    }
    close(&mut all, &mut keys);
    all
}

const HEAD: &str = "\
# Configuration reference

<!-- Made by `ravenry generate configuration > docs/reference.md`; a test keeps it true. -->

Every key of `ravenry.toml` with its default, or with an example where there is none. The words are those of
[`ravenry.example.toml`](../ravenry.example.toml), and of `man 5 ravenry.toml`. How Ravenry is put into a murder is in
[configuration.md](configuration.md).
";

/// `docs/reference.md`
pub(super) fn document() -> String {
    let mut text = HEAD.to_owned();
    for section in sections() {
        let title = if section.name.is_empty() {
            "Above all sections".into()
        } else {
            format!("`[{}]`", section.name)
        };
        let _ = writeln!(text, "\n## {title}\n");
        if !section.about.is_empty() {
            let _ = writeln!(text, "{}\n", section.about);
        }
        if section.keys.is_empty() {
            continue;
        }
        let _ = writeln!(text, "| key | default or example | what it means |\n|---|---|---|");
        for keys in &section.keys {
            for (at, line) in keys.lines.iter().enumerate() {
                let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
                let about = if at == 0 { keys.about.replace('|', "\\|") } else { "see above".into() };
                let _ = writeln!(text, "| `{key}` | `{value}` | {about} |");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_up_to_date() {
        let kept = include_str!("../../docs/reference.md");
        let made = super::document();
        assert!(kept == made, "run `cargo run -q -p ravenry -- generate configuration > docs/reference.md`");
    }

    /// That the example has every key is shown beside the types.
    #[test]
    fn every_key_of_the_example_is_in_it_with_words() {
        let sections = super::sections();
        let keys: usize =
            sections.iter().flat_map(|section| &section.keys).map(|keys| keys.lines.len()).sum();
        let shown = |line: &&str| {
            let line = line.trim_start_matches('#');
            line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        assert_eq!(keys, super::EXAMPLE.lines().filter(shown).count());
        for section in &sections {
            for keys in &section.keys {
                assert!(
                    !keys.about.is_empty() || !section.about.is_empty(),
                    "[{}] {:?}",
                    section.name,
                    keys.lines
                );
            }
        }
    }
}
