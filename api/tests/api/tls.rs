//! TLS as clients meet it.

use std::sync::Arc;

use patchwave_api::{Api, Serving, Tls, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use crate::support::Harness;

#[tokio::test]
async fn with_a_certificate_every_address_is_served_and_plain_requests_are_not() {
    let api = Harness::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["patchwave.internal".to_owned()]).expect("a certificate");
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = Arc::new(Tls::open(&certificate, &key).expect("usable"));
    let serving = Serving { tls: Some(tls), ..Serving::default() };
    let listener = bind("0.0.0.0:0".parse().expect("an address"), &serving).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let stop = CancellationToken::new();
    let ports = Api::new(api.store.clone(), api.bus.clone(), api.topics.clone(), api.master_key.clone());
    let server = tokio::spawn(serve(listener, ports, serving, stop.clone()));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let name = "patchwave.internal".try_into().expect("a name");
    let request = b"GET /livez HTTP/1.1\r\nHost: patchwave.internal\r\nConnection: close\r\n\r\n";
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    // A peer that leaves without saying so in TLS is no matter here.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    plain.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    stop.cancel();
    server.await.expect("no panic").expect("a graceful stop");
}
