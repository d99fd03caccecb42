//! What monitors and browsers see.

use metrics_exporter_prometheus::PrometheusHandle;

use super::{Desk, health};
use crate::admin::server::Operator as _;
use crate::admin::web::View;
use crate::telemetry::metrics;

/// The desk, seen from outside.
pub(in crate::cli) struct Window {
    desk: Desk,
    metrics: PrometheusHandle,
}

impl Window {
    pub(in crate::cli) fn new(desk: Desk, metrics: PrometheusHandle) -> Self {
        Self { desk, metrics }
    }
}

impl View for Window {
    fn metrics(&self) -> String {
        self.metrics.render() + &metrics::passing(&self.desk.status())
    }

    /// Without the names of mailboxes: whoever may read metrics need not know who has mail here.
    fn status(&self) -> Vec<u8> {
        let mut status = self.desk.status();
        status.conflict_detail.clear();
        status.left_over.names.clear();
        serde_json::to_vec(&status).unwrap_or_default()
    }

    fn alive(&self) -> Result<(), String> {
        health::alive(&self.desk)
    }

    fn ready(&self) -> Result<String, String> {
        health::ready(&self.desk)
    }
}
