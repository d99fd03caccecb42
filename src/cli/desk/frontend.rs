//! Frontends taken out of service and back.

use serde_json::Value;

use super::Desk;
use crate::admin::FrontendAsk;

pub(super) fn attend(desk: &Desk, ask: &FrontendAsk) -> Result<Value, String> {
    let deliveries = desk.deliveries.as_ref().ok_or("no deliveries are configured ([lmtp])")?;
    let (address, drained) = match ask {
        FrontendAsk::Drain { address } => (address, true),
        FrontendAsk::Resume { address } => (address, false),
    };
    deliveries.face.frontends().drain(address, drained).map_err(|error| error.to_string())?;
    Ok(Value::Null)
}
