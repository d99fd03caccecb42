//! Whether a story that failed leaves logs for whoever looks into it. When a person ends a run, nothing is left.

use std::sync::atomic::{AtomicBool, Ordering};

static UNWANTED: AtomicBool = AtomicBool::new(false);

/// From now on this process leaves nothing.
pub fn leave_none() {
    UNWANTED.store(true, Ordering::Relaxed);
}

/// Whether logs are to be kept.
pub(crate) fn are_wanted() -> bool {
    !UNWANTED.load(Ordering::Relaxed)
}
