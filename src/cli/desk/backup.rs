//! A copy of the state, while it is served.

use std::path::Path;

use super::Desk;
use crate::admin::Copied;

pub(super) async fn attend(desk: &Desk, path: &Path) -> Result<Copied, String> {
    let _turn = desk.turns.take("a backup")?;
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let entries = desk.authority.store().stats().entries;
    let seq = desk.authority.store().backup_to(path).await.map_err(|error| error.to_string())?;
    Ok(Copied { path: path.to_owned(), entries, seq })
}
