//! How fast a master's list is read: `cargo run --release -p ravenry-parsers --example update_throughput`.
//!
//! The list is fed in pieces of a socket's size into one buffer, as a connection does it.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use ravenry_parsers::mupdate::{ReplyDecoder, ReplyLimits, ServerLine, put_mailbox};

const MAILBOXES: usize = 200_000;
const ROUNDS: usize = 10;
const READ: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut wire = BytesMut::new();
    for n in 0..MAILBOXES {
        let name = format!("user.someone{n}.Some Folder");
        let acl = format!("someone{n}\tlrswipkxtecdan\tadministrators\tlrswipkxtecdan\t");
        put_mailbox(&mut wire, b"U01", name.as_bytes(), b"backend1.example.org!default", acl.as_bytes());
    }
    let start = Instant::now();
    let mut lines = 0usize;
    for _ in 0..ROUNDS {
        let mut decoder = ReplyDecoder::new(ReplyLimits::default());
        let mut buf = BytesMut::new();
        for piece in wire.chunks(READ) {
            buf.extend_from_slice(piece);
            while let Some(line) = decoder.decode(&mut buf)? {
                lines += usize::from(matches!(black_box(line), ServerLine::Mailbox { .. }));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = (wire.len() * ROUNDS) as f64 / 1e6;
    println!(
        "{lines} lines, {megabytes:.0} MB in {seconds:.2} s: {:.0} MB/s, {:.0} ns per line",
        megabytes / seconds,
        seconds * 1e9 / lines as f64
    );
    Ok(())
}
