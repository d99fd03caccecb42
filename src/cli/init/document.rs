//! The ravenry.toml, with a word on where each value comes from.

use std::fmt::{Display, Write as _};
use std::path::Path;

use super::Choice;
use super::files::Files;
use super::murder::Murder;
use crate::config::{Config, MUPDATE_PORT};
use crate::cyrus::Host;

/// A document in the making.
#[derive(Default)]
struct Document {
    text: String,
    /// Before each line: `#` in a section that is only prepared.
    mark: &'static str,
}

impl Document {
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{}{line}", self.mark);
    }

    /// A comment, whatever the section.
    fn remark(&mut self, text: impl Display) {
        let _ = writeln!(self.text, "# {text}");
    }

    fn space(&mut self) {
        self.text.push('\n');
    }

    fn key(&mut self, key: &str, value: impl Into<toml::Value>) {
        let value: toml::Value = value.into();
        self.line(format_args!("{key} = {value}"));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.key(key, path.display().to_string());
    }

    /// A section, in use or only prepared.
    fn section(&mut self, name: &str, used: bool) {
        self.space();
        self.mark = if used { "" } else { "#" };
        self.line(format_args!("[{name}]"));
    }
}

/// The whole file.
pub(super) fn text(hosts: &[Host], murder: &Murder, choice: &Choice, files: &Files) -> String {
    let mut out = Document::default();
    out.remark("Ravenry's configuration, made by `ravenry init` from:");
    for host in hosts {
        let services = if host.services.is_some() { " and its cyrus.conf" } else { "" };
        out.remark(format_args!("  {} ({}): {}{services}", host.name, host.role.word(), host.file.display()));
    }
    out.remark("Every key, with its default, is in ravenry.example.toml and in ravenry.toml(5). `ravenry check --live` tries");
    out.remark("out what stands here.");
    out.space();
    out.remark("The list and the journal; owned by Ravenry's user, on a disk that keeps its promises.");
    out.key("state_dir", "/var/lib/ravenry");
    mupdate(&mut out, hosts, choice, files);
    master(&mut out, hosts, murder, files);
    lmtp(&mut out, hosts, murder, choice, files);
    imap(&mut out, hosts, choice);
    backends(&mut out, murder, files);
    out.section("admin", true);
    out.remark("The control socket of `ravenry status`. Whoever may open it may give orders.");
    out.key("socket", "/run/ravenry/admin.sock");
    out.section("metrics", true);
    out.remark(
        "/metrics for Prometheus, and a page for people. No login: bind it where only monitors reach it.",
    );
    out.key("listen", "127.0.0.1:9805");
    out.text
}

fn mupdate(out: &mut Document, hosts: &[Host], choice: &Choice, files: &Files) {
    out.section("mupdate", true);
    out.remark(format_args!(
        "`mupdate_server: {}:{}` in the imapd.conf of every frontend and backend.",
        choice.name,
        choice.listen.port()
    ));
    out.key("listen", vec![choice.listen.to_string()]);
    out.key("servername", choice.name.as_str());
    out.remark(
        "Their `mupdate_authname` and `mupdate_password`, as verifiers; more with `ravenry user add NAME`.",
    );
    out.path("users_file", &files.users);
    let slaves: Vec<String> =
        hosts.iter().filter(|host| host.role.is_frontend()).filter_map(Host::mupdate).collect();
    if !slaves.is_empty() {
        out.remark("The frontends' own mupdate: a backend gets its OK once they have stored the change.");
        out.key("frontends", slaves);
    }
    if choice.plain || hosts.iter().any(forces_plain) {
        out.remark("For hosts without SCRAM, or whose `force_sasl_client_mech` makes them use PLAIN.");
        out.key("allow_plaintext", true);
    } else {
        out.remark("For hosts whose Cyrus SASL has no SCRAM (no libscram.so, as on Debian 11): they can only use PLAIN.");
        out.line("#allow_plaintext = true");
    }
}

fn forces_plain(host: &Host) -> bool {
    let forced = host.options.get("force_sasl_client_mech").unwrap_or_default();
    ["PLAIN", "LOGIN"].iter().any(|clear| forced.eq_ignore_ascii_case(clear))
}

fn master(out: &mut Document, hosts: &[Host], murder: &Murder, files: &Files) {
    out.section("master", true);
    out.remark("The real mupdate master, as frontends and backends reach it.");
    out.key("address", murder.master.as_str());
    out.remark("One of its `admins`: who frontends and backends log in as.");
    out.key("user", murder.user.as_str());
    out.path("password_file", &files.master);
    let certified = hosts.iter().any(|host| {
        matches!(host.role, crate::cyrus::Role::Master) && host.options.get("tls_server_cert").is_some()
    });
    if certified {
        out.remark("It has a certificate. From Cyrus 3.10 on, STARTTLS can be demanded, if first `tls_session_timeout: 0` is in");
        out.remark("its imapd.conf and the frontends' (docs/configuration.md says why); with the authorities that signed it:");
        out.line("#tls_ca_file = \"/etc/ravenry/ca.crt\"");
    }
}

