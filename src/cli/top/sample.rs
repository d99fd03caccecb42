//! One look at a running Ravenry: its status, and the counters of its writes, which are in the metrics.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::talk::{Manner, Talk};
use crate::admin::Ask;
use crate::admin::status::Status;
use crate::config::Config;
use crate::telemetry::metric::Metric;

/// The metrics come from this host, or not at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest text that is taken for metrics.
const MAX_TEXT: u64 = 4 << 20;

/// Writes by command and outcome.
pub(super) type Writes = BTreeMap<(String, String), f64>;

/// What is so at one moment.
#[derive(Clone)]
pub(super) struct Sample {
    status: Status,
    /// `None` where no metrics are served.
    writes: Option<Writes>,
    at: Instant,
}

impl Sample {
    pub(super) fn take(config: &Config) -> Result<Self, Failure> {
        let talk = Talk::new(config, Manner { json: false, yes: false });
        let status = talk.ask(&Ask::Status)?;
        let metrics = config.metrics.as_ref().and_then(|metrics| scrape(metrics.listen).ok());
        Ok(Self { status, writes: metrics.map(|text| writes(&text)), at: Instant::now() })
    }
}

/// What is so, and how fast it changes.
pub(super) struct Seen {
    pub(super) status: Status,
    /// In a second.
    pub(super) writes: Option<Writes>,
}

impl Seen {
    pub(super) fn between(before: Option<&Sample>, now: Sample) -> Self {
        let rates = before.and_then(|before| {
            let seconds = now.at.duration_since(before.at).as_secs_f64();
            let (was, is) = (before.writes.as_ref()?, now.writes.as_ref()?);
            Some(rates(was, is, seconds))
        });
        Self { status: now.status, writes: rates }
    }
}

/// A counter that is lower than before began anew.
fn rates(was: &Writes, is: &Writes, seconds: f64) -> Writes {
    let rate = |(key, count): (&(String, String), &f64)| {
        let before = was.get(key).copied().filter(|before| before <= count).unwrap_or(0.0);
        (key.clone(), if seconds > 0.0 { (count - before) / seconds } else { 0.0 })
    };
    is.iter().map(rate).collect()
}

fn scrape(listen: SocketAddr) -> std::io::Result<String> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect_timeout(&(ip, listen.port()).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(text)
}

/// The counters of writes, whatever the state in which they were answered.
fn writes(text: &str) -> Writes {
    let mut writes = Writes::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(Metric::Writes.name()).and_then(|rest| rest.strip_prefix('{'))
        else {
            continue;
        };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        let label = |name: &str| {
            labels
                .split(',')
                .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        if let (Some(command), Some(outcome), Ok(value)) =
            (label("command"), label("outcome"), value.parse::<f64>())
        {
            *writes.entry((command.to_owned(), outcome.to_owned())).or_default() += value;
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_added_up_over_states_and_become_rates() {
        let text = "# HELP ravenry_writes_total x\nravenry_writes_total{command=\"reserve\",outcome=\"done\",state=\"following\"} 4\n\
                    ravenry_writes_total{command=\"reserve\",outcome=\"done\",state=\"standing-in\"} 2\nravenry_writes_total{odd} 1\n\
                    ravenry_streams 2\n";
        let is = writes(text);
        let key = ("reserve".to_owned(), "done".to_owned());
        assert_eq!(is.get(&key), Some(&6.0));
        let was = Writes::from([(key.clone(), 2.0)]);
        assert_eq!(rates(&was, &is, 2.0)[&key], 2.0);
        let anew = Writes::from([(key.clone(), 100.0)]);
        assert_eq!(rates(&anew, &is, 2.0)[&key], 3.0, "it was restarted");
    }
}
