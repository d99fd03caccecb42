//! A connection, in clear or under TLS.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::ends;

/// Probes that have to stay without an answer before a host counts as lost.
const PROBES: u32 = 5;

/// Has a quiet connection probed so often: a host that was lost, or lost us, is noticed after five of them, also where
/// we only wait. One that hangs answers them: its kernel does.
pub fn probe(tcp: &TcpStream, every: Duration) -> std::io::Result<()> {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(every).with_interval(every).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(every * PROBES))
}

/// A byte stream that may be under TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// A socket of this host.
    Unix(UnixStream),
    /// TLS, we are the server.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS, we are the client.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether what is sent is hidden from the network.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_) | Self::Unix(_))
    }

    /// The TCP connection underneath, if it is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Server(tls) => Some(tls.get_ref().0),
            Self::Client(tls) => Some(tls.get_ref().0),
            Self::Unix(_) => None,
        }
    }
}

impl Stream {
    /// When the certificate that the server showed us ends, in seconds since 1970.
    pub fn shown_until(&self) -> Option<u64> {
        let Self::Client(tls) = self else { return None };
        ends(tls.get_ref().1.peer_certificates()?.first()?)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Server(stream) => end_of(Pin::new(stream).poll_read(cx, buf)),
            Self::Client(stream) => end_of(Pin::new(stream).poll_read(cx, buf)),
        }
    }
}

/// An end without the alert that RFC 8446 (section 6.1) asks for is an end: Cyrus never sends it (`TLS_FAST_SHUTDOWN` in its
/// `tls.c`). What is cut off by somebody in between shows all the same, since each protocol says itself what is whole.
fn end_of(read: Poll<std::io::Result<()>>) -> Poll<std::io::Result<()>> {
    match read {
        Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        other => other,
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Server(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Server(stream) => Pin::new(stream).poll_flush(cx),
            Self::Client(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Server(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Client(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
