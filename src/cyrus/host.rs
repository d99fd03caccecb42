//! One host of a murder, as its files show it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{CyrusError, Options, Place, Service, Services};
use crate::config::MUPDATE_PORT;

/// IMAP's port.
const IMAP_PORT: u16 = 143;
/// The port that Cyrus's documentation gives LMTP.
const LMTP_PORT: u16 = 2003;

/// What a host is in its murder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Runs the mupdate master.
    Master,
    /// Passes users on to backends.
    Frontend,
    /// Holds mailboxes.
    Backend,
    /// Does both (`mupdate_config: unified` or `replicated`).
    Unified,
}

impl Role {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Unified => "frontend and backend in one",
        }
    }

    /// Whether clients and mail come to it.
    pub fn is_frontend(self) -> bool {
        matches!(self, Self::Frontend | Self::Unified)
    }

    /// Whether it holds mailboxes.
    pub fn is_backend(self) -> bool {
        matches!(self, Self::Backend | Self::Unified)
    }
}

/// An imapd.conf, and where its host is reached, where that is not its `servername`: `IMAPD.CONF` or `HOST=IMAPD.CONF`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The host's name or address.
    pub host: Option<String>,
    /// Its imapd.conf.
    pub file: PathBuf,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((host, file)) if !host.contains('/') => {
                Self { host: Some(host.to_owned()), file: file.into() }
            }
            _ => Self { host: None, file: text.into() },
        })
    }
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// As in locations.
    pub name: String,
    /// How it is reached: a name or an address.
    pub address: String,
    /// What it is.
    pub role: Role,
    /// Its imapd.conf.
    pub file: PathBuf,
    /// What that says.
    pub options: Options,
    /// What its cyrus.conf says, where that was given.
    pub services: Option<Services>,
}

impl Host {
    /// Reads a host's files; without `cyrus_conf` the one beside the imapd.conf, if there is one.
    pub fn load(source: &Source, cyrus_conf: Option<&Path>) -> Result<Self, CyrusError> {
        let options = Options::load(&source.file)?;
        let beside = source.file.with_file_name("cyrus.conf");
        let services = match cyrus_conf {
            Some(path) => Some(Services::load(path)?),
            None if beside.is_file() => Some(Services::load(&beside)?),
            None => None,
        };
        let unclear = |why: &str| CyrusError::Unclear { path: source.file.clone(), why: why.to_owned() };
        let role = role(&options, services.as_ref()).map_err(unclear)?;
        let name = options.get("servername").map(str::to_owned).or_else(|| source.host.clone());
        let name = name.ok_or_else(|| {
            unclear("it has no `servername`, so the host's own name counts: say it as HOST=IMAPD.CONF")
        })?;
        let address = source.host.clone().unwrap_or_else(|| name.clone());
        Ok(Self { name, address, role, file: source.file.clone(), options, services })
    }

    /// Whether somebody may do everything on this host: over IMAP, LMTP or MUPDATE.
    pub fn is_admin(&self, user: &str, service: &str) -> bool {
        self.admins(service).any(|admin| admin == user)
    }

    /// Who may. A service's own option stands in place of the general one (observed; Debian's comments say otherwise).
    pub fn admins<'a>(&'a self, service: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let own = format!("{service}_admins");
        self.options.words(if self.options.get(&own).is_some() { &own } else { "admins" })
    }

    /// `host:port` of the mupdate master that it asks.
    pub fn mupdate_server(&self) -> Option<String> {
        let server = self.options.get("mupdate_server")?;
        Some(if server.contains(':') { server.to_owned() } else { format!("{server}:{MUPDATE_PORT}") })
    }

    /// Who it says it is to the mupdate master, and the password.
    pub fn mupdate_login(&self) -> Option<(&str, Option<&str>)> {
        let name = self.options.get("mupdate_authname").or_else(|| self.options.get("mupdate_username"))?;
        Some((name, self.options.get("mupdate_password")))
    }

    /// Who it says it is to backends, and the password.
    pub fn proxy_login(&self) -> Option<(&str, &str)> {
        Some((self.options.get("proxy_authname")?, self.options.get("proxy_password")?))
    }

    /// Where its IMAP answers.
    pub fn imap(&self) -> Option<String> {
        self.at(&["imapd", "proxyd"], |service| !service.has('s'), IMAP_PORT)
    }

    /// Where its LMTP answers.
    pub fn lmtp(&self) -> Option<String> {
        self.at(&["lmtpd", "lmtpproxyd"], |service| matches!(service.place, Place::Port(_)), LMTP_PORT)
    }

    /// Whether its LMTP lets anybody deliver.
    pub fn lmtp_trusts(&self) -> Option<bool> {
        Some(self.lmtp_service()?.has('a'))
    }

    fn lmtp_service(&self) -> Option<&Service> {
        let services = self.services.as_ref()?;
        services.find(&["lmtpd", "lmtpproxyd"], |service| matches!(service.place, Place::Port(_)))
    }

    /// Where its mupdate answers: the master's, or a frontend's own slave.
    pub fn mupdate(&self) -> Option<String> {
        self.at(&["mupdate"], |service| service.has('m') == (self.role == Role::Master), MUPDATE_PORT)
    }

    /// `None` where it runs no such service, or for itself alone; the usual port where its cyrus.conf is not known.
    fn at(&self, programs: &[&str], is: impl Fn(&Service) -> bool, usual: u16) -> Option<String> {
        let port = match &self.services {
            None => usual,
            Some(services) => match services.find(programs, is)?.place {
                Place::Port(port) => port,
                Place::Local | Place::Unknown(_) => return None,
            },
        };
        Some(format!("{}:{port}", self.address))
    }
}

