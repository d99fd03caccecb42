//! The blocks of a page that show what a command prints: fenced, `console` and a name.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// What a person sees, by the name of the block that shows it.
pub type Scenes = BTreeMap<String, String>;

const FENCE: &str = "```";

/// The blocks of a page.
fn blocks(page: &str) -> Result<Scenes> {
    let mut found = Scenes::new();
    walk(page, |name, text| {
        ensure!(found.insert(name.to_owned(), text.to_owned()).is_none(), "{name} is there twice");
        Ok(text.to_owned())
    })?;
    Ok(found)
}

/// The page with other blocks. Each has its scene, and each scene its block.
pub fn rewritten(page: &str, scenes: &Scenes) -> Result<String> {
    let known = blocks(page)?;
    for name in scenes.keys() {
        ensure!(known.contains_key(name), "no block shows the scene {name}");
    }
    walk(page, |name, _| match scenes.get(name) {
        Some(text) => Ok(text.clone()),
        None => bail!("there is no scene {name}"),
    })
}

fn walk(page: &str, mut block: impl FnMut(&str, &str) -> Result<String>) -> Result<String> {
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        let Some(name) = line.strip_prefix("```console ") else { continue };
        let text: String =
            lines.by_ref().take_while(|line| *line != FENCE).map(|line| format!("{line}\n")).collect();
        out += &format!("{}{FENCE}\n", block(name, &text)?);
    }
    Ok(out)
}

/// How a page and a run differ, but for addresses, times and releases.
pub fn difference(page: &str, run: &Scenes) -> Result<Option<String>> {
    let told = blocks(page)?;
    let names: std::collections::BTreeSet<&String> = told.keys().chain(run.keys()).collect();
    let differs = |name: &&String| {
        let normal = |scenes: &Scenes| scenes.get(*name).map(|text| normal(text));
        normal(&told) != normal(run)
    };
    let show = |name: &String| {
        let of = |scenes: &Scenes| scenes.get(name).map_or("nothing\n", String::as_str).to_owned();
        format!("== {name}: the page shows\n{}== and it is\n{}", of(&told), of(run))
    };
    let all: Vec<String> = names.into_iter().filter(differs).map(show).collect();
    Ok((!all.is_empty()).then(|| all.concat()))
}

/// Without what is another in every run.
fn normal(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| words(&line.split_whitespace().collect::<Vec<_>>())).collect()
}

fn words(line: &[&str]) -> Vec<String> {
    let unit = |word: Option<&&str>| {
        word.is_some_and(|word| ["s", "min", "h", "days"].contains(&word.trim_matches([',', ')', ';', ':'])))
    };
    let number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit() || first == '(');
    let mut out = Vec::new();
    for (nth, word) in line.iter().enumerate() {
        let digits = word.contains(|c: char| c.is_ascii_digit());
        let bare = !word.contains(|c: char| c.is_alphabetic());
        out.push(match word {
            _ if digits && bare && word.contains(['.', ':']) => "#".to_owned(),
            _ if digits && number(word) && unit(line.get(nth + 1)) => "#".to_owned(),
            _ if nth > 0 && unit(Some(word)) && line.get(nth - 1).is_some_and(|last| number(last)) => {
                "s".to_owned()
            }
            _ if word.contains("-Debian") || word.contains("://") => "#".to_owned(),
            word => (*word).to_owned(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n```console one\n$ ravenry status\nsince 3 s ago\n```\n\nand\n";

    fn one(text: &str) -> Scenes {
        Scenes::from([("one".to_owned(), text.to_owned())])
    }

    #[test]
    fn a_page_says_what_a_run_says_but_for_times_and_addresses() {
        assert_eq!(difference(PAGE, &one("$ ravenry status\nsince 2 min ago\n")).unwrap(), None);
        let other = difference(PAGE, &one("$ ravenry status\nsince yesterday\n")).unwrap().unwrap();
        assert!(other.contains("yesterday"), "{other}");
        assert!(difference(PAGE, &Scenes::new()).unwrap().is_some(), "a block without a scene");
        assert_ne!(normal("12 names"), normal("13 names"));
        assert_eq!(
            normal("10.0.0.1:99 (mm, 3.6.1-Debian-1) 1.2 s"),
            normal("10.9.0.1:8 (mm, 3.6.2-Debian-2) 3 s")
        );
    }

    #[test]
    fn a_page_is_written_anew() {
        let page = rewritten(PAGE, &one("$ ravenry plan\nnothing\n")).unwrap();
        assert_eq!(page, "# Page\n\n```console one\n$ ravenry plan\nnothing\n```\n\nand\n");
        assert!(rewritten(PAGE, &Scenes::from([("two".to_owned(), String::new())])).is_err());
    }
}
