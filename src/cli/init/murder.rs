//! What the files of the hosts together say of their murder.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::MUPDATE_PORT;
use crate::cyrus::{Host, Role};
use crate::net::secret::Secret;

/// A murder, as Ravenry has to know it.
#[derive(Debug)]
pub(super) struct Murder {
    /// `host:port` of the real master.
    pub(super) master: String,
    /// Who logs in there.
    pub(super) user: String,
    /// With what, where a file says so.
    pub(super) password: Option<Secret>,
    /// Who frontends and backends say they are, with the password, where their files say so.
    pub(super) users: BTreeMap<String, Option<Secret>>,
    /// An administrator of the backends whose password is known.
    pub(super) backends_login: Option<(String, Secret)>,
    /// Every backend that is named, with where its IMAP answers.
    pub(super) backends: BTreeMap<String, String>,
    /// What somebody should know.
    pub(super) remarks: Vec<String>,
}

impl Murder {
    /// `ours`: the name by which hosts reach Ravenry. The error is a sentence.
    pub(super) fn of(hosts: &[Host], ours: &str) -> Result<Self, String> {
        refused(hosts)?;
        let mut remarks = Vec::new();
        let master = master(hosts, ours)?;
        let users = users(hosts)?;
        let (user, password) = login(hosts, &users, &mut remarks)?;
        let backends = backends(hosts);
        let backends_login = backends_login(hosts, &users);
        remarks.extend(remarks_on(hosts));
        Ok(Self { master, user, password, users, backends_login, backends, remarks })
    }
}

/// The murders that Ravenry cannot stand in for.
fn refused(hosts: &[Host]) -> Result<(), String> {
    let replicated = |host: &&Host| host.options.get("mupdate_config") == Some("replicated");
    match hosts.iter().find(replicated) {
        None => Ok(()),
        Some(host) => Err(format!(
            "{}: with `mupdate_config: replicated` hosts do not tell their master on which server a mailbox is: Ravenry \
             cannot stand in for the master of such a murder",
            host.file.display()
        )),
    }
}

fn asking(hosts: &[Host]) -> impl Iterator<Item = &Host> {
    hosts.iter().filter(|host| host.role != Role::Master)
}

/// The real master: the one that hosts ask. Where they ask us already, only its own file can tell.
fn master(hosts: &[Host], ours: &str) -> Result<String, String> {
    let is_ours = |server: &str| server.rsplit_once(':').is_some_and(|(host, _)| host == ours);
    let mut asked: BTreeMap<String, &Host> = BTreeMap::new();
    for host in asking(hosts) {
        if let Some(server) = host.mupdate_server().filter(|server| !is_ours(server)) {
            asked.entry(server).or_insert(host);
        }
    }
    let mut asked = asked.into_iter();
    match (asked.next(), asked.next()) {
        (Some((server, _)), None) => Ok(server),
        (Some((one, first)), Some((other, second))) => Err(format!(
            "{} asks {one}, and {} asks {other}: hosts of one murder ask one master",
            first.file.display(),
            second.file.display()
        )),
        (None, _) => {
            let own = hosts.iter().find(|host| host.role == Role::Master).and_then(Host::mupdate);
            own.ok_or_else(|| {
                "no file says where the mupdate master is: give one of a frontend or backend, or the master's"
                    .into()
            })
        }
    }
}

fn users(hosts: &[Host]) -> Result<BTreeMap<String, Option<Secret>>, String> {
    let mut users: BTreeMap<String, Option<Secret>> = BTreeMap::new();
    for host in asking(hosts) {
        let Some((name, password)) = host.mupdate_login() else { continue };
        let known = users.entry(name.to_owned()).or_default();
        match (&known, password) {
            (Some(known), Some(password)) if known.expose() != password => {
                let file = host.file.display();
                return Err(format!("{file}: another password for {name} than in a file before"));
            }
            (None, Some(password)) => *known = Some(Secret::new(password)),
            _ => {}
        }
    }
    Ok(users)
}

