//! A mail client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::net::stream::Stream;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Client(BufReader<Stream>);

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(Stream::Plain(TcpStream::connect(address).await.unwrap())))
    }

    /// Goes on under TLS.
    pub(super) async fn start_tls(self, tls: TlsConnector, name: ServerName<'static>) -> Self {
        assert!(self.0.buffer().is_empty(), "nothing came behind the answer");
        let Stream::Plain(tcp) = self.0.into_inner() else { panic!("TLS in TLS") };
        Self(BufReader::new(Stream::Client(Box::new(tls.connect(name, tcp).await.unwrap()))))
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        // Who was cut off meanwhile sees it when reading.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    pub(super) async fn shutdown(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// The next line without its end; empty when there is none.
    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line));
        let _ = read.await.expect("a line in time");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Sends a command and gathers everything up to its answer, or to a BYE that nobody asked for.
    pub(super) async fn exchange(&mut self, command: &str) -> Vec<String> {
        let tag = command.split(' ').next().unwrap().to_owned();
        self.exchange_tagged(command, &tag).await
    }

    pub(super) async fn exchange_tagged(&mut self, text: &str, tag: &str) -> Vec<String> {
        self.send(&format!("{text}\r\n")).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let last = line.is_empty()
                || line.starts_with(&format!("{tag} "))
                || (line.starts_with("* BYE") && !text.contains("LOGOUT"));
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// Takes in what comes within that time; whether the connection ended.
    pub(super) async fn ended_within(&mut self, time: Duration, said: &mut Vec<u8>) -> bool {
        let end = async { while matches!(self.0.read_buf(said).await, Ok(1..)) {} };
        tokio::time::timeout(time, end).await.is_ok()
    }

    /// Everything up to the end.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest));
        let _ = read.await.expect("an end in time");
        String::from_utf8_lossy(&rest).into_owned()
    }
}
