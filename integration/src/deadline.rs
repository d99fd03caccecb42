//! Bounded waiting: a story that waits for ever tells nothing, so every wait has a limit and a name.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often [`eventually`] looks again.
const POLL: Duration = Duration::from_millis(100);

/// Runs `work`, and fails with the name of what was awaited when `limit` has passed.
pub async fn within<T>(
    limit: Duration,
    what: impl Display,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.with_context(|| what.to_string()),
        Err(_) => bail!("{what}: not done within {limit:?}"),
    }
}

/// Repeats `attempt` until it yields something, and returns that with the time it took.
///
/// An attempt that fails counts as "not yet": while nodes come and go that is what failures mean. The last
/// failure is told when the limit has passed.
pub async fn eventually<T>(
    limit: Duration,
    what: impl Display,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    let mut last = None;
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(Some(value))) => return Ok((value, start.elapsed())),
            Ok(Ok(None)) => last = None,
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if start.elapsed() + POLL >= limit {
            return match last {
                Some(error) => Err(error.context(format!("{what}: not within {limit:?}"))),
                None => bail!("{what}: not within {limit:?}"),
            };
        }
        tokio::time::sleep(POLL).await;
    }
}
