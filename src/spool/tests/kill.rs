//! SIGKILL at every named point, on a real disk: this test runs itself as the process that is killed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::authority::master::BoxFuture;

/// Every point, and after how many passes the process is killed there.
const POINTS: [(&str, &[u32]); 14] = [
    ("spool.segment.created", &[1, 2]),
    ("spool.segment.begun", &[1, 2]),
    ("spool.text.renamed", &[1]),
    ("spool.text.kept", &[1]),
    ("spool.group.before-write", &[1, 3]),
    ("spool.group.before-sync", &[1, 3]),
    ("spool.group.after-sync", &[1, 3]),
    ("spool.reclaim.before-remove", &[1, 2]),
    ("spool.reclaim.after-remove", &[1, 2]),
    ("spool.replay.before-attempt", &[1, 9]),
    ("spool.replay.after-attempt", &[1, 4]),
    ("spool.report.queued", &[1]),
    ("spool.replay.before-settle", &[1, 4]),
    ("spool.replay.settled", &[1, 4]),
];

const HOME: &str = "RAVENRY_TEST_SPOOL";
const MESSAGES: usize = 24;
/// Every so many-th message is refused by its server.
const REFUSED: usize = 6;
/// One has a long text.
const LONG: usize = 4;

/// Notes a line in a file that survives the process.
fn note(file: &str, line: &str) {
    let path = PathBuf::from(std::env::var_os(HOME).unwrap()).join(file);
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

struct Noting;

impl Deliver for Noting {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        Box::pin(async move {
            let to = attempt.envelope.recipients[0].address.to_string();
            let refused = to.starts_with("refused");
            let text = read(&mut attempt.body.clone()).await;
            assert_eq!(text.len() as u64, attempt.body.len());
            if !refused {
                note("delivered", &to);
            }
            let reply =
                if refused { Reply::own(550, [5, 1, 1], "no") } else { Reply::own(250, [2, 1, 5], "yes") };
            vec![if refused { Verdict::Refused(reply) } else { Verdict::Delivered(reply) }]
        })
    }
}

fn recipient(n: usize) -> String {
    if n.is_multiple_of(REFUSED) { format!("refused{n}") } else { format!("user{n}") }
}

/// What the process does that is killed. Without the variable nothing: then it is not that process.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_be_killed() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let options = Options { segment_bytes: 20_000, ..small() };
    let spool = Spool::open(&PathBuf::from(home).join("spool"), options).unwrap();
    let noting = Arc::new(Noting);
    spool.start(Ways { backends: noting.clone(), submission: Some(noting), route: Arc::new(|_| None) });
    if std::env::var_os("RAVENRY_FAILPOINT").is_some() {
        let calls: Vec<_> = (0..MESSAGES)
            .map(|n| {
                let spool = spool.clone();
                tokio::spawn(async move {
                    let mut message = envelope(&[&recipient(n)]);
                    message.sender = address(&format!("sender-of-{}", recipient(n)));
                    let text = text(if n == LONG { (1 << 20) + 5 } else { 3_000 }, b'x');
                    let mut body = spool.incoming().begin();
                    body.write(&text).unwrap();
                    spool.enqueue(message, body.finish()).await.unwrap();
                    note("accepted", &recipient(n));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while spool.stats().messages > 0 {
        assert!(std::time::Instant::now() < until, "{:?}", spool.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Empty segments are given back.
    tokio::time::sleep(Duration::from_millis(700)).await;
}

fn run(home: &std::path::Path, failpoint: Option<String>) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "spool::tests::kill::a_process_that_may_be_killed", "--nocapture"])
        .env(HOME, home);
    match failpoint {
        Some(failpoint) => command.env("RAVENRY_FAILPOINT", failpoint),
        None => command.env_remove("RAVENRY_FAILPOINT"),
    };
    command.output().unwrap()
}

fn lines(home: &std::path::Path, file: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in std::fs::read_to_string(home.join(file)).unwrap_or_default().lines() {
        *counted.entry(line.split('@').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    counted
}

#[test]
fn a_kill_at_any_point_loses_nothing_that_was_accepted() {
    for (point, passes) in POINTS {
        for pass in passes {
            let directory = tempfile::tempdir().unwrap();
            let home = directory.path();
            let killed = run(home, Some(format!("{point}:{pass}")));
            assert_eq!(killed.status.signal(), Some(9), "{point}:{pass} was not reached: {killed:?}");
            let again = run(home, None);
            assert!(again.status.success(), "{point}:{pass}: {again:?}");
            let (accepted, delivered) = (lines(home, "accepted"), lines(home, "delivered"));
            for name in accepted.keys() {
                // The sender of what was refused is told.
                let wanted =
                    if name.starts_with("refused") { format!("sender-of-{name}") } else { name.clone() };
                assert!(delivered.contains_key(&wanted), "{point}:{pass}: {wanted} is lost");
            }
            let torn = std::fs::read_dir(home.join("spool/quarantine")).unwrap().count();
            assert!(torn <= 1, "{point}:{pass}: a kill is no damage");
        }
    }
}
