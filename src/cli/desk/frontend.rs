//! Frontends taken out of service and back.

use serde_json::Value;

use super::Desk;
use crate::admin::FrontendAsk;

pub(super) fn attend(desk: &Desk, ask: &FrontendAsk) -> Result<Value, String> {
    let (address, drained) = match ask {
        FrontendAsk::Drain { address } => (address, true),
        FrontendAsk::Resume { address } => (address, false),
    };
    // The same host has one address for mail and another for clients; either may be named.
    if desk.clients.as_ref().is_some_and(|clients| clients.proxy.drain(address, drained)) {
        return Ok(Value::Null);
    }
    let deliveries =
        desk.deliveries.as_ref().ok_or("it is not among imap.frontends, and there is no [lmtp]")?;
    deliveries.face.frontends().drain(address, drained).map_err(|error| error.to_string())?;
    Ok(Value::Null)
}
