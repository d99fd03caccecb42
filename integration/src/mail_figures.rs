//! One server under load, round by round, and what it has shown.

use std::time::Instant;

use anyhow::Result;

use crate::mail_load::{Load, median, processor, quantile};

/// A server, how it is loaded, and its figures of every round that counted.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    load: Load,
    /// The process whose time is counted.
    pid: Option<u32>,
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(name: &'static str, load: Load, pid: Option<u32>) -> Self {
        Self { name, load, pid, rates: vec![], p50: vec![], p99: vec![], cpu: vec![] }
    }

    /// One round. One that does not count only warms up.
    pub(crate) async fn round(&mut self, sessions: usize, messages: usize, counts: bool) -> Result<()> {
        let before = self.pid.map(processor).transpose()?;
        let started = Instant::now();
        let mut times = Load { sessions, messages, ..self.load }.run().await?;
        let rate = times.len() as f64 / started.elapsed().as_secs_f64();
        if !counts {
            return Ok(());
        }
        eprintln!("bench: {} with {sessions} sessions: {rate:.0}/s", self.name);
        times.sort_by(f64::total_cmp);
        self.rates.push(rate);
        self.p50.push(quantile(&times, 0.5));
        self.p99.push(quantile(&times, 0.99));
        if let (Some(pid), Some(before)) = (self.pid, before) {
            self.cpu.push((processor(pid)? - before) * 1000.0 / times.len() as f64);
        }
        Ok(())
    }

    /// Its cells of a table: messages per second, how often `first`'s, p50 and p99 in milliseconds, processor time.
    /// The ratio is the median of the ratios within each round.
    pub(crate) fn cells(&self, first: &Self) -> String {
        let ratios: Vec<f64> =
            self.rates.iter().zip(&first.rates).map(|(rate, first)| rate / first).collect();
        let cpu = if self.cpu.is_empty() { "–".into() } else { format!("{:.2}", median(&self.cpu)) };
        format!(
            "{:.0} | {:.2} | {:.2} | {:.2} | {cpu}",
            median(&self.rates),
            median(&ratios),
            median(&self.p50),
            median(&self.p99),
        )
    }
}
