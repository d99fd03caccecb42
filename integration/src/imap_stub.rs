//! A frontend that does nothing but answer, for many sessions or much mail; and whom nginx asks where to go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// How long its message is.
pub const MESSAGE: usize = 1 << 20;

/// What is read of a message at a time.
const CHUNK: usize = 256 << 10;

/// Both of them.
#[derive(Clone, Copy, Debug)]
pub struct ImapStub {
    /// The frontend.
    pub imap: SocketAddr,
    /// nginx's `auth_http`.
    pub(crate) guide: SocketAddr,
}

impl ImapStub {
    /// On a thread of its own, for as long as the process lives.
    pub fn start() -> Result<Self> {
        let listen = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            anyhow::Ok((listener, address))
        };
        let ((imap, imap_at), (guide, guide_at)) = (listen()?, listen()?);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("stub".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let guided = tokio::spawn(guide_to(TcpListener::from_std(guide)?, imap_at));
                serve(TcpListener::from_std(imap)?).await?;
                guided.await?
            })
        })?;
        Ok(Self { imap: imap_at, guide: guide_at })
    }
}

async fn serve(listener: TcpListener) -> Result<()> {
    let released = Arc::<Notify>::default();
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let released = released.clone();
        // Who hangs up ends its session.
        tokio::spawn(async move { Session { tcp, input: Vec::new(), released }.run().await });
    }
}

struct Session {
    tcp: TcpStream,
    input: Vec<u8>,
    /// One session that HOLDs reads nothing more before another one says RELEASE.
    released: Arc<Notify>,
}

impl Session {
    async fn run(mut self) -> Result<()> {
        let greeting = b"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN] stub ready\r\n";
        self.tcp.write_all(greeting).await?;
        let mut body: Option<Vec<u8>> = None;
        loop {
            let line = self.command().await?;
            let mut words = line.split_ascii_whitespace();
            let (tag, verb) = (words.next().unwrap_or("*"), words.next().unwrap_or_default());
            match verb {
                "FETCH" => {
                    // Made when it is wanted: idle sessions are many.
                    let body = body.get_or_insert_with(|| vec![b'x'; MESSAGE]);
                    let head = format!("* 1 FETCH (BODY[] {{{MESSAGE}}}\r\n");
                    self.tcp.write_all(head.as_bytes()).await?;
                    self.tcp.write_all(body).await?;
                    self.tcp.write_all(format!(")\r\n{tag} OK done\r\n").as_bytes()).await?;
                }
                "AUTHENTICATE" => {
                    if words.count() < 2 {
                        self.tcp.write_all(b"+ \r\n").await?;
                        self.line().await?;
                    }
                    self.tcp.write_all(format!("{tag} OK done\r\n").as_bytes()).await?;
                }
                "HOLD" => {
                    self.released.notified().await;
                    self.tcp.write_all(format!("{tag} OK done\r\n").as_bytes()).await?;
                }
                "RELEASE" => {
                    self.released.notify_one();
                    self.tcp.write_all(format!("{tag} OK done\r\n").as_bytes()).await?;
                }
                "LOGOUT" => {
                    let bye = format!("* BYE stub\r\n{tag} OK done\r\n");
                    return Ok(self.tcp.write_all(bye.as_bytes()).await?);
                }
                _ => self.tcp.write_all(format!("{tag} OK done\r\n").as_bytes()).await?,
            }
        }
    }

    /// The first line of a command; what its literals hold is thrown away.
    async fn command(&mut self) -> Result<String> {
        let first = self.line().await?;
        let mut line = first.clone();
        while let Some(announced) = line.strip_suffix('}').and_then(|line| line.rsplit('{').next()) {
            let size = announced.trim_end_matches('+').parse()?;
            if !announced.ends_with('+') {
                self.tcp.write_all(b"+ go ahead\r\n").await?;
            }
            self.skip(size).await?;
            line = self.line().await?;
        }
        Ok(first)
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = memchr(b'\n', &self.input) {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.tcp.read_buf(&mut self.input).await? == 0 {
                anyhow::bail!("hung up");
            }
        }
    }

    async fn skip(&mut self, size: usize) -> Result<()> {
        let here = size.min(self.input.len());
        self.input.drain(..here);
        let mut left = size - here;
        let mut chunk = vec![0; left.min(CHUNK)];
        while left > 0 {
            let most = left.min(CHUNK);
            let read = self.tcp.read(chunk.get_mut(..most).unwrap_or_default()).await?;
            left = left.checked_sub(read).filter(|_| read > 0).context("hung up")?;
        }
        Ok(())
    }
}

/// Sends everybody there (nginx's ngx_mail_auth_http_module).
async fn guide_to(listener: TcpListener, there: SocketAddr) -> Result<()> {
    loop {
        let (mut tcp, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut asked = Vec::new();
            while memmem::find(&asked, b"\r\n\r\n").is_none() {
                if tcp.read_buf(&mut asked).await? == 0 {
                    return Ok(());
                }
            }
            let (host, port) = (there.ip(), there.port());
            let answer = format!(
                "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {host}\r\nAuth-Port: {port}\r\n\r\n"
            );
            tcp.write_all(answer.as_bytes()).await
        });
    }
}
