//! Etcd that speaks TLS and knows its clients by certificates: who has one is served, and nobody else.

use super::{Cluster, put, until};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, KeyPair, SanType};
use weft_netboot::io::etcd::{Etcd, Settings};
use weft_netboot::store::{Outcome, Store};

/// An authority.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key of one that it signs, as PEM.
fn signed(by: &CertifiedIssuer<'static, KeyPair>, usage: ExtendedKeyUsagePurpose) -> (Vec<u8>, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_with_a_certificate_of_its_authority_are_served() {
    let (ours, others) = (authority("ours"), authority("others"));
    let mut cluster = Cluster::new("tls", 1);
    let file = |name: &str, content: &[u8]| {
        let path = cluster.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = signed(&ours, ExtendedKeyUsagePurpose::ServerAuth);
    let words = [
        format!("--cert-file={}", file("server.pem", &certificate)),
        format!("--key-file={}", file("server.key", &key)),
        format!("--trusted-ca-file={}", file("ca.pem", ours.pem().as_bytes())),
        "--client-cert-auth".to_owned(),
    ];
    cluster.more = words.to_vec();
    cluster.scheme = "https";
    cluster.run(0);
    let store = |ca: &str, identity: Option<(Vec<u8>, Vec<u8>)>| {
        let endpoints = vec![format!("https://127.0.0.1:{}", cluster.ports[0].0)];
        let ca = Some(ca.as_bytes().to_vec());
        Etcd::new(&Settings { endpoints, prefix: "/weft".to_owned(), ca, identity }).unwrap()
    };
    let known = store(&ours.pem(), Some(signed(&ours, ExtendedKeyUsagePurpose::ClientAuth)));
    until("etcd answers", || {
        let known = known.clone();
        async move { matches!(known.commit(put("a", b"1")).await, Ok(Outcome::Committed(_))) }
    })
    .await;
    assert_eq!(known.read("").await.unwrap().entries.len(), 1);
    let mut watch = known.watch("", known.read("").await.unwrap().revision).await.unwrap();
    known.commit(put("b", b"1")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().changes[0].key, "b");
    for (who, stranger) in [
        ("no certificate", store(&ours.pem(), None)),
        (
            "a certificate of another authority",
            store(&ours.pem(), Some(signed(&others, ExtendedKeyUsagePurpose::ClientAuth))),
        ),
        ("no belief in the server", store(&others.pem(), Some(signed(&ours, ExtendedKeyUsagePurpose::ClientAuth)))),
    ] {
        assert!(stranger.read("").await.is_err(), "{who}");
        assert!(stranger.commit(put("c", b"1")).await.is_err(), "{who}");
    }
    assert_eq!(known.read("").await.unwrap().entries.len(), 2);
}
