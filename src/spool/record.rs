//! Records on disk: how they are laid out. See the module's page for the whole.

use bytes::Bytes;

use super::progress::Progress;
use super::{Address, Envelope, Parameter, Protocol, QueueId, Recipient, SpoolError};
use crate::list::MailboxName;
use crate::packed::{In, Malformed, Out};

/// The format that this release writes, and the newest it reads.
pub(super) const FORMAT: u32 = 1;
/// The length of a segment's header.
pub(super) const HEADER: u64 = 32;
/// The length of what precedes every record.
pub(super) const FRAME: usize = 32;
/// The longest meta part: an envelope of [`Envelope::MAX_RECIPIENTS`] long addresses, and more.
pub(super) const MAX_META: usize = 64 << 20;
/// A longer text has a file of its own.
pub(super) const MAX_INLINE: u64 = 1 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"RAVENRYQ";
pub(super) const RECORD_MAGIC: &[u8; 4] = b"\xf5RQ\x01";

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A message: its meta part ([`Meta`]) and its text.
    Message,
    /// A newer [`Progress`] of a message.
    Progress,
    /// A message is forgotten.
    Removed,
    /// The segment was closed in peace: what follows is damage.
    Closed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Progress => 2,
            Self::Removed => 3,
            Self::Closed => 4,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::Message, Self::Progress, Self::Removed, Self::Closed]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// Which segment, and the number mixed into its checksums: no message can hold what looks like a record of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentId {
    pub(super) number: u32,
    pub(super) salt: u64,
}

impl SegmentId {
    pub(super) fn file_name(self) -> String {
        format!("{:08x}-{:016x}.seg", self.number, self.salt)
    }

    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        let (number, salt) = name.strip_suffix(".seg")?.split_once('-')?;
        if (number.len(), salt.len()) != (8, 16) {
            return None;
        }
        Some(Self {
            number: u32::from_str_radix(number, 16).ok()?,
            salt: u64::from_str_radix(salt, 16).ok()?,
        })
    }

    pub(super) fn header(self) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        let mut fields = SEGMENT_MAGIC.to_vec();
        fields.extend_from_slice(&FORMAT.to_le_bytes());
        fields.extend_from_slice(&self.number.to_le_bytes());
        fields.extend_from_slice(&self.salt.to_le_bytes());
        fields.extend_from_slice(&[0; 4]);
        fields.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        header.copy_from_slice(&fields);
        header
    }

    /// The format that a header names; `None` if it is not this segment's header.
    pub(super) fn format_of(self, header: &[u8; HEADER as usize]) -> Option<u32> {
        let (fields, crc) = header.split_at(HEADER as usize - 4);
        if crc32fast::hash(fields).to_le_bytes() != crc {
            return None;
        }
        let (magic, fields) = fields.split_first_chunk::<8>()?;
        let (format, fields) = fields.split_first_chunk::<4>()?;
        let (number, fields) = fields.split_first_chunk::<4>()?;
        let (salt, _) = fields.split_first_chunk::<8>()?;
        let same = magic == SEGMENT_MAGIC
            && u32::from_le_bytes(*number) == self.number
            && u64::from_le_bytes(*salt) == self.salt;
        same.then(|| u32::from_le_bytes(*format))
    }
}

/// What precedes every record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    pub(super) meta_len: u32,
    pub(super) body_len: u32,
    pub(super) meta_crc: u32,
}

impl Frame {
    /// The whole record's length.
    pub(super) fn record_len(&self) -> u64 {
        FRAME as u64 + u64::from(self.meta_len) + u64::from(self.body_len)
    }

    pub(super) fn encode(&self, segment: SegmentId, offset: u64) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        let mut fields = RECORD_MAGIC.to_vec();
        fields.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        fields.extend_from_slice(&self.id.0.to_le_bytes());
        fields.extend_from_slice(&self.meta_len.to_le_bytes());
        fields.extend_from_slice(&self.body_len.to_le_bytes());
        fields.extend_from_slice(&self.meta_crc.to_le_bytes());
        fields.extend_from_slice(&frame_crc(segment, offset, &fields).to_le_bytes());
        frame.copy_from_slice(&fields);
        frame
    }

    /// The frame at an offset of a segment, if there is one.
    pub(super) fn decode(bytes: &[u8; FRAME], segment: SegmentId, offset: u64) -> Option<Self> {
        let (fields, crc) = bytes.split_at(FRAME - 4);
        if !fields.starts_with(RECORD_MAGIC) || frame_crc(segment, offset, fields).to_le_bytes() != crc {
            return None;
        }
        let (_, fields) = fields.split_at(4);
        let (kind, fields) = fields.split_first_chunk::<4>()?;
        let (id, fields) = fields.split_first_chunk::<8>()?;
        let (meta_len, fields) = fields.split_first_chunk::<4>()?;
        let (body_len, fields) = fields.split_first_chunk::<4>()?;
        let (meta_crc, _) = fields.split_first_chunk::<4>()?;
        let frame = Self {
            kind: Kind::of_code(kind[0])?,
            id: QueueId(u64::from_le_bytes(*id)),
            meta_len: u32::from_le_bytes(*meta_len),
            body_len: u32::from_le_bytes(*body_len),
            meta_crc: u32::from_le_bytes(*meta_crc),
        };
        (frame.meta_len as usize <= MAX_META && u64::from(frame.body_len) <= MAX_INLINE).then_some(frame)
    }
}