/// Who logs in at the master: somebody who does so already, and is one of its admins.
fn login(
    hosts: &[Host],
    users: &BTreeMap<String, Option<Secret>>,
    remarks: &mut Vec<String>,
) -> Result<(String, Option<Secret>), String> {
    let master = hosts.iter().find(|host| host.role == Role::Master);
    let admin = |name: &&String| master.is_none_or(|master| master.is_admin(name, "mupdate"));
    if let Some(user) = users.keys().find(admin).or_else(|| users.keys().next()) {
        if !admin(&user) {
            remarks.push(format!("{user} is none of the master's `admins`: see below."));
        }
        return Ok((user.clone(), users.get(user).cloned().flatten()));
    }
    let own = master.and_then(|master| master.admins("mupdate").next());
    own.map(|user| (user.to_owned(), None))
        .ok_or_else(|| "no file says who logs in to the mupdate master (`mupdate_authname`)".into())
}

fn backends(hosts: &[Host]) -> BTreeMap<String, String> {
    let known = hosts.iter().filter(|host| host.role.is_backend());
    let known = known.filter_map(|host| Some((host.name.clone(), host.imap()?)));
    let mut backends: BTreeMap<_, _> = known.collect();
    for name in hosts.iter().flat_map(|host| host.options.words("serverlist")) {
        backends.entry(name.to_owned()).or_insert_with(|| format!("{name}:143"));
    }
    backends
}

/// Somebody whose password is known, and whom every known backend takes for an administrator.
fn backends_login(hosts: &[Host], users: &BTreeMap<String, Option<Secret>>) -> Option<(String, Secret)> {
    let backends: Vec<&Host> = hosts.iter().filter(|host| host.role.is_backend()).collect();
    if backends.is_empty() {
        return None;
    }
    let proxies = hosts.iter().filter_map(Host::proxy_login);
    let proxies = proxies.map(|(name, password)| (name.to_owned(), Secret::new(password)));
    let logins = users.iter().filter_map(|(name, password)| Some((name.clone(), password.clone()?)));
    logins.chain(proxies).find(|(name, _)| backends.iter().all(|backend| backend.is_admin(name, "imap")))
}

fn remarks_on(hosts: &[Host]) -> Vec<String> {
    let mut remarks = Vec::new();
    for host in hosts {
        let name = &host.name;
        if let Some(port) = host.options.get("mupdate_port").filter(|_| host.role != Role::Master) {
            let asked = host.mupdate_server().unwrap_or_default();
            if !asked.ends_with(&format!(":{port}")) {
                remarks.push(format!(
                    "{name} has `mupdate_port: {port}`, which Cyrus does not read: it asks {asked}."
                ));
            }
        }
        if host.role == Role::Unified {
            remarks.push(format!(
                "{name} has `mupdate_config: unified`, which works on Cyrus 3.2 alone. From 3.6 on such a host cannot open its \
                 own mailboxes any more once its mupdate master has told it of them (\"mbentry has no uniqueid\"), \
                 whoever that is: set it to `standard`, with frontends of their own."
            ));
        }
        if host.role.is_backend() && host.options.get("delete_mode") == Some("immediate") {
            remarks.push(format!(
                "{name} has `delete_mode: immediate`: Cyrus tells the master nothing of what is deleted there. [imap] \
                 and [backends] let Ravenry see it."
            ));
        }
        if host.services.is_none() {
            remarks.push(format!("{name}: without its cyrus.conf the usual ports are taken."));
        } else if host.role.is_frontend() && host.mupdate().is_none() {
            let port = MUPDATE_PORT;
            remarks.push(format!(
                "{name} runs no `mupdate` that other hosts reach (port {port}): see mupdate.frontends."
            ));
        }
        let forced = host.options.get("force_sasl_client_mech").unwrap_or_default();
        if ["PLAIN", "LOGIN"].iter().any(|clear| forced.eq_ignore_ascii_case(clear)) {
            remarks.push(format!(
                "{name} logs in with {forced} only (`force_sasl_client_mech`): hence mupdate.allow_plaintext."
            ));
        }
    }
    let given: BTreeSet<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    for name in hosts.iter().flat_map(|host| host.options.words("serverlist")).collect::<BTreeSet<_>>() {
        if !given.contains(name) {
            remarks.push(format!(
                "{name} is in a `serverlist`, and no file of it was given: change it like the others."
            ));
        }
    }
    remarks
}
