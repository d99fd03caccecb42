//! Much mail in one session, and a side that takes nothing for a while: the other side is not read for, memory stays what
//! it was, and every byte arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::Wire;
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::face::Face;
use ravenry_integration::identity::Authority;
use ravenry_integration::imap_stub::{ImapStub, MESSAGE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Of a MiB each.
const MESSAGES: usize = 128;
/// What the system's own buffers hold on both ways, with some slack; it is not the process's memory.
const ON_THE_WAY: u64 = 64 << 20;
/// In KiB: what the process may take more than before, whatever passes.
const MEMORY: u64 = 8 << 10;

const PATIENCE: Duration = Duration::from_secs(120);
const A_WHILE: Duration = Duration::from_millis(700);

/// Both at once.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

async fn open(face: &Face, authority: &Authority, tls: bool) -> Result<BufReader<Box<dyn Duplex>>> {
    let connect = async |address: SocketAddr| TcpStream::connect(address).await;
    let stream: Box<dyn Duplex> = if tls {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate())?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Box::new(connector.connect("localhost".try_into()?, connect(face.tls).await?).await?)
    } else {
        Box::new(connect(face.clear).await?)
    };
    let mut client = BufReader::new(stream);
    hears(&mut client, "* OK").await?;
    client.write_all(b"a LOGIN alice secret\r\n").await?;
    client.flush().await?;
    hears(&mut client, "a OK").await?;
    Ok(client)
}

/// The next line begins like that.
async fn hears(client: &mut BufReader<Box<dyn Duplex>>, expected: &str) -> Result<()> {
    use tokio::io::AsyncBufReadExt;
    let mut line = String::new();
    within(PATIENCE, format!("{expected:?}"), async { Ok(client.read_line(&mut line).await?) }).await?;
    ensure!(line.starts_with(expected), "{line:?} instead of {expected:?}");
    Ok(())
}

/// Bytes that have passed behind logins.
async fn passed(face: &Face, to: &str) -> Result<u64> {
    let status = face.ravenry.status().await?;
    let bytes = status.pointer(&format!("/imap/bytes_to_{to}")).and_then(serde_json::Value::as_u64);
    bytes.with_context(|| format!("bytes to the {to}: {status}"))
}

/// Waits until nothing passes any more; how much did, more than before.
async fn standstill(face: &Face, to: &str, before: u64) -> Result<u64> {
    let mut last = None;
    let (total, _) = eventually(PATIENCE, "a standstill", async || {
        tokio::time::sleep(A_WHILE).await;
        let now = passed(face, to).await? - before;
        Ok((last.replace(now) == Some(now) && now > 0).then_some(now))
    })
    .await?;
    ensure!(total < ON_THE_WAY, "{total} bytes to the {to} were read for nobody");
    Ok(total)
}

/// The client asks for many messages, and reads none of them for a while.
async fn down(face: &Face, client: &mut BufReader<Box<dyn Duplex>>) -> Result<u64> {
    let before = passed(face, "clients").await?;
    let asked: String = (0..MESSAGES).map(|nth| format!("f{nth} FETCH 1 BODY[]\r\n")).collect();
    client.write_all(asked.as_bytes()).await?;
    client.flush().await?;
    let stood = standstill(face, "clients", before).await?;
    let mut body = vec![0; MESSAGE];
    for nth in 0..MESSAGES {
        hears(client, &format!("* 1 FETCH (BODY[] {{{MESSAGE}}}\r\n")).await?;
        within(PATIENCE, "a message", async { Ok(client.read_exact(&mut body).await?) }).await?;
        ensure!(body.iter().all(|byte| *byte == b'x'), "message {nth} is not what it was");
        hears(client, ")\r\n").await?;
        hears(client, &format!("f{nth} OK")).await?;
    }
    Ok(stood)
}

/// The client files a long message at a frontend that reads nothing for a while.
async fn up(face: &Face, frontend: SocketAddr, client: &mut BufReader<Box<dyn Duplex>>) -> Result<u64> {
    let before = passed(face, "frontends").await?;
    let size = MESSAGES * MESSAGE;
    client.write_all(format!("h HOLD\r\nb APPEND INBOX {{{size}+}}\r\n").as_bytes()).await?;
    let sending = async {
        let part = vec![b'y'; MESSAGE];
        for _ in 0..MESSAGES {
            client.write_all(&part).await?;
        }
        client.write_all(b"\r\n").await?;
        client.flush().await?;
        anyhow::Ok(())
    };
    let watching = async {
        let stood = standstill(face, "frontends", before).await;
        let mut gate = Wire::connect(frontend).await?;
        gate.expect_line().await?;
        gate.send(b"r RELEASE\r\n").await?;
        ensure!(gate.expect_line().await? == "r OK done");
        stood
    };
    let (sent, stood) =
        within(PATIENCE, "the message", async { Ok(tokio::join!(sending, watching)) }).await?;
    sent?;
    hears(client, "h OK").await?;
    hears(client, "b OK").await?;
    let total = passed(face, "frontends").await? - before;
    ensure!(total > size as u64, "{total} of {size} bytes went to the frontend");
    stood
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_not_read_for_and_memory_stays_what_it_was() -> Result<()> {
    let authority = Authority::new()?;
    let stub = ImapStub::start()?;
    let face = Face::start(stub, &authority.issue(&["localhost"])?, None, "").await?;
    for tls in [false, true] {
        let mut client = open(&face, &authority, tls).await?;
        let before = face.ravenry.peak()?;
        let stood = [down(&face, &mut client).await?, up(&face, stub.imap, &mut client).await?];
        let more = face.ravenry.peak()? - before;
        println!(
            "TLS {tls}: {MESSAGES} MiB each way, at a standstill after {stood:?} bytes, with {more} KiB more"
        );
        ensure!(more < MEMORY, "TLS {tls}: {more} KiB more than before");
    }
    face.ravenry.stop().await
}
