//! What commands answer in JSON.

use anyhow::{Context, Result};
use serde_json::Value;

/// The values of an answer, one or many.
pub fn values(said: &str) -> Result<Vec<Value>> {
    let parsed = serde_json::Deserializer::from_str(said).into_iter::<Value>();
    parsed.collect::<Result<_, _>>().with_context(|| format!("no JSON: {said}"))
}

/// What is at a place (`/ours/location`) in a value; null where there is nothing.
pub fn at<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or(&Value::Null)
}
