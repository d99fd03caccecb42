//! Being told to stop.

use tokio::sync::watch;

/// Returns once the flag is up, or nobody is left to raise it.
pub async fn until(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|up| *up).await;
}
