//! cyrus.conf: what Cyrus's process master runs, and where it listens.

use std::path::Path;

use super::{CyrusError, text_of};

/// Ports that a name in `listen=` stands for where /etc/services knows it. Cyrus's documentation gives LMTP 2003.
const NAMED: &[(&str, u16)] =
    &[("imap", 143), ("imap2", 143), ("imaps", 993), ("lmtp", 2003), ("mupdate", 3905)];

/// Where a service listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A TCP port that other hosts reach.
    Port(u16),
    /// The host itself, or a socket of it: nobody else reaches it.
    Local,
    /// Something that is not understood, such as a name of a port that is not known here.
    Unknown(String),
}

/// A line of SERVICES.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// What it is called.
    pub name: String,
    /// The command's words, without directories and without Debian's wrapper `cyrus`.
    pub command: Vec<String>,
    /// Where it listens.
    pub place: Place,
}

impl Service {
    /// Whether it runs this program.
    pub fn runs(&self, program: &str) -> bool {
        self.command.first().is_some_and(|first| first == program)
    }

    /// Whether its command has this option, alone or among others: `-s` in `imapd -sU 30`.
    pub fn has(&self, option: char) -> bool {
        let options = self.command.iter().skip(1).filter_map(|word| word.strip_prefix('-'));
        options.into_iter().any(|letters| !letters.starts_with('-') && letters.contains(option))
    }
}

/// The section SERVICES.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Services(pub Vec<Service>);

impl Services {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, CyrusError> {
        let mut services = Vec::new();
        let mut within: Option<String> = None;
        for (at, line) in text_of(path)?.lines().enumerate() {
            let malformed = |why: &str| CyrusError::Malformed {
                path: path.to_owned(),
                line: at + 1,
                why: why.to_owned(),
            };
            let line = line.trim_ascii();
            match line {
                _ if line.is_empty() || line.starts_with('#') => {}
                "}" if within.is_some() => within = None,
                _ if within.is_none() => {
                    let section = line
                        .strip_suffix('{')
                        .ok_or_else(|| malformed("a section and `{` should be here"))?;
                    within = Some(section.trim_ascii().to_owned());
                }
                _ if within.as_deref() == Some("SERVICES") => {
                    services
                        .push(service(line).ok_or_else(|| malformed("not `name cmd=\"…\" listen=\"…\"`"))?);
                }
                _ => {}
            }
        }
        Ok(Self(services))
    }

    /// The first service that runs one of these programs and satisfies a condition.
    pub fn find(&self, programs: &[&str], is: impl Fn(&Service) -> bool) -> Option<&Service> {
        self.0.iter().find(|service| programs.iter().any(|program| service.runs(program)) && is(service))
    }
}

fn service(line: &str) -> Option<Service> {
    let (name, mut rest) = line.split_once(|c: char| c.is_ascii_whitespace())?;
    let (mut command, mut listen) = (None, None);
    while let Some((key, after)) = rest.trim_ascii_start().split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((after, "")),
        };
        match key.trim_ascii() {
            "cmd" => command = Some(value),
            "listen" => listen = Some(value),
            _ => {}
        }
        rest = left;
    }
    let mut words = command?.split_ascii_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next()?;
    let first = if first == "cyrus" { words.next()? } else { first };
    let command = std::iter::once(first).chain(words).map(str::to_owned).collect();
    Some(Service { name: name.to_owned(), command, place: place(listen?) })
}

/// `3905`, `:3905`, `host:imap`, `[::1]:imap`, `/run/cyrus/socket/lmtp`
fn place(listen: &str) -> Place {
    if listen.starts_with('/') {
        return Place::Local;
    }
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", listen));
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
        return Place::Local;
    }
    let named = || NAMED.iter().find(|(name, _)| *name == port).map(|(_, port)| *port);
    match port.parse().ok().or_else(named) {
        Some(port) => Place::Port(port),
        None => Place::Unknown(listen.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Services, CyrusError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cyrus.conf");
        std::fs::write(&path, text).unwrap();
        Services::load(&path)
    }

    #[test]
    fn services_are_found_among_comments_and_other_sections() {
        let text = "START {\n\trecover\tcmd=\"/usr/sbin/cyrus ctl_cyrusdb -r\"\n}\n# SERVICES {\nSERVICES {\n\
            \timap\t\tcmd=\"imapd -U 30\" listen=\"imap\" prefork=0 maxchild=100\n\
            \t#imaps\tcmd=\"imapd -s\" listen=\"imaps\"\n\
            lmtpunix cmd=\"lmtpd -a\" listen=\"/run/cyrus/socket/lmtp\"\n\
            mupdate cmd=\"/usr/sbin/cyrus mupdate -m\" listen=3905 prefork=1\n}\nEVENTS {\n x cmd=\"y\" period=30\n}\n";
        let services = read(text).unwrap();
        assert_eq!(services.0.len(), 3);
        let imap = services.find(&["imapd", "proxyd"], |service| !service.has('s')).unwrap();
        assert_eq!((imap.place.clone(), imap.has('U')), (Place::Port(143), true));
        let lmtp = services.find(&["lmtpd"], |_| true).unwrap();
        assert!(lmtp.has('a') && lmtp.place == Place::Local);
        let mupdate = services.find(&["mupdate"], |service| service.has('m')).unwrap();
        assert_eq!(mupdate.place, Place::Port(3905));
    }

    #[test]
    fn places_are_ports_sockets_or_unknown() {
        for (listen, expected) in [
            ("2003", Place::Port(2003)),
            (":3905", Place::Port(3905)),
            ("fe1.example.org:lmtp", Place::Port(2003)),
            ("localhost:lmtp", Place::Local),
            ("[::1]:imap", Place::Local),
            ("[::]:imap", Place::Port(143)),
            ("ourport", Place::Unknown("ourport".into())),
        ] {
            assert_eq!(place(listen), expected, "{listen}");
        }
    }

    #[test]
    fn what_is_no_cyrus_conf_is_said_with_its_line() {
        let error = read("configdirectory: /var/lib/cyrus\n").unwrap_err().to_string();
        assert!(error.contains("cyrus.conf:1: a section"), "{error}");
        let error = read("SERVICES {\n imap listen=\"imap\"\n}\n").unwrap_err().to_string();
        assert!(error.contains("cyrus.conf:2: not"), "{error}");
    }
}
