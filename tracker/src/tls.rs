//! HTTPS from certificate files, which are read again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;

/// Time between two looks at the files. Whoever renews certificates writes two files, so there
/// may be one look at a pair that does not match.
const POLL: Duration = Duration::from_secs(5);

/// The newest certificate that could be used.
#[derive(Clone)]
pub(crate) struct Certificates(watch::Receiver<TlsAcceptor>);

impl Certificates {
    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.borrow().clone()
    }
}

/// Looks after the files.
pub(crate) struct Watcher {
    files: TlsFiles,
    stamp: Stamp,
    newest: watch::Sender<TlsAcceptor>,
    metrics: Arc<Metrics>,
}

/// When the two files were changed, and how long they are; none where one cannot be seen.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Watcher {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When they cannot be used, naming the one that is wrong.
    pub(crate) fn new(
        files: TlsFiles,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, Certificates)> {
        let stamp = stamp(&files);
        let (newest, certificates) = watch::channel(acceptor(&files)?);
        let watcher = Self {
            files,
            stamp,
            newest,
            metrics,
        };
        Ok((watcher, Certificates(certificates)))
    }

    /// Reads the files again when they change or `reload` says so, until the tracker stops.
    pub(crate) async fn run(mut self, reload: Arc<Notify>, mut lifetime: Lifetime) {
        loop {
            tokio::select! {
                () = lifetime.ended() => return,
                () = reload.notified() => self.read(),
                () = tokio::time::sleep(POLL) => if stamp(&self.files) != self.stamp {
                    self.read();
                },
            }
        }
    }

    fn read(&mut self) {
        // Taken before the files are read: a change meanwhile is seen at the next look.
        self.stamp = stamp(&self.files);
        match acceptor(&self.files) {
            Ok(acceptor) => {
                self.newest.send_replace(acceptor);
                self.metrics.tls_reloads.add(1);
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                self.metrics.tls_reload_failures.add(1);
                tracing::error!("the certificate from before stays in use: {error:#}");
            }
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// Reads the files; TLS 1.2 and 1.3.
fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let chain = certificates(&files.cert)
        .with_context(|| format!("cannot read the certificate {}", files.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read the private key {}", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "the certificate {} and the private key {} cannot be used",
                files.cert.display(),
                files.key.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!chain.is_empty(), "the file holds no certificate");
    Ok(chain)
}
