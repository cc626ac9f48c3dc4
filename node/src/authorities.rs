//! The certificate authorities that trackers' certificates are checked against.

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::{ClientConfig, RootCertStore};

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let config = ClientConfig::builder()
        .with_root_certificates(roots())
        .with_no_client_auth();
    Arc::new(config)
});

/// How to open every TLS connection. The first call reads the system's certificates.
pub fn client_config() -> Arc<ClientConfig> {
    Arc::clone(&CONFIG)
}

/// The system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; Mozilla's where
/// there are none, as in small containers.
fn roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("some of the system's certificates cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
