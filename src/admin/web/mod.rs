//! What monitors and browsers see: metrics, health, a page. Read-only, bounded, and nothing here is secret.
//!
//! | path | what |
//! |---|---|
//! | `/metrics` | for Prometheus |
//! | `/healthz` | 200 while the process makes progress, else 503 |
//! | `/readyz` | 200 while there is a list that may be served, else 503 |
//! | `/status.json` | what `ravenry status --json` says |
//! | `/` | the same for people, refreshing itself |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; more are closed.
const CONNECTIONS: usize = 64;
/// A request's head.
const MAX_HEAD: usize = 16 * 1024;
/// How long a request's head may take to come.
const HEAD_BOUND: Duration = Duration::from_secs(5);
/// How long a connection may take in all: one request, one answer.
const BOUND: Duration = Duration::from_secs(30);

const PAGE: &str = include_str!("status.html");
/// The page holds its own style and script, and asks for nothing but `/status.json`.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What can be seen of a running Ravenry.
pub trait View: Send + Sync + 'static {
    /// Everything in Prometheus's text form.
    fn metrics(&self) -> String;
    /// What `ravenry status --json` says.
    fn status(&self) -> Vec<u8>;
    /// Whether the process makes progress; the error says for how long it has not.
    fn alive(&self) -> Result<(), String>;
    /// Whether there is a list that may be served; either way with the present state.
    fn ready(&self) -> Result<String, String>;
}

/// A listener that answers until it is dropped.
pub struct Web {
    listener: TcpListener,
}

impl Web {
    /// Listens.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(&self, view: Arc<dyn View>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let Ok(place) = places.clone().try_acquire_owned() else { continue };
                        let view = view.clone();
                        connections.spawn(async move {
                            let _place = place;
                            let _ = tokio::time::timeout(BOUND, connection(tcp, view)).await;
                        });
                    }
                    Err(error) => {
                        tracing::error!(%error, "the metrics port cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection(tcp: TcpStream, view: Arc<dyn View>) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &*view);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_BOUND)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), answering);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the metrics port ended");
    }
}

fn answer(method: &Method, path: &str, view: &dyn View) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => typed("text/plain; version=0.0.4; charset=utf-8", view.metrics().into()),
        "/healthz" => match view.alive() {
            Ok(()) => plain(StatusCode::OK, "alive\n".into()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/readyz" => match view.ready() {
            Ok(state) => plain(StatusCode::OK, format!("{state}\n")),
            Err(state) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{state}\n")),
        },
        "/status.json" => typed("application/json", view.status().into()),
        "/" => {
            let mut response = typed("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
            let policy = HeaderValue::from_static(PAGE_POLICY);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "try /, /status.json, /metrics, /healthz or /readyz\n".into()),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", text.into());
    *response.status_mut() = status;
    response
}

fn typed(content: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Seen {
        ready: bool,
    }

    impl View for Seen {
        fn metrics(&self) -> String {
            "ravenry_streams 2\n".into()
        }
        fn status(&self) -> Vec<u8> {
            b"{}".to_vec()
        }
        fn alive(&self) -> Result<(), String> {
            Err("no progress for 20 s".into())
        }
        fn ready(&self) -> Result<String, String> {
            if self.ready { Ok("following".into()) } else { Err("learning".into()) }
        }
    }

    async fn started(ready: bool) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let web = Web::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = web.address().unwrap();
        (address, tokio::spawn(async move { web.serve(Arc::new(Seen { ready })).await }))
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that refuses early may reset what it has not read.
        let _ = tcp.read_to_string(&mut answer).await;
        answer
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn every_path_answers_what_it_is_for() {
        let (address, serving) = started(true).await;
        assert!(get(address, "/metrics").await.ends_with("ravenry_streams 2\n"));
        assert!(get(address, "/status.json").await.ends_with("{}"));
        assert!(get(address, "/").await.contains("default-src 'none'"));
        assert!(get(address, "/nowhere").await.starts_with("HTTP/1.1 404"));
        let ready = get(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("following\n"), "{ready}");
        let alive = get(address, "/healthz").await;
        assert!(alive.starts_with("HTTP/1.1 503") && alive.ends_with("no progress for 20 s\n"), "{alive}");
        serving.abort();
        let (address, serving) = started(false).await;
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        serving.abort();
    }

    #[tokio::test]
    async fn nothing_can_be_changed_and_nothing_endless_is_read() {
        let (address, serving) = started(true).await;
        let posted = ask(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"), "{posted}");
        let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 * MAX_HEAD));
        let refused = ask(address, &endless).await;
        assert!(!refused.contains("200 OK"), "{refused}");
        serving.abort();
    }

    #[tokio::test]
    async fn idle_connections_are_bounded_and_do_not_keep_others_out_for_long() {
        let (address, serving) = started(true).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let begun = std::time::Instant::now();
        while !get(address, "/metrics").await.contains("200 OK") {
            assert!(begun.elapsed() < 5 * HEAD_BOUND, "shut out");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        serving.abort();
    }
}
