//! HTTPS from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_tracker::config::TlsFiles;
use banyan_tracker::{Config, Server};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::config;

/// A certificate for `localhost` in files that go when the test ends.
struct Certificate {
    directory: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = std::env::temp_dir().join(format!("banyan-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self {
            directory,
            der: made.cert.der().clone(),
        }
    }

    fn files(&self, cert: &str, key: &str) -> Config {
        let path = |name| Path::new(&self.directory).join(name);
        Config {
            tls: Some(TlsFiles {
                cert: path(cert),
                key: path(key),
            }),
            ..config()
        }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn pages_and_sessions_are_served_over_tls() {
    let certificate = Certificate::new("tls");
    let server = Server::start(certificate.files("cert.pem", "key.pem"))
        .await
        .unwrap();
    assert!(server.local_url().starts_with("https://127.0.0.1:"));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let connect = async || {
        let stream = TcpStream::connect(server.http_addr()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        connector.connect(name, stream).await.unwrap()
    };
    let mut stream = connect().await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"),
        "{answer}"
    );

    let mut request = "wss://localhost/ws".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", "banyan.1.json".parse().unwrap());
    let (_, response) = client_async(request, connect().await).await.unwrap();
    assert_eq!(response.status(), 101);
    server.shutdown().await;
}

/// The certificate the tracker shows, whatever it is worth.
async fn shown(server: &Server) -> CertificateDer<'static> {
    // Trusting both of a test would do as well; this way a third one would be seen, too.
    #[derive(Debug)]
    struct Anybody;
    use rustls::DigitallySignedStruct;
    use rustls::SignatureScheme;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::UnixTime;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ring::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let stream = TcpStream::connect(server.http_addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

async fn shows(server: &Server, certificate: &CertificateDer<'static>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while shown(server).await != *certificate {
        assert!(
            Instant::now() < deadline,
            "the old certificate is still shown"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let first = Certificate::new("first-tls");
    let second = Certificate::new("second-tls");
    let server = Server::start(first.files("cert.pem", "key.pem"))
        .await
        .unwrap();
    assert_eq!(shown(&server).await, first.der);

    // A certificate without its key, then garbage: the one before stays in use.
    let take = |name| {
        std::fs::copy(second.directory.join(name), first.directory.join(name)).unwrap();
    };
    take("cert.pem");
    server.reload();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shown(&server).await, first.der);
    std::fs::write(first.directory.join("key.pem"), "garbage").unwrap();
    server.reload();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shown(&server).await, first.der);

    take("key.pem");
    server.reload();
    shows(&server, &second.der, Duration::from_secs(2)).await;

    // Nobody says a word: the change is seen.
    let third = Certificate::new("third-tls");
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(third.directory.join(name), first.directory.join(name)).unwrap();
    }
    shows(&server, &third.der, Duration::from_secs(15)).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let certificate = Certificate::new("bad-tls");
    std::fs::write(certificate.directory.join("empty.pem"), "").unwrap();
    let other = Certificate::new("other-tls");
    std::fs::copy(
        other.directory.join("key.pem"),
        certificate.directory.join("other.pem"),
    )
    .unwrap();
    for (cert, key, word) in [
        ("missing.pem", "key.pem", "missing.pem"),
        ("empty.pem", "key.pem", "empty.pem"),
        ("cert.pem", "cert.pem", "private key"),
        ("cert.pem", "other.pem", "other.pem"),
    ] {
        let error = Server::start(certificate.files(cert, key))
            .await
            .err()
            .unwrap();
        let words = format!("{error:#}");
        assert!(words.contains(word), "{words}");
        assert!(!words.contains("Err("), "{words}");
    }
}
