//! The spool through its public face, on a disk that remembers, loses, tears and refuses.

mod basics;
mod crash;
mod damage;
mod faults;
mod formats;
mod kill;
mod replay;
mod report;
mod segments;
mod sim;

use std::sync::Arc;

use super::*;
use crate::spool;

/// A message of so many bytes.
fn text(len: usize, fill: u8) -> Vec<u8> {
    let mut text = b"Message-ID: <x@example.org>\r\nDate: Tue, 24 Nov 2026 05:51:34 +0000\r\n\r\n".to_vec();
    text.resize(text.len() + len, fill);
    text
}

fn address(text: &str) -> Address {
    Address::new(text.as_bytes().to_vec()).unwrap()
}

fn mailbox(name: &str) -> MailboxName {
    MailboxName::new(name.as_bytes()).unwrap()
}

/// From `sender@example.org` to `user.NAME` of each name.
fn envelope(names: &[&str]) -> Envelope {
    let recipient = |name: &&str| Recipient {
        address: address(&format!("{name}@example.org")),
        parameters: Vec::new(),
        mailbox: Some(mailbox(&format!("user.{name}"))),
    };
    Envelope {
        sender: address("sender@example.org"),
        parameters: vec![Parameter::new(b"BODY=8BITMIME".to_vec()).unwrap()],
        recipients: names.iter().map(recipient).collect(),
        arrival_unix_ms: 1_795_499_494_000,
        peer: "192.0.2.7".into(),
        protocol: Protocol::Lmtp,
    }
}

async fn read(body: &mut StoredBody) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(part) = body.next().await.unwrap() {
        all.extend_from_slice(&part);
    }
    all
}

/// Everything that is queued: number, envelope, text.
async fn contents(spool: &Spool) -> Vec<(QueueId, Envelope, Vec<u8>)> {
    let mut all = Vec::new();
    for id in spool.ids_after(None, usize::MAX) {
        let (message, mut body) = spool.message_with_text(id).unwrap();
        all.push((id, (*message.envelope).clone(), read(&mut body).await));
    }
    all
}

fn small() -> Options {
    Options { min_free_bytes: 0, min_free_inodes: 0, in_memory: 1000, ..Options::default() }
}

fn sim() -> (sim::SimDisk, Arc<dyn Disk>) {
    let disk = sim::SimDisk::default();
    (disk.clone(), Arc::new(disk))
}
