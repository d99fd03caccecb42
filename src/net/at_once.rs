//! Asking a future once.

use std::pin::pin;
use std::task::Poll;

/// What the future yields without waiting; `None` when it would have to wait, and then it is dropped. Unlike a
/// timeout of nothing, which takes a tick of the clock, a millisecond.
pub async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
