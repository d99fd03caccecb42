//! A line of JSON for each name, as [`Record`] has it, and a last one that says how many there were.

use std::io::{BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::{DumpError, MAX_LINE, Sequence, Take};
use crate::list::{Entry, MailboxName, Record};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Name(Record),
    End { end: u64 },
}

/// Writes lines.
#[derive(Default, Debug)]
pub struct Writer(u64);

impl Writer {
    /// A line, with its line end.
    pub fn line(&mut self, name: &MailboxName, entry: &Entry) -> String {
        self.0 += 1;
        Self::text(&Line::Name(Record::new(name, entry)))
    }

    /// The last line.
    pub fn end(self) -> String {
        Self::text(&Line::End { end: self.0 })
    }

    fn text(line: &Line) -> String {
        // Strings and numbers can always be written.
        serde_json::to_string(line).unwrap_or_default() + "\n"
    }
}

/// Reads all of it.
pub(super) fn read(mut from: impl BufRead, take: Take<'_>) -> Result<(), DumpError> {
    let (mut line, mut count, mut ended) = (Vec::new(), 0, false);
    let mut sequence = Sequence::default();
    for number in 1.. {
        line.clear();
        let failed = |why: &dyn ToString| DumpError::new(number, why.to_string());
        from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error| failed(&error))?;
        if line.is_empty() && ended {
            return Ok(());
        }
        if line.last() != Some(&b'\n') || ended {
            return Err(failed(&if ended { "there is more behind the end" } else { "the file is cut off" }));
        }
        match serde_json::from_slice(&line).map_err(|_| failed(&"this is neither a mailbox nor the end"))? {
            Line::Name(record) => {
                let name = record.name.name().map_err(|why| failed(&why))?;
                sequence.next(&name).map_err(|why| failed(&why))?;
                take(name, record.held.entry().map_err(|why| failed(&why))?).map_err(|why| failed(&why))?;
                count += 1;
            }
            Line::End { end } if end == count => ended = true,
            Line::End { end } => {
                return Err(failed(&format!("there should be {end} names, and are {count}")));
            }
        }
    }
    Ok(())
}
