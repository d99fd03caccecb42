//! A master that is nothing but a list of any length, made up while it is sent: ten million mailboxes in a real
//! master would take hours to get there.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    BannerSpec, Command, CommandBody, CommandDecoder, CommandEvent, Limits, Status, put_banner, put_mailbox,
    put_status,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::made_up::{LOCATION, acl, name};

/// How much of the list is written at a time.
const CHUNK: usize = 128 << 10;

/// The master; dropping it ends it, connections included.
#[derive(Debug)]
pub(super) struct Model {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Model {
    /// Listens, with so many mailboxes.
    pub(super) async fn start(mailboxes: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(serve(stream, mailboxes));
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, mailboxes: u64) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut decoder = CommandDecoder::new(Limits::default());
    let banner = BannerSpec {
        mechanisms: &["PLAIN"],
        starttls: false,
        partial_update: true,
        servername: "model.murder.test",
        product: "Cyrus IMAP",
        version: "3.6.1",
        role: "(master)",
    };
    put_banner(&mut out, &banner);
    loop {
        stream.write_all_buf(&mut out).await?;
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                CommandEvent::Command(Command { tag, body: CommandBody::Update { .. } }) => {
                    send_list(&mut stream, &tag, mailboxes).await?;
                    put_status(&mut out, Some(&tag), Status::Ok, "streaming starts");
                }
                CommandEvent::Command(Command { tag, .. }) => {
                    put_status(&mut out, Some(&tag), Status::Ok, "done")
                }
                CommandEvent::Bad { .. } | CommandEvent::Continue => {}
            }
        }
        stream.write_all_buf(&mut out).await?;
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

async fn send_list(stream: &mut TcpStream, tag: &Bytes, mailboxes: u64) -> Result<()> {
    let mut out = BytesMut::with_capacity(CHUNK + 1024);
    for nth in 0..mailboxes {
        let name = name(nth);
        put_mailbox(&mut out, tag, name.as_bytes(), LOCATION.as_bytes(), acl(&name).as_bytes());
        if out.len() >= CHUNK {
            stream.write_all(&out).await?;
            out.clear();
        }
    }
    Ok(stream.write_all(&out).await?)
}
