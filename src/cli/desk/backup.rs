//! A copy of the state, while it is served.

use std::path::Path;

use super::Desk;
use crate::admin::Copied;
use crate::admin::server::Replies;

pub(super) async fn attend(desk: &Desk, path: &Path, replies: Replies) -> Result<Copied, String> {
    // A copy of nothing would pass for a backup, and take the place of a good one.
    desk.needs_list(&replies).await?;
    let _turn = desk.turns.take("a backup")?;
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let entries = desk.authority.store().stats().entries;
    let tell = move |done| replies.progress("names copied", done, Some(entries));
    let seq = desk.authority.store().backup_to(path, tell).await.map_err(|error| error.to_string())?;
    Ok(Copied { path: path.to_owned(), entries, seq })
}
