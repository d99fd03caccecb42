//! What holds of any bytes whatsoever that are read as a dump. Shared with the fuzz target `dump`: `list` is this
//! crate's module for the one and the library's for the other.

use super::list::dump::{self, DumpError, LineWriter};
use super::list::{Entry, MailboxName};

type List = Vec<(MailboxName, Entry)>;

fn read(bytes: &[u8], server: Option<&str>) -> Result<List, DumpError> {
    let mut list = List::new();
    let count = dump::read(bytes, server, &mut |name, entry| {
        list.push((name, entry));
        Ok(())
    })?;
    assert_eq!(count, list.len() as u64, "what was counted was not handed on");
    Ok(list)
}

/// What is believed can be exported, and is read back as it was; what is not is refused with a line that is there.
pub(crate) fn check(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    for server in [None, Some("be1.example.org")] {
        match read(bytes, server) {
            Err(DumpError { line, why }) => {
                assert!((1..=lines + 1).contains(&line), "line {line} of {lines}: {why}");
            }
            Ok(list) => {
                let mut writer = LineWriter::default();
                let mut text: String = list.iter().map(|(name, entry)| writer.line(name, entry)).collect();
                text += &writer.end();
                assert_eq!(read(text.as_bytes(), None).as_ref(), Ok(&list), "{text}");
                // Not everything can be said in Cyrus's own form; what can is the same.
                let said: Result<Vec<_>, _> =
                    list.iter().map(|(name, entry)| dump::write_json(name, entry)).collect();
                if let Ok(members) = said {
                    let text = format!("{{\n{}\n}}\n", members.join(",\n"));
                    assert_eq!(read(text.as_bytes(), None), Ok(list), "{text}");
                }
            }
        }
    }
}
