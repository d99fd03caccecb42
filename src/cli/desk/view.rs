//! What monitors and browsers see.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::Desk;
use crate::admin::server::Operator as _;
use crate::admin::web::View;
use crate::authority::namespace::Namespace as _;

/// The authority comes round every second; after so long without that it is stuck.
const STUCK: Duration = Duration::from_secs(15);

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
        self.metrics.render()
    }

    /// Without the names of mailboxes: whoever may read metrics need not know who has mail here.
    fn status(&self) -> Vec<u8> {
        let mut status = self.desk.status();
        status.conflict_detail.clear();
        serde_json::to_vec(&status).unwrap_or_default()
    }

    fn alive(&self) -> Result<(), String> {
        match self.desk.authority.silence() {
            silence if silence < STUCK => Ok(()),
            silence => Err(format!("the authority has not come round for {} s", silence.as_secs())),
        }
    }

    fn ready(&self) -> Result<String, String> {
        let state = self.desk.authority.standing().borrow().state.word().to_owned();
        if self.desk.authority.may_serve() { Ok(state) } else { Err(state) }
    }
}
