//! What monitors and browsers see.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::Desk;
use crate::admin::server::Operator as _;
use crate::admin::web::View;
use crate::authority::namespace::Namespace as _;

/// The authority comes round every second; after so long without that it is stuck.
const STUCK: Duration = Duration::from_secs(15);
/// A list of a million names is on disk within seconds; a store that has been at one thing for so long is stuck.
const STORE_STUCK: Duration = Duration::from_secs(60);

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
        let silence = self.desk.authority.silence();
        if silence >= STUCK {
            return Err(format!("the authority has not come round for {} s", silence.as_secs()));
        }
        match self.desk.authority.store().silence() {
            silence if silence < STORE_STUCK => Ok(()),
            silence => Err(format!("the store has been at the same commit for {} s", silence.as_secs())),
        }
    }

    fn ready(&self) -> Result<String, String> {
        let state = self.desk.authority.standing().borrow().state.word().to_owned();
        if self.desk.authority.may_serve() { Ok(state) } else { Err(state) }
    }
}
