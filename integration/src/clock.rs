//! Another time of day for a process: libfaketime, of the Debian package of that name. Only the wall clock is
//! another one; what counts seconds counts them as ever.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// What makes a process believe that it is so much later: `+3d`.
pub fn later(by: &str) -> Result<[(String, String); 3]> {
    let library = library().context("libfaketime, of the Debian package libfaketime, is missing")?;
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Ok([
        of("LD_PRELOAD", &library.display().to_string()),
        of("FAKETIME", by),
        of("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ])
}

fn library() -> Option<PathBuf> {
    let architectures = std::fs::read_dir("/usr/lib").ok()?;
    let mut found = architectures.filter_map(|entry| {
        let library = entry.ok()?.path().join("faketime/libfaketimeMT.so.1");
        library.is_file().then_some(library)
    });
    found.next()
}
