//! imapd.conf: `option: value`, a line each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{CyrusError, text_of};

/// An option's value, and where it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The value.
    pub value: String,
    /// The file, which can be an included one.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// The options of one host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    given: BTreeMap<String, Given>,
    files: Vec<PathBuf>,
}

impl Options {
    /// Reads a file and what it includes.
    pub fn load(path: &Path) -> Result<Self, CyrusError> {
        let mut options = Self::default();
        options.read(path)?;
        Ok(options)
    }

    fn read(&mut self, path: &Path) -> Result<(), CyrusError> {
        let text = text_of(path)?;
        self.files.push(path.to_owned());
        for (line, logical) in logical_lines(&text) {
            let malformed = |why: String| CyrusError::Malformed { path: path.to_owned(), line, why };
            let Some((key, value)) = split(&logical).map_err(|why| malformed(why.to_owned()))? else {
                continue;
            };
            if key == "@include" {
                let included = beside(path, Path::new(value));
                if self.files.contains(&included) {
                    return Err(malformed(format!("{} is included twice", included.display())));
                }
                self.read(&included).map_err(|error| match error {
                    CyrusError::Unreadable { path, error } => malformed(format!(
                        "{}, which it includes, cannot be read: {error}; put a copy of it into the same directory",
                        path.display()
                    )),
                    other => other,
                })?;
                continue;
            }
            if key.starts_with('@') {
                return Err(malformed(format!("{key} is no directive of Cyrus's")));
            }
            let given = Given { value: value.to_owned(), file: path.to_owned(), line };
            if let Some(first) = self.given.insert(key.clone(), given) {
                let at = format!("{}:{}", first.file.display(), first.line);
                return Err(malformed(format!(
                    "{key} was given before, at {at}; Cyrus does not start with that"
                )));
            }
        }
        Ok(())
    }

    /// What was said of an option.
    pub fn given(&self, option: &str) -> Option<&Given> {
        self.given.get(option)
    }

    /// An option's value.
    pub fn get(&self, option: &str) -> Option<&str> {
        Some(self.given(option)?.value.as_str())
    }

    /// An option's words, as in `admins: cyrus murder`.
    pub fn words<'a>(&'a self, option: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get(option).unwrap_or_default().split_ascii_whitespace()
    }

    /// An option that is on or off.
    pub fn switch(&self, option: &str) -> Option<bool> {
        let value = self.get(option)?;
        if value.starts_with(['0', 'n', 'f']) || value.starts_with("of") {
            Some(false)
        } else if value.starts_with(['1', 'y', 't']) || value.starts_with("on") {
            Some(true)
        } else {
            None
        }
    }
}

/// Lines with their numbers; a line that ends with a backslash goes on in the next one, a comment too. The number is
/// that of the line it begins with.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        let (number, mut so_far) = begun.take().unwrap_or((at + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(part) => {
                so_far.push_str(part);
                begun = Some((number, so_far));
            }
            None => {
                so_far.push_str(line);
                lines.push((number, so_far));
            }
        }
    }
    lines.extend(begun);
    lines
}

/// Key, in lower case, and value; `None` for a comment or an empty line.
fn split(line: &str) -> Result<Option<(String, &str)>, &'static str> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = line.split_once(':').ok_or("neither a comment nor `option: value`")?;
    let name = key.strip_prefix('@').unwrap_or(key);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err("not the name of an option before the colon");
    }
    match value.trim_ascii() {
        "" => Err("an option without a value"),
        value => Ok(Some((key.to_ascii_lowercase(), value))),
    }
}

/// An included file: the one of that name in the same directory, where there is one. Files that were gathered from
/// several hosts are found, and not those of the host that they were gathered on.
fn beside(including: &Path, included: &Path) -> PathBuf {
    let gathered = included.file_name().map(|name| including.with_file_name(name));
    gathered.filter(|path| path.is_file() && path != including).unwrap_or_else(|| included.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Options, CyrusError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Options::load(&directory.path().join(files[0].0))
    }

    #[test]
    fn it_is_read_as_cyrus_reads_it() {
        let text = "# a comment\n  ADMINS:   cyrus \\\n   murder  \nvirtdomains: userid\n\
                    # this one goes on \\\nunixhierarchysep: yes\n@include: /etc/more.conf\n";
        let more = "mupdate_server: mm.example.org\nallowplaintext: off\n";
        let options = read(&[("imapd.conf", text), ("more.conf", more)]).unwrap();
        assert_eq!(options.words("admins").collect::<Vec<_>>(), ["cyrus", "murder"]);
        assert_eq!(options.get("virtdomains"), Some("userid"));
        assert_eq!(options.get("unixhierarchysep"), None, "a comment goes on behind a backslash, too");
        let server = options.given("mupdate_server").unwrap();
        assert!(server.file.ends_with("more.conf") && server.line == 1);
        assert_eq!((options.switch("allowplaintext"), options.switch("nothing")), (Some(false), None));
        assert_eq!(options.given("virtdomains").unwrap().line, 4);
    }

    #[test]
    fn what_cyrus_would_not_start_with_is_said_with_its_line() {
        for (text, told) in [
            ("servername: a\nservername: b\n", ":2: servername was given before"),
            ("admins : cyrus\n", ":1: not the name of an option"),
            ("\nadmins:\n", ":2: an option without a value"),
            ("what\n", ":1: neither a comment"),
            (
                "@include: /nowhere/at/all.conf\n",
                ":1: /nowhere/at/all.conf, which it includes, cannot be read",
            ),
            ("@require: x\n", ":1: @require is no directive"),
        ] {
            let error = read(&[("imapd.conf", text)]).unwrap_err().to_string();
            assert!(error.contains(&format!("imapd.conf{told}")), "{error}");
        }
        let round = [("imapd.conf", "@include: a.conf\n"), ("a.conf", "@include: imapd.conf\n")];
        assert!(read(&round).unwrap_err().to_string().contains("included twice"));
    }
}