fn frame_crc(segment: SegmentId, offset: u64, fields: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.salt.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(fields);
    crc.finalize()
}

/// Where the text of a message is, and its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// In the record.
    Inline { len: u32, crc: u32 },
    /// In a file of its own.
    File { len: u64, crc: u32 },
}

impl Text {
    pub(super) fn len(self) -> u64 {
        match self {
            Self::Inline { len, .. } => len.into(),
            Self::File { len, .. } => len,
        }
    }
}

/// The meta part of a message's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    pub(super) text: Text,
    pub(super) progress: Progress,
    pub(super) envelope: Envelope,
}

impl Meta {
    pub(super) fn encode(&self) -> Result<Vec<u8>, SpoolError> {
        let recipients = self.envelope.recipients.len();
        if recipients == 0 || recipients > Envelope::MAX_RECIPIENTS {
            return Err(SpoolError::TooLong { len: recipients, max: Envelope::MAX_RECIPIENTS });
        }
        let (place, len, crc) = match self.text {
            Text::Inline { len, crc } => (1, len.into(), crc),
            Text::File { len, crc } => (2, len, crc),
        };
        let envelope = &self.envelope;
        let mut out = Out::default()
            .byte(place)
            .varint(len)
            .varint(crc.into())
            .text(&self.progress.encode())
            .varint(envelope.arrival_unix_ms)
            .byte(protocol_code(envelope.protocol))
            .text(envelope.peer.as_bytes())
            .text(envelope.sender.as_bytes());
        out = parameters(out, &envelope.parameters).varint(recipients as u64);
        for recipient in &envelope.recipients {
            out = parameters(out.text(recipient.address.as_bytes()), &recipient.parameters)
                .text(recipient.mailbox.as_ref().map_or(&[], MailboxName::as_bytes));
        }
        let bytes = out.done();
        if bytes.len() > MAX_META {
            return Err(SpoolError::TooLong { len: bytes.len(), max: MAX_META });
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = In(bytes);
        let (place, len) = (bytes.byte()?, bytes.varint()?);
        let crc = u32::try_from(bytes.varint()?).map_err(|_| Malformed::Invalid("checksum"))?;
        let text = match place {
            1 => Text::Inline { len: u32::try_from(len).map_err(|_| Malformed::Invalid("length"))?, crc },
            2 => Text::File { len, crc },
            code => return Err(Malformed::Unknown { what: "place", code }),
        };
        let progress = Progress::decode(bytes.text()?)?;
        let arrival_unix_ms = bytes.varint()?;
        let protocol = protocol_of_code(bytes.byte()?)?;
        let peer = bytes.string()?;
        let sender = address(bytes.text()?)?;
        let mail_parameters = read_parameters(&mut bytes)?;
        let count = bytes.count()?;
        if count == 0 || count > Envelope::MAX_RECIPIENTS || count != progress.fates.len() {
            return Err(Malformed::Invalid("number of recipients"));
        }
        let mut recipients = Vec::with_capacity(count);
        for _ in 0..count {
            recipients.push(Recipient {
                address: address(bytes.text()?)?,
                parameters: read_parameters(&mut bytes)?,
                mailbox: match bytes.text()? {
                    [] => None,
                    name => Some(MailboxName::new(name).map_err(|_| Malformed::Invalid("mailbox name"))?),
                },
            });
        }
        bytes.end()?;
        let envelope =
            Envelope { sender, parameters: mail_parameters, recipients, arrival_unix_ms, peer, protocol };
        Ok(Self { text, progress, envelope })
    }
}

fn parameters(out: Out, parameters: &[Parameter]) -> Out {
    parameters
        .iter()
        .fold(out.varint(parameters.len() as u64), |out, parameter| out.text(parameter.as_bytes()))
}

fn read_parameters(bytes: &mut In<'_>) -> Result<Vec<Parameter>, Malformed> {
    (0..bytes.count()?)
        .map(|_| {
            Parameter::new(Bytes::copy_from_slice(bytes.text()?)).map_err(|_| Malformed::Invalid("parameter"))
        })
        .collect()
}

fn address(bytes: &[u8]) -> Result<Address, Malformed> {
    Address::new(Bytes::copy_from_slice(bytes)).map_err(|_| Malformed::Invalid("address"))
}

const PROTOCOLS: [Protocol; 6] =
    [Protocol::Lmtp, Protocol::Lmtps, Protocol::Lmtpa, Protocol::Lmtpsa, Protocol::Report, Protocol::Import];

fn protocol_code(protocol: Protocol) -> u8 {
    PROTOCOLS
        .iter()
        .position(|known| *known == protocol)
        .and_then(|at| u8::try_from(at).ok())
        .unwrap_or_default()
}

fn protocol_of_code(code: u8) -> Result<Protocol, Malformed> {
    PROTOCOLS.get(usize::from(code)).copied().ok_or(Malformed::Unknown { what: "protocol", code })
}
