//! Taking mail, beside Debian's Postfix.
//!
//! What is compared alternates, round by round, so that a busy machine disturbs all alike; a ratio is the median of
//! the ratios within each round. Postfix and Ravenry are reached in one container's network and share of the
//! processor, and keep their queues below one directory of the host, both with fsync. Postfix only takes the mail and
//! holds it (`HOLD`): it spends nothing on trying to deliver. Ravenry's frontends cannot be reached, so it does try.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::outage::{Outage, murder};
use super::{PATIENCE, Scale};
use crate::bench::ground::Ground;
use crate::deadline::eventually;
use crate::mail_figures::Measured;
use crate::mail_load::{Answer, Dialect, Load};

/// A second Postfix in the container, below `/bench`, that takes everything and holds it.
const POSTFIX: &str = "set -e
mkdir -p /bench/etc /bench/data /bench/queue
chown postfix /bench/data
cp /etc/postfix/master.cf /bench/etc/
cat > /bench/etc/main.cf <<CONFIG
compatibility_level = 3.6
queue_directory = /bench/queue
data_directory = /bench/data
myhostname = bench.test
mydestination =
inet_protocols = ipv4
mynetworks = 0.0.0.0/0
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
CONFIG
postconf -c /bench/etc -M# smtp/inet
postconf -c /bench/etc -M '2525/inet=2525 inet n - n - 200 smtpd'
postconf -c /bench/etc -F '*/*/chroot=n'
postfix -c /bench/etc start";

pub(super) async fn measure(ground: &Ground, scale: Scale, out: &mut String) -> Result<()> {
    let murder = murder().await?;
    let directory = ground.directory("postfix")?;
    let nowhere = SocketAddr::from((murder.gateway(), 1));
    murder.start_mta_with(nowhere, &[format!("{}:/bench", directory.canonicalize()?.display())]).await?;
    murder.mta.exec_root(&["sh", "-c", POSTFIX]).await?.success().context("a second Postfix")?;
    let beside = Some((murder.mta.ip(), murder.mta.pid().await?));
    let outage = Outage::start(murder, ground, beside, "127.0.0.1:1".parse()?).await?;
    let postfix = SocketAddr::from((outage.murder.mta.ip(), 2525));
    for address in [postfix, outage.address] {
        eventually(PATIENCE, "both listening", async || Ok(TcpStream::connect(address).await.ok())).await?;
    }
    let queue = |name, address, dialect, answer, pid| {
        Measured::new(name, Load { answer, ..Load::new(address, dialect) }, pid)
    };
    writeln!(
        out,
        "| queue | sessions | messages/s | of Postfix | p50 ms | p99 ms | CPU s per 1,000 |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    )?;
    for (sessions, messages) in [(1, scale.alone), (64, scale.messages)] {
        let mut queues = [
            queue("Postfix", postfix, Dialect::Smtp, Answer::Taken, None),
            queue("Ravenry", outage.address, Dialect::Lmtp, Answer::Queued, Some(outage.ravenry.pid()?)),
        ];
        for round in 0..=scale.rounds {
            for turn in 0..queues.len() {
                let at = (round + turn) % queues.len();
                if let Some(queue) = queues.get_mut(at) {
                    queue.round(sessions, messages, round > 0).await?;
                }
            }
        }
        let [postfix, _] = &queues;
        for queue in &queues {
            writeln!(out, "| {} | {sessions} | {} |", queue.name, queue.cells(postfix))?;
        }
    }
    outage.stop().await
}
