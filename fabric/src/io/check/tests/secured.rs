//! Checks over TLS, against servers whose certificates are as they should be, and as they should not.

use super::*;
use crate::config::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A file with an authority's certificate, gone with its owner.
struct File(PathBuf);

impl File {
    fn new(test: &str, authority: &Authority) -> Self {
        let file = Self(std::env::temp_dir().join(format!("weft-ca-{test}-{}.pem", std::process::id())));
        file.write(&authority.pem());
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server with a certificate for these names that says that all is well; it ended in 2020 if it is old.
fn server(authority: &Authority, names: &[&str], old: bool) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    if old {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    }
    let certificate = params.signed_by(&key, authority).unwrap();
    serve(certificate.der().clone(), &key)
}

fn serve(certificate: CertificateDer<'static>, key: &KeyPair) -> SocketAddr {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a server for one test")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = [0; 1_024];
            // Who does not believe the certificate sends no request.
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.flush();
            }
        }
    });
    address
}

fn check(address: SocketAddr, server_name: &str, trust: Trust) -> Probe {
    let tls = Some(Tls { server_name: server_name.to_owned(), trust });
    Probe::Http { address, host: server_name.to_owned(), target: "/health".to_owned(), tls }
}

const LONG: u64 = 20_000;

#[test]
fn a_service_whose_certificate_is_believed_is_good() {
    let authority = authority("the plant");
    let file = File::new("believed", &authority);
    let trust = || Trust::File(file.0.clone());
    let address = server(&authority, &["127.0.0.1", "boot.example"], false);
    assert_eq!(outcome(check(address, "127.0.0.1", trust()), LONG), Ok(()));
    assert_eq!(outcome(check(address, "boot.example", trust()), LONG), Ok(()));
}

/// What `openssl req -x509` makes: an authority that is its own and only service.
#[test]
fn a_service_that_signed_its_own_certificate_is_known_by_it() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["boot.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let file = File::new("itself", &authority("the plant"));
    let address = serve(certificate.der().clone(), &key);
    assert!(outcome(check(address, "boot.example", Trust::File(file.0.clone())), LONG).is_err(), "not in the file");
    file.write(&certificate.pem());
    assert_eq!(outcome(check(address, "boot.example", Trust::File(file.0.clone())), LONG), Ok(()));
    let refused = outcome(check(address, "other.example", Trust::File(file.0.clone())), LONG).unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[test]
fn a_service_that_does_not_prove_itself_has_failed_and_the_reason_says_why() {
    let (own, stranger) = (authority("the plant"), authority("somebody"));
    let file = File::new("unproved", &own);
    let trust = || Trust::File(file.0.clone());
    let names = &["boot.example"][..];
    for (address, name, words) in [
        (server(&own, names, false), "other.example", "not valid for name"),
        (server(&stranger, names, false), "boot.example", "UnknownIssuer"),
        (server(&own, names, true), "boot.example", "expired"),
    ] {
        let refused = outcome(check(address, name, trust()), LONG).unwrap_err();
        assert!(refused.contains("TLS: ") && refused.contains(words), "{words}: {refused}");
        assert_eq!(outcome(check(address, name, Trust::Anything), LONG), Ok(()), "{words}");
    }
    // The system believes neither.
    assert!(outcome(check(server(&own, names, false), "boot.example", Trust::System), LONG).is_err());
}

#[test]
fn who_speaks_no_tls_has_failed() {
    let plain = super::server(b"HTTP/1.1 200 OK\r\n\r\n");
    let refused = outcome(check(plain, "127.0.0.1", Trust::Anything), LONG).unwrap_err();
    assert!(refused.contains("TLS: "), "{refused}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = check(silent.local_addr().unwrap(), "127.0.0.1", Trust::Anything);
    assert_eq!(outcome(probe, 100), Err("no answer within 100 ms".to_owned()));
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let own = authority("the plant");
    let address = server(&own, &["127.0.0.1"], false);
    let nowhere = outcome(check(address, "127.0.0.1", Trust::File("/nonexistent/ca.pem".into())), LONG).unwrap_err();
    assert!(nowhere.starts_with("/nonexistent/ca.pem: "), "{nowhere}");
    let file = File::new("empty", &own);
    file.write("no certificate\n");
    let empty = outcome(check(address, "127.0.0.1", Trust::File(file.0.clone())), LONG).unwrap_err();
    assert!(empty.ends_with("no certificate is in it"), "{empty}");
}

#[test]
fn another_authority_in_the_file_is_believed_without_a_restart() {
    let (old, new) = (authority("the old one"), authority("the new one"));
    let file = File::new("rotated", &old);
    let trusted = Trusted::default();
    let trust = Trust::File(file.0.clone());
    let first = trusted.config(&trust).unwrap();
    assert!(Arc::ptr_eq(&first, &trusted.config(&trust).unwrap()), "read once");
    file.write(&format!("# the new one, and the old one for a while\n{}{}", new.pem(), old.pem()));
    assert!(!Arc::ptr_eq(&first, &trusted.config(&trust).unwrap()));
    let address = server(&new, &["127.0.0.1"], false);
    assert_eq!(outcome(check(address, "127.0.0.1", trust), LONG), Ok(()));
}
