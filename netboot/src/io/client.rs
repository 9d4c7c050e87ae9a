//! Asks a server: over the local socket, or with TLS.

use crate::error::Refusal;
use crate::io::boot::blobs::PART;
use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// On this machine.
    Socket(PathBuf),
    /// Elsewhere, without TLS: `HOST:PORT` where machines without a certificate are heard.
    Open(String),
    /// Elsewhere.
    Https {
        /// `HOST:PORT`.
        authority: String,
        /// PEM file with the server's authority.
        ca: PathBuf,
        /// PEM file with our certificate.
        cert: PathBuf,
        /// PEM file with its key.
        key: PathBuf,
    },
}

/// What a server said.
#[derive(Debug)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Nobody answers there: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NobodyThere(String);

impl Target {
    /// Sends one request.
    ///
    /// # Errors
    /// When nobody answers. A refusal is an answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Said> {
        let response = self.open(method, path, body).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes().to_vec();
        Ok(Said { status, body })
    }

    /// Copies an answer as it comes, until it ends.
    ///
    /// # Errors
    /// When nobody answers, the server refuses, or nobody reads.
    pub async fn stream(&self, path: &str, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        let response = self.open(Method::GET, path, None).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        if status != 200 {
            let body = body.collect().await?.to_bytes().to_vec();
            return Said { status, body }.document().map(drop);
        }
        while let Some(frame) = body.frame().await {
            if let Ok(octets) = frame?.into_data()
                && &*octets != b"\n"
            {
                out.write_all(&octets)?;
                out.flush()?;
            }
        }
        Ok(())
    }

    /// Sends a file as it is read.
    ///
    /// # Errors
    /// When nobody answers, or the file cannot be read. A refusal is an answer.
    pub async fn upload(&self, path: &str, file: &Path) -> anyhow::Result<Said> {
        let mut file = std::fs::File::open(file)?;
        let length = file.metadata()?.len();
        let parts = std::iter::from_fn(move || {
            let mut octets = vec![0; PART];
            match file.read(&mut octets) {
                Ok(0) => None,
                Ok(count) => {
                    octets.truncate(count);
                    Some(Ok(Frame::data(Bytes::from(octets))))
                }
                Err(error) => Some(Err(error)),
            }
        });
        let body = StreamBody::new(futures_util::stream::iter(parts));
        let request = Request::builder().method(Method::PUT).uri(path).header("host", self.host());
        let response = self.send(request.header("content-length", length).body(body)?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes().to_vec();
        Ok(Said { status, body })
    }

    /// Sends one request; what comes of the answer's body is the caller's.
    ///
    /// # Errors
    /// As [`Target::ask`].
    pub async fn open(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Response<Incoming>> {
        let octets = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("host", self.host());
        self.send(request.header("content-type", "application/json").body(Full::new(Bytes::from(octets)))?).await
    }

    fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "localhost",
            Self::Open(authority) | Self::Https { authority, .. } => authority,
        }
    }

    async fn send<B>(&self, request: Request<B>) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        match self {
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    let remedy =
                        "is `weft-netboot serve` running? `--socket` names another socket, `--server` another machine";
                    NobodyThere(format!("{}: {error}; {remedy}", path.display()))
                })?;
                exchange(stream, request).await
            }
            Self::Open(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await;
                exchange(stream.map_err(|error| NobodyThere(format!("{authority}: {error}")))?, request).await
            }
            Self::Https { authority, ca, cert, key } => {
                let mut roots = RootCertStore::empty();
                for certificate in read_certificates(ca)? {
                    roots.add(certificate).with_context(|| ca.display().to_string())?;
                }
                let key = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
                let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_client_auth_cert(read_certificates(cert)?, key)?;
                let (host, _) =
                    authority.rsplit_once(':').ok_or_else(|| anyhow!("--server {authority}: write HOST:PORT"))?;
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
                let stream = TcpStream::connect(authority.as_str()).await;
                let stream = stream.map_err(|error| NobodyThere(format!("{authority}: {error}")))?;
                let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                exchange(tls.with_context(|| format!("{authority}: TLS"))?, request).await
            }
        }
    }
}

/// Sends one request over a connection of its own.
pub(in crate::io) async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<B>,
) -> anyhow::Result<Response<Incoming>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or with what is wrong, which the answer says too.
    tokio::spawn(async move { drop(Box::pin(connection).await) });
    Ok(sender.send_request(request).await?)
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = || path.display().to_string();
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).with_context(shown)?.collect();
    read.with_context(shown)
}

impl Said {
    /// The document, when the server did what was asked.
    ///
    /// # Errors
    /// What the server refused, with field and rule.
    pub fn document(&self) -> anyhow::Result<Value> {
        if (200..300).contains(&self.status) {
            if self.body.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&self.body).context("the server's answer");
        }
        let error: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |key: &str| error["error"][key].as_str().unwrap_or_default();
        if text("message").is_empty() {
            bail!("the server answers {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        if text("rule").is_empty() {
            bail!("{}", text("message"));
        }
        bail!("{}", Refusal::invalid(text("field"), text("message"), text("rule")))
    }
}