fn lmtp(out: &mut Document, hosts: &[Host], murder: &Murder, choice: &Choice, files: &Files) {
    let serving: Vec<&Host> =
        hosts.iter().filter(|host| host.role.is_frontend() && host.lmtp().is_some()).collect();
    let Some(first) = serving.first() else { return };
    if !choice.lmtp {
        out.space();
        out.remark("Deliveries (docs/lmtp.md). To have MTAs deliver here: take away the `#`, or run `ravenry init --lmtp`.");
    }
    out.section("lmtp", choice.lmtp);
    out.key("listen", vec!["0.0.0.0:24"]);
    out.key("frontends", serving.iter().filter_map(|host| host.lmtp()).collect::<Vec<_>>());
    if serving.iter().any(|host| host.lmtp_trusts() != Some(true)) {
        out.section("lmtp.upstream", choice.lmtp);
        if serving.iter().all(|host| host.is_admin(&murder.user, "lmtp")) {
            out.remark("Their lmtpd runs without `-a`, and takes this user for an administrator.");
            out.key("user", murder.user.as_str());
            out.path("password_file", &files.master);
        } else {
            out.remark("Their lmtpd runs without `-a`: it wants a login, of one of `lmtp_admins`.");
            out.line("#user = \"…\"");
            out.line("#password_file = \"/etc/ravenry/lmtp.pw\"");
        }
    }
    out.section("lmtp.names", choice.lmtp);
    out.remark(format_args!("As {} names mailboxes.", first.name));
    let options = &first.options;
    out.key("unixhierarchysep", options.switch("unixhierarchysep").unwrap_or(true));
    out.key("lmtp_downcase_rcpt", options.switch("lmtp_downcase_rcpt").unwrap_or(true));
    let domains = match options.get("virtdomains") {
        Some("userid") => "userid",
        _ if options.switch("virtdomains") == Some(true) => "on",
        _ => "off",
    };
    out.key("virtdomains", domains);
    for option in ["defaultdomain", "postuser"] {
        if let Some(value) = options.get(option) {
            out.key(option, value);
        }
    }
    out.mark = "";
}

fn imap(out: &mut Document, hosts: &[Host], choice: &Choice) {
    let serving: Vec<&Host> =
        hosts.iter().filter(|host| host.role.is_frontend() && host.imap().is_some()).collect();
    if serving.is_empty() {
        return;
    }
    if !choice.imap {
        out.space();
        out.remark("Mail clients (docs/imap.md). To serve them here: take away the `#`, or run `ravenry init --imap`.");
    }
    out.section("imap", choice.imap);
    out.key("listen", vec!["0.0.0.0:143"]);
    out.key("frontends", serving.iter().filter_map(|host| host.imap()).collect::<Vec<_>>());
    if serving.iter().all(|host| host.options.switch("allowplaintext") == Some(true)) {
        out.remark("As on the frontends (`allowplaintext`): passwords without TLS.");
        out.key("allow_plaintext", true);
    } else {
        out.remark("Ravenry's certificate for mail clients, and its key: see to both.");
        out.key("certificate", "/etc/ravenry/tls.crt");
        out.key("key", "/etc/ravenry/tls.key");
    }
    out.mark = "";
}

fn backends(out: &mut Document, murder: &Murder, files: &Files) {
    out.space();
    out.remark(
        "How backends are asked over IMAP what they hold: for ghosts, audits, and `ravenry check --live`.",
    );
    let used = match &murder.backends_login {
        Some((user, _)) => {
            out.section("backends", true);
            out.remark("One of their `admins` whose password is in the files.");
            out.key("user", user.as_str());
            out.path("password_file", &files.backends);
            true
        }
        None => {
            out.remark("One of their `admins`, and a file with the password, which is in none of the files:");
            out.section("backends", false);
            out.key("user", "cyrus");
            out.path("password_file", &files.backends);
            false
        }
    };
    if !murder.backends.is_empty() {
        out.section("backends.addresses", used);
        for (name, address) in &murder.backends {
            out.key(&toml::Value::from(name.as_str()).to_string(), address.as_str());
        }
    }
    out.mark = "";
}

/// Whether the port of MUPDATE is the usual one, which need not be written.
pub(super) fn as_server(name: &str, port: u16) -> String {
    if port == MUPDATE_PORT { name.to_owned() } else { format!("{name}:{port}") }
}

/// What `ravenry check` would still find, in the words of a to-do list.
pub(super) fn missing(text: &str, path: &Path) -> Vec<String> {
    let config = Config::parse(text, path);
    let findings = config.map(|config| config.check()).unwrap_or_default();
    let errors = findings.into_iter().filter(|finding| finding.severity == crate::config::Severity::Error);
    errors.map(|finding| format!("{}: {}", finding.key, finding.text)).collect()
}
