use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;

use super::*;
use crate::config::Severity;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    init: Init,
}

/// A directory with the files of hosts, each in a directory of its own, and a place for what is written.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new(hosts: &[(&str, &str, &str)]) -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        for (host, imapd, cyrus) in hosts {
            let directory = stage.0.path().join(host);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("imapd.conf"), imapd).unwrap();
            if !cyrus.is_empty() {
                std::fs::write(directory.join("cyrus.conf"), format!("SERVICES {{\n{cyrus}}}\n")).unwrap();
            }
        }
        stage
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("etc/ravenry.toml")
    }

    fn init(&self, hosts: &[&str], more: &[&str]) -> Result<String, Failure> {
        let files: Vec<String> = hosts
            .iter()
            .map(|host| self.0.path().join(host).join("imapd.conf").display().to_string())
            .collect();
        let args = ["init", "--from"].into_iter().chain(files.iter().map(String::as_str));
        let args = args.chain(["--name", "ravenry.example.org"]).chain(more.iter().copied());
        let init = Line::parse_from(args).init;
        run(&self.config(), &init)?;
        Ok(std::fs::read_to_string(self.config()).unwrap())
    }

    fn errors(&self) -> Vec<&'static str> {
        let findings = Config::load(&self.config()).unwrap().check();
        findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.key)
            .collect()
    }
}

const LOGIN: &str = "mupdate_server: mm.example.org\nmupdate_authname: murder\nmupdate_password: se\"cret\nadmins: cyrus murder\n";

fn frontend() -> String {
    format!(
        "servername: fe1.example.org\n{LOGIN}serverlist: be1.example.org be2.example.org\nvirtdomains: userid\n\
         defaultdomain: example.org\nunixhierarchysep: no\nallowplaintext: yes\nproxy_authname: murder\nproxy_password: other\n"
    )
}

fn backend() -> String {
    format!("servername: be1.example.org\n{LOGIN}proxyservers: murder\nmupdate_retry_delay: 20\n")
}

const MASTER: &str = "servername: mm.example.org\nadmins: cyrus murder\n";
const SLAVE: &str = " mupdate cmd=\"mupdate\" listen=\"3905\"\n imap cmd=\"imapd\" listen=\"143\"\n lmtp cmd=\"lmtpd -a\" listen=\"2003\"\n";
const STORE: &str = " imap cmd=\"imapd\" listen=\"1143\"\n";
const LIST: &str = " mupdate cmd=\"mupdate -m\" listen=\"3905\"\n";

fn murder() -> Stage {
    Stage::new(&[("fe1", &frontend(), SLAVE), ("be1", &backend(), STORE), ("mm", MASTER, LIST)])
}

