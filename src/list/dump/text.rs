//! `name TAB type SPACE [server!]partition SPACE acl`, a line for each name, as printed up to 3.4; the type in
//! bits up to 3.2 and in letters since.

use std::io::{BufRead, Read as _};

use super::{DumpError, Kind, MAX_LINE, Sequence, Take, entry};
use crate::list::{Entry, MailboxName};

/// Reads all of it.
pub(super) fn read(mut from: impl BufRead, server: Option<&str>, take: Take<'_>) -> Result<(), DumpError> {
    let mut sequence = Sequence::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let failed = |why: &dyn ToString| DumpError::new(number, why.to_string());
        from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error| failed(&error))?;
        match line.pop() {
            None => return Ok(()),
            Some(b'\n') if line.is_empty() => continue, // printed at the end
            Some(b'\n') => {}
            Some(_) => return Err(failed(&"the line is cut off, or too long")),
        }
        let (name, held) = parse(&line, server).map_err(|why| failed(&why))?;
        sequence.next(&name).map_err(|why| failed(&why))?;
        if let Some(held) = held {
            take(name, held).map_err(|why| failed(&why))?;
        }
    }
    Ok(())
}

fn parse(line: &[u8], server: Option<&str>) -> Result<(MailboxName, Option<Entry>), String> {
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or("there is no TAB after a name")?;
    let (name, rest) = line.split_at_checked(tab).ok_or("there is no name")?;
    let name = MailboxName::new(name).map_err(|error| error.to_string())?;
    let mut fields = rest.get(1..).unwrap_or_default().splitn(3, |byte| *byte == b' ');
    let text = |field: Option<&[u8]>| String::from_utf8(field.unwrap_or_default().to_vec());
    let kind = text(fields.next()).map_err(|_| "the type is not text")?;
    let kind = match kind.parse::<u32>() {
        Ok(bits) => Kind::of_bits(bits),
        Err(_) if kind.starts_with(|first: char| first.is_ascii_digit()) => {
            return Err(format!("{kind:?} is no mailbox type"));
        }
        Err(_) => Kind::of_letters(&kind)?,
    };
    let location = fields.next().ok_or("there is no location")?;
    let location = text(Some(location)).map_err(|_| "the location is not text")?;
    let (server, partition) = match location.split_once('!') {
        Some((server, partition)) => (Some(server), partition),
        None => (server, location.as_str()),
    };
    let acl = fields.next().ok_or("there is no space before the ACL")?;
    Ok((name, entry(kind, server, partition, acl)?))
}
