//! The controller on a port: TLS with a certificate that signs itself, HTTP/1.1, and the script.

#![expect(clippy::disallowed_methods, reason = "a task for each connection: this file is an effect")]

use super::fault::Fault;
use super::{Controller, Reply, Request};
use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Octets of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// What a running controller needs.
#[derive(Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The script that has the power, and words before ours.
    pub script: Vec<String>,
    /// A file that says what is to go wrong; read for each request.
    pub faults: Option<PathBuf>,
}

/// Serves until it is ended.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(settings: Settings, controller: Controller) -> Result<()> {
    let acceptor = acceptor()?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| settings.listen.to_string())?;
    let shared = Arc::new((settings, Mutex::new(controller)));
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await?;
        let (stream, _) = listener.accept().await?;
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        tokio::task::spawn(async move {
            // Whoever does not keep to TLS or HTTP is gone; the next one is served.
            drop(connection(stream, acceptor, shared).await);
            drop(place);
        });
    }
}

/// A key and a certificate of our own, as controllers come from the factory.
fn acceptor() -> Result<TlsAcceptor> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["bmc".to_owned()])?.self_signed(&key)?.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Shared = Arc<(Settings, Mutex<Controller>)>;

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared) -> Result<()> {
    let stream = acceptor.accept(stream).await?;
    let service = hyper::service::service_fn(move |request| answer(request, shared.clone()));
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn answer(request: hyper::Request<Incoming>, shared: Shared) -> Result<hyper::Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        token: header("x-auth-token"),
        if_match: header("if-match"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let reply = tokio::task::spawn_blocking(move || carry_out(&request, &shared)).await??;
    match reply.fault {
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Reset) => anyhow::bail!("the connection is reset"),
        Some(Fault::Slow(late)) => tokio::time::sleep(late).await,
        Some(_) | None => {}
    }
    let mut response = hyper::Response::builder().status(reply.status).header("content-type", "application/json");
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let body = if reply.body.is_null() { String::new() } else { reply.body.to_string() };
    Ok(response.body(Full::new(Bytes::from(body)))?)
}

/// One request at a time: a controller has one small processor.
fn carry_out(request: &Request, (settings, controller): &(Settings, Mutex<Controller>)) -> Result<Reply> {
    let mut controller = controller.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = &settings.faults {
        match std::fs::read_to_string(file) {
            Ok(text) => controller.faults.tell(&text).map_err(anyhow::Error::msg)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => anyhow::bail!("{}: {error}", file.display()),
        }
    }
    let on = run(&settings.script, &["get", "power"])?.contains("power:1");
    let reply = controller.handle(request, on);
    for words in &reply.run {
        run(&settings.script, words)?;
    }
    Ok(reply)
}

/// Calls the script; what it says.
fn run(script: &[String], words: &[&str]) -> Result<String> {
    let (program, first) = script.split_first().context("no script")?;
    let output = Command::new(program).args(first).args(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| program.clone())?;
    anyhow::ensure!(output.status.success(), "{program} {}: {}", words.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
