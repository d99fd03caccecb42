//! Metrics and logs. [`metric`] is a leaf that every room may use.

#[cfg(test)]
mod grafana;
pub mod log;
pub mod metric;
pub mod metrics;
pub mod reference;