/// What the options make of a host: a frontend is one that asks a master and lets nobody proxy to it.
fn role(options: &Options, services: Option<&Services>) -> Result<Role, &'static str> {
    let runs_master =
        services.is_some_and(|services| services.find(&["mupdate"], |service| service.has('m')).is_some());
    if options.get("mupdate_server").is_none() {
        return match services {
            Some(_) if runs_master => Ok(Role::Master),
            None => Ok(Role::Master),
            Some(_) => Err("it has no `mupdate_server` and runs no `mupdate -m`: it is in no murder"),
        };
    }
    let proxied = ["proxyservers", "imap_proxyservers", "lmtp_proxyservers"];
    Ok(match options.get("mupdate_config") {
        Some("unified" | "replicated") => Role::Unified,
        _ if proxied.iter().any(|option| options.get(option).is_some()) => Role::Backend,
        _ => Role::Frontend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(imapd: &str, cyrus: Option<&str>) -> Result<Host, CyrusError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("imapd.conf");
        std::fs::write(&file, imapd).unwrap();
        if let Some(cyrus) = cyrus {
            std::fs::write(directory.path().join("cyrus.conf"), cyrus).unwrap();
        }
        Host::load(&Source { host: None, file }, None)
    }

    const FRONTEND: &str = "servername: fe1.example.org\nmupdate_server: mm.example.org\nadmins: cyrus\nlmtp_admins: mta\n\
                            mupdate_admins: murder\nmupdate_authname: murder\nmupdate_password: secret\n";

    #[test]
    fn what_a_host_is_follows_from_its_options() {
        let frontend = host(FRONTEND, None).unwrap();
        assert_eq!(frontend.role, Role::Frontend);
        assert_eq!(frontend.mupdate_server().as_deref(), Some("mm.example.org:3905"));
        assert_eq!(frontend.mupdate_login(), Some(("murder", Some("secret"))));
        let proxied = format!("{FRONTEND}proxyservers: murder\n");
        assert_eq!(host(&proxied, None).unwrap().role, Role::Backend);
        let unified = format!("{proxied}mupdate_config: unified\n");
        assert_eq!(host(&unified, None).unwrap().role, Role::Unified);
        let master = "SERVICES {\n mupdate cmd=\"mupdate -m\" listen=\"4905\"\n}\n";
        let master = host("servername: mm.example.org\n", Some(master)).unwrap();
        assert_eq!((master.role, master.mupdate().as_deref()), (Role::Master, Some("mm.example.org:4905")));
        let alone = host("servername: x\n", Some("SERVICES {\n}\n")).unwrap_err().to_string();
        assert!(alone.contains("in no murder"), "{alone}");
        let nameless = host("mupdate_server: mm\n", None).unwrap_err().to_string();
        assert!(nameless.contains("HOST=IMAPD.CONF"), "{nameless}");
    }

    #[test]
    fn ports_are_those_of_its_services_and_the_usual_ones_without() {
        let known = "SERVICES {\n mupdate cmd=\"mupdate\" listen=\"3906\"\n imaps cmd=\"imapd -s\" listen=\"imaps\"\n \
            imap cmd=\"imapd\" listen=\":1143\"\n lu cmd=\"lmtpd\" listen=\"/x\"\n lmtp cmd=\"lmtpd -a\" listen=\"24\"\n}\n";
        let known = host(FRONTEND, Some(known)).unwrap();
        assert_eq!(known.mupdate().as_deref(), Some("fe1.example.org:3906"));
        assert_eq!(known.imap().as_deref(), Some("fe1.example.org:1143"));
        assert_eq!(known.lmtp().as_deref(), Some("fe1.example.org:24"));
        assert_eq!(known.lmtp_trusts(), Some(true));
        let unknown = host(FRONTEND, None).unwrap();
        assert_eq!(unknown.lmtp().as_deref(), Some("fe1.example.org:2003"));
        let none = host(FRONTEND, Some("SERVICES {\n}\n")).unwrap();
        assert_eq!((none.lmtp(), none.lmtp_trusts()), (None, None));
    }

    #[test]
    fn admins_of_a_service_stand_in_place_of_the_general_ones() {
        let host = host(FRONTEND, None).unwrap();
        assert!(host.is_admin("cyrus", "imap") && !host.is_admin("cyrus", "lmtp"));
        assert!(host.is_admin("mta", "lmtp") && host.is_admin("murder", "mupdate"));
        assert!(!host.is_admin("cyrus", "mupdate"));
    }

    #[test]
    fn a_source_may_say_whose_it_is() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(source("/etc/imapd.conf").host, None);
        assert_eq!(source("fe1=/tmp/a").host.as_deref(), Some("fe1"));
        assert_eq!(source("/tmp/x=y/imapd.conf").file, Path::new("/tmp/x=y/imapd.conf"));
    }
}