#[test]
fn what_is_written_from_any_of_the_hosts_passes_the_check() {
    for hosts in [&["fe1", "be1", "mm"][..], &["fe1"], &["be1"]] {
        let stage = murder();
        let text = stage.init(hosts, &["--lmtp", "--imap"]).ok().unwrap();
        assert_eq!(stage.errors(), [""; 0], "{hosts:?}:\n{text}");
        let config = Config::load(&stage.config()).unwrap();
        assert_eq!(
            (config.master.address.as_str(), config.master.user.as_str()),
            ("mm.example.org:3905", "murder")
        );
        assert_eq!(std::fs::read_to_string(&config.master.password_file).unwrap(), "se\"cret");
        assert!(!text.contains("cret"), "no secret in the configuration");
        for file in ["users.toml", "master.pw"] {
            let mode = stage.config().with_file_name(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}

#[test]
fn ports_names_and_logins_are_those_of_the_files() {
    let stage = murder();
    stage.init(&["fe1", "be1", "mm"], &["--lmtp", "--imap"]).ok().unwrap();
    let config = Config::load(&stage.config()).unwrap();
    assert_eq!(config.slaves(), ["fe1.example.org:3905"]);
    let backends = config.backends.unwrap();
    assert_eq!(backends.addresses["be1.example.org"], "be1.example.org:1143");
    assert_eq!(backends.addresses["be2.example.org"], "be2.example.org:143", "of the serverlist");
    let lmtp = config.lmtp.unwrap();
    assert_eq!(lmtp.frontends, ["fe1.example.org:2003"]);
    assert!(lmtp.upstream.user.is_none(), "lmtpd -a");
    assert_eq!(lmtp.names.defaultdomain.as_deref(), Some("example.org"));
    assert!(!lmtp.names.unixhierarchysep);
    assert!(config.imap.unwrap().allow_plaintext);
    assert!(!config.mupdate.allow_plaintext, "Cyrus prefers SCRAM");
    stage.init(&["fe1"], &["--force", "--plain"]).ok().unwrap();
    assert!(Config::load(&stage.config()).unwrap().mupdate.allow_plaintext);
}

#[test]
fn a_replicated_murder_is_refused_and_a_unified_one_warned_of() {
    let with = |mode: &str| format!("{}mupdate_config: {mode}\n", backend());
    let replicated = Stage::new(&[("fe1", &frontend(), SLAVE), ("be1", &with("replicated"), STORE)]);
    let refused = replicated.init(&["fe1", "be1"], &[]).err().unwrap();
    assert!(refused.code == exit::DATA && refused.text.contains("cannot stand in"), "{}", refused.text);
    assert!(!replicated.config().exists());
    let unified = Stage::new(&[("fe1", &frontend(), SLAVE), ("be1", &with("unified"), STORE)]);
    let file = unified.0.path().join("be1/imapd.conf");
    let host = Host::load(&Source { host: None, file }, None).unwrap();
    let remarks = Murder::of(&[host], "ravenry.example.org").unwrap().remarks;
    assert!(remarks.iter().any(|remark| remark.contains("no uniqueid")), "{remarks:?}");
}

#[test]
fn mail_is_only_prepared_unless_it_was_asked_for() {
    let stage = murder();
    let text = stage.init(&["fe1"], &[]).ok().unwrap();
    let config = Config::load(&stage.config()).unwrap();
    assert!(config.lmtp.is_none() && config.imap.is_none());
    assert!(text.contains("#[lmtp]\n#listen") && text.contains("#[imap]\n#listen"), "{text}");
    let taken =
        text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    let taken = taken.collect::<Vec<_>>().join("\n");
    let config = Config::parse(&taken, &stage.config()).unwrap();
    assert!(config.lmtp.is_some() && config.imap.is_some());
}

#[test]
fn nothing_is_overwritten_unless_it_is_forced() {
    let stage = murder();
    stage.init(&["fe1"], &[]).ok().unwrap();
    std::fs::write(stage.config(), "mine").unwrap();
    let refused = stage.init(&["fe1"], &[]).err().unwrap();
    assert!(refused.code == exit::CANT_CREATE && refused.text.contains("exists already"), "{}", refused.text);
    assert_eq!(std::fs::read_to_string(stage.config()).unwrap(), "mine");
    std::fs::remove_file(stage.config()).unwrap();
    let refused = stage.init(&["fe1"], &[]).err().unwrap();
    assert!(refused.text.contains("master.pw exists") && !stage.config().exists(), "{}", refused.text);
    stage.init(&["fe1"], &["--force"]).ok().unwrap();
    assert_eq!(stage.errors(), [""; 0]);
}

fn told(stage: &Stage, names: &[&str]) -> String {
    let hosts: Vec<Host> = names
        .iter()
        .map(|name| {
            Host::load(&Source { host: None, file: stage.0.path().join(name).join("imapd.conf") }, None)
                .unwrap()
        })
        .collect();
    let choice = Choice {
        name: "ravenry.example.org".into(),
        listen: ([0, 0, 0, 0], 3905).into(),
        lmtp: false,
        imap: false,
        plain: false,
    };
    let murder = Murder::of(&hosts, &choice.name).unwrap();
    changes::text(&hosts, &murder, &choice, &Files::beside(&stage.config()))
}

#[test]
fn the_lines_to_change_are_told_with_their_places_and_the_way_back() {
    let stage = murder();
    let text = told(&stage, &["fe1", "be1", "mm"]);
    let imapd = stage.0.path().join("be1/imapd.conf");
    let place = |line: &str| format!("    {}, {line}:\n", imapd.display());
    let expected = [
        place("line 2"),
        "      - mupdate_server: mm.example.org\n      + mupdate_server: ravenry.example.org\n".into(),
        place("line 7"),
        "      - mupdate_retry_delay: 20\n      + mupdate_retry_delay: 4\n".into(),
        "    and restart Cyrus there (Debian: systemctl restart cyrus-imapd).\n    To undo it:\n".into(),
        place("line 2"),
        "      - mupdate_server: ravenry.example.org\n      + mupdate_server: mm.example.org\n".into(),
        place("line 7"),
        "      - mupdate_retry_delay: 4\n      + mupdate_retry_delay: 20\n".into(),
    ];
    assert!(text.contains(&format!("be1.example.org (backend):\n{}", expected.concat())), "{text}");
    assert!(text.contains("a new line:\n      + mupdate_retry_delay: 4\n"), "of the frontend: {text}");
    assert!(text.contains("mm.example.org (master): nothing."), "{text}");
    assert!(text.contains("be2.example.org is in a `serverlist`"), "{text}");
}

#[test]
fn a_master_that_does_not_know_the_user_is_to_be_told_of_it() {
    let stage = Stage::new(&[
        ("fe1", &frontend(), SLAVE),
        ("mm", "servername: mm.example.org\nadmins: cyrus\n", LIST),
    ]);
    let text = told(&stage, &["fe1", "mm"]);
    assert!(text.contains("      - admins: cyrus\n      + admins: cyrus murder\n"), "{text}");
    assert!(text.contains("murder is none of the master's `admins`"), "{text}");
}

#[test]
fn of_a_master_alone_the_password_stays_to_be_seen_to() {
    let stage = murder();
    let text = told(&stage, &["mm"]);
    assert!(text.contains("- master.password_file: "), "{text}");
    assert!(text.contains("- mupdate.users_file: ") && text.contains("ravenry user add"), "{text}");
}

#[test]
fn what_does_not_fit_together_is_said() {
    let elsewhere = backend().replace("mm.example.org", "old.example.org");
    let stage = Stage::new(&[("fe1", &frontend(), SLAVE), ("be1", &elsewhere, STORE)]);
    let error = stage.init(&["fe1", "be1"], &[]).err().unwrap();
    assert!(error.code == exit::DATA && error.text.contains("asks old.example.org:3905"), "{}", error.text);
    let other = backend().replace("se\"cret", "else");
    let stage = Stage::new(&[("fe1", &frontend(), SLAVE), ("be1", &other, STORE)]);
    let error = stage.init(&["fe1", "be1"], &[]).err().unwrap();
    assert!(
        error.text.contains("another password for murder") && !error.text.contains("cret"),
        "{}",
        error.text
    );
    let error = stage.init(&["nobody"], &[]).err().unwrap();
    assert_eq!(error.code, exit::NO_INPUT);
    let error = stage.init(&["fe1", "be1"], &["--cyrus-conf", "/nowhere"]).err().unwrap();
    assert_eq!(error.code, exit::USAGE);
}

#[test]
fn who_is_pointed_here_already_tells_nothing_of_the_master() {
    let ours = frontend().replace("mm.example.org", "ravenry.example.org");
    let stage = Stage::new(&[("fe1", &ours, SLAVE), ("mm", MASTER, LIST)]);
    let error = stage.init(&["fe1"], &[]).err().unwrap();
    assert!(error.text.contains("where the mupdate master is"), "{}", error.text);
    let text = stage.init(&["fe1", "mm"], &[]).ok().unwrap();
    assert!(text.contains("address = \"mm.example.org:3905\""), "{text}");
}
