//! Clients on threads of their own.
//!
//! In a murder every client is a machine of its own. On one runtime, a client whose answers are timed would wait
//! while ten others take in what they got.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The priority of who only takes in what a server sends, in the kernel's steps of `nice`: what another machine does
/// takes nothing from the server.
pub(super) const ELSEWHERE: i32 = 19;

/// The priority of everybody else.
pub(crate) const HERE: i32 = 0;

/// How long a thread may take to end after its answer.
const END: Duration = Duration::from_secs(1);

/// Runs it on a thread with that priority; the future that comes back waits for its end.
pub(crate) fn apart<T: Send + 'static>(
    nice: i32,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<impl Future<Output = Result<T>> + Send> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new().name("client".to_owned()).spawn(move || {
        // On Linux this is about the calling thread.
        let lowered = rustix::process::setpriority_process(None, nice).context("setting a thread's priority");
        let result = runtime.block_on(async {
            lowered?;
            work.await
        });
        let _ = done.send(result);
        runtime.shutdown_timeout(END);
    })?;
    Ok(async move { ended.await.context("a client's thread ended without a result")? })
}
