//! The keys that protect media.
//!
//! Every packet a connection of the WebRTC crate sends walks through its eight handlers, which
//! costs more than encrypting it. The crate takes its cryptography from a provider per
//! connection; this one passes everything on and keeps what the DTLS exporter (RFC 5764 section
//! 4.2) makes, so that a parent's packets can be encrypted by the same SRTP code beside it.
//!
//! RTP goes one way and RTCP the other: SRTP counts the two apart (RFC 3711 section 3.2.1), so no
//! nonce is used twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac,
    PublicKey, RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey,
    StreamCipher, StreamCipherAlgorithm,
};
use rtc::srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;

use super::p224;

/// A provider of one connection's cryptography that remembers the exported keys.
pub(super) struct Keys {
    inner: Arc<dyn RTCCryptoProvider>,
    exported: Exported,
}

/// What was exported, shared with the link. The lock is never contended: both ends run on the
/// engine's thread, but the crate asks providers to be `Sync`.
#[derive(Clone, Default)]
pub(super) struct Exported(Arc<Mutex<Material>>);

#[derive(Default)]
struct Material {
    bytes: Vec<u8>,
    /// The ciphers made of it are AES-GCM with 128 bits.
    gcm: bool,
}

impl Keys {
    pub(super) fn new(inner: Arc<dyn RTCCryptoProvider>, exported: Exported) -> Self {
        Self { inner, exported }
    }
}

impl Exported {
    fn lock(&self) -> MutexGuard<'_, Material> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What encrypts our own packets, once the handshake is over, if that is AES-GCM. `client`:
    /// we began the handshake; nothing comes of not knowing. The keys are not kept.
    pub(super) fn sender(
        &self,
        client: Option<bool>,
        provider: &dyn RTCCryptoProvider,
    ) -> Option<Context> {
        let Material { bytes, gcm } = std::mem::take(&mut *self.lock());
        let bytes = SecretVec::new(bytes);
        let client = client.filter(|_| gcm)?;
        let mut config = Config {
            profile: ProtectionProfile::AeadAes128Gcm,
            ..Default::default()
        };
        let bytes = bytes.as_ref().get(..config.keying_material_len())?;
        config
            .set_session_keys_from_keying_material(bytes, client)
            .ok()?;
        let (key, salt) = (
            &config.keys.local_master_key,
            &config.keys.local_master_salt,
        );
        Context::new(key, salt, config.profile, None, None, provider.crypto()).ok()
    }
}

impl RTCCryptoProvider for Keys {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for Keys {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        let mac = self.inner.crypto().new_hmac(algorithm, key)?;
        if algorithm != HmacAlgorithm::Sha256 {
            return Ok(mac);
        }
        let exported = self.exported.clone();
        Ok(Box::new(Exporter { mac, exported }))
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        let mut material = self.exported.lock();
        // The handshake's own ciphers come before the export.
        if !material.bytes.is_empty() && algorithm == AeadAlgorithm::Aes128Gcm {
            material.gcm = true;
        }
        self.inner.crypto().new_aead(algorithm, key)
    }

    fn new_cbc(
        &self,
        algorithm: CbcAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let crypto = self.inner.crypto();
        // The crate takes every ECDSA signature over SHA-256 for one on P-256 or P-384.
        if scheme == SignatureScheme::EcdsaP256Sha256 && p224::is_key(public_key.bytes) {
            let digest = crypto.hash(HashAlgorithm::Sha256, message)?;
            return p224::verify(public_key.bytes, &digest, signature)
                .then_some(())
                .ok_or(CryptoError::InvalidSignature);
        }
        crypto.verify_signature(scheme, public_key, message, signature)
    }
}

/// A MAC that keeps the blocks it makes for the exporter: those over the previous round and the
/// label with both randoms (RFC 5246 section 5, RFC 5705).
struct Exporter {
    mac: Box<dyn Mac>,
    exported: Exported,
}

impl Mac for Exporter {
    fn output_len(&self) -> usize {
        self.mac.output_len()
    }

    fn sign(&mut self, input: &[&[u8]], output: &mut [u8]) -> Result<(), CryptoError> {
        self.mac.sign(input, output)?;
        if let [_, seed] = input
            && seed.starts_with(LABEL_EXTRACTOR_DTLS_SRTP.as_bytes())
        {
            self.exported.lock().bytes.extend_from_slice(output);
        }
        Ok(())
    }

    fn verify(&mut self, input: &[&[u8]], expected: &[u8]) -> Result<(), CryptoError> {
        self.mac.verify(input, expected)
    }
}
