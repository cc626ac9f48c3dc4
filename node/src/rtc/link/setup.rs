//! How a link is made: settings of the peer connection, descriptions, candidates.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::limits::{MAX_CANDIDATES, MAX_PEER_MESSAGE};
use rtc::crypto::RTCCryptoProvider;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::certificate::RTCCertificate;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::setting_engine::{
    SctpMaxMessageSize, SettingEngineBuilder,
};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCDtlsRole, RTCIceCandidateInit};

use super::channels::Channels;
use super::early::Early;
use super::flight::Flight;
use super::migration::Migration;
use super::restart::Later;
use super::{CHECK_INTERVAL, Link, Stage};
use crate::rtc::checks::Targets;
use crate::rtc::gate::Gate;
use crate::rtc::keys::{Exported, Keys};
use crate::rtc::media::Media;
use crate::rtc::sdp::{LocalTransport, Remote, Setup, transport_only};
use crate::rtc::tap::{Inbox, SLOT, Tap};
use crate::rtc::{EngineError, candidate};

/// From the moment both descriptions are known until everything is open. A pair that cannot
/// reach each other must get another parent within 5 s, the tracker's round trip included. Below
/// [`CONNECT_TIMEOUT`](banyan::limits::CONNECT_TIMEOUT): only the engine can tell a pair without a
/// path from one whose handshake lost packets, and the latter may try again.
pub(in crate::rtc) const CONNECT_TIME: Duration = Duration::from_millis(3600);

/// Checks per candidate pair before it is given up, so that a peer's candidates are no way to
/// have strangers flooded: at the pace of `check_pace`, all of [`CONNECT_TIME`].
pub(super) const CHECKS_PER_PAIR: u16 = 100;

/// Consent checks on an established link (RFC 7675 asks for one each 5 s), and the silence after
/// which it is dropped. Whoever feeds on the link notices long before that; this frees what is
/// left.
pub(super) const CONSENT_INTERVAL: Duration = Duration::from_secs(1);
pub(in crate::rtc) const CONSENT: (Duration, Duration) =
    (Duration::from_secs(4), Duration::from_secs(4));

/// SRTP packets an older one may be behind the newest: a repair asked over two hops is a second
/// old, which is 300 packets at 2.5 Mbit/s. The crate's default of 64 refuses them.
const REPLAY_WINDOW: usize = 4096;

/// Which ciphers are offered to protect media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rtc) enum Ciphers {
    /// AES-GCM first: 0.4 us per packet.
    Any,
    /// Nothing but AES-GCM. Browsers prefer the ten times slower HMAC-SHA1 when they may choose.
    GcmOnly,
}

/// What a link is made from.
pub(in crate::rtc) struct Seed<'a> {
    pub(in crate::rtc) key: LinkKey,
    /// Counts the engine's links, so that the newer of two at one address is known.
    pub(in crate::rtc) born: u64,
    pub(in crate::rtc) local: LocalTransport,
    pub(in crate::rtc) certificate: &'a RTCCertificate,
    pub(in crate::rtc) provider: &'a Arc<dyn RTCCryptoProvider>,
    pub(in crate::rtc) ciphers: Ciphers,
    /// Our RTCP source identifier.
    pub(in crate::rtc) reporter: u32,
    pub(in crate::rtc) addresses: &'a [SocketAddr],
    /// From the moment both descriptions are known until everything must be open.
    pub(in crate::rtc) connect_time: Duration,
    /// How long the peer may be silent until it counts as disconnected, and from then as gone.
    pub(in crate::rtc) consent: (Duration, Duration),
}

impl Link {
    /// A link that is about to offer, with data channels or media alone.
    pub(in crate::rtc) fn offering(
        now: Instant,
        seed: Seed<'_>,
        channels: bool,
    ) -> Result<Self, EngineError> {
        let mut link = Self::new(now, seed, RTCDtlsRole::Auto, channels)?;
        let offer = link.connection.create_offer(None)?;
        link.connection.set_local_description(now, offer)?;
        Ok(link)
    }

    /// A link that answers `remote` in role `setup`.
    pub(in crate::rtc) fn answering(
        now: Instant,
        seed: Seed<'_>,
        remote: &Remote,
        setup: Setup,
    ) -> Result<Self, EngineError> {
        let role = if setup == Setup::Active {
            RTCDtlsRole::Client
        } else {
            RTCDtlsRole::Server
        };
        let mut link = Self::new(now, seed, role, remote.channels.is_some())?;
        link.client = Some(role == RTCDtlsRole::Client);
        link.remote_ufrag.clone_from(&remote.ufrag);
        link.remote_pwd.clone_from(&remote.pwd);
        link.remote_fingerprint.clone_from(&remote.fingerprint);
        let offer = RTCSessionDescription::offer(transport_only(remote, remote.setup))?;
        link.connection.set_remote_description(now, offer)?;
        let answer = link.connection.create_answer(None)?;
        link.connection.set_local_description(now, answer)?;
        link.connecting(now);
        link.add_candidates(now, &remote.candidates);
        Ok(link)
    }

    fn new(
        now: Instant,
        seed: Seed<'_>,
        role: RTCDtlsRole,
        with_channels: bool,
    ) -> Result<Self, EngineError> {
        let profiles = match seed.ciphers {
            Ciphers::Any => vec![
                Profile::Srtp_Aead_Aes_128_Gcm,
                Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ],
            Ciphers::GcmOnly => vec![Profile::Srtp_Aead_Aes_128_Gcm],
        };
        let exported = Exported::default();
        let keys = Keys::new(Arc::clone(seed.provider), exported.clone());
        let (silent, gone) = seed.consent;
        let message = SctpMaxMessageSize::Bounded(MAX_PEER_MESSAGE as u32);
        let settings = SettingEngineBuilder::new()
            .with_ice_credentials(seed.local.ufrag.clone(), seed.local.pwd.clone())
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS_PER_PAIR))
            .with_ice_timeouts(Some(silent), Some(gone), Some(CONSENT_INTERVAL))
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_answering_dtls_role(role)
            .with_srtp_protection_profiles(profiles)
            .with_srtp_replay_protection_window(REPLAY_WINDOW)
            .with_sctp_max_message_size(message)
            .with_crypto_provider(Arc::new(keys))
            .build();
        let configuration = RTCConfigurationBuilder::new()
            .with_certificates(vec![seed.certificate.clone()])
            .build();
        let inbox = Inbox::default();
        let registry = Registry::new().with(Slot::Custom(SLOT), Tap::new(inbox.clone()));
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(now)?;
        let channels = with_channels
            .then(|| Channels::create(&mut connection))
            .transpose()?;
        let mut link = Self {
            key: seed.key,
            born: seed.born,
            local: seed.local,
            stage: Stage::Offering,
            media: Media::default(),
            cname: String::new(),
            former_sources: Vec::new(),
            renewing: false,
            queue: VecDeque::new(),
            queued: 0,
            deadline: None,
            fed: true,
            dirty: true,
            ended: None,
            relayed: false,
            gcm_only: seed.ciphers == Ciphers::GcmOnly,
            connection: Box::new(connection),
            inbox,
            channels,
            addresses: Vec::new(),
            peers: Vec::new(),
            gate: Gate::default(),
            sources: Vec::new(),
            source_forgotten: None,
            targets: Targets::default(),
            early: Early::default(),
            untried: Vec::new(),
            remote_ufrag: String::new(),
            remote_pwd: String::new(),
            remote_fingerprint: String::new(),
            later: Later::default(),
            migration: Migration::default(),
            consent: seed.consent,
            ice_up: false,
            secure: false,
            flight: Flight::default(),
            path: None,
            client: None,
            provider: Arc::clone(seed.provider),
            exported,
            sender: None,
            reporter: seed.reporter,
            next_report: None,
            checking_since: now,
            last_check: None,
            receives: false,
            unreadable: 0,
            readable_at: now,
            connect_time: seed.connect_time,
        };
        for address in seed.addresses {
            link.add_local(*address);
        }
        Ok(link)
    }

    /// Takes the parent's answer.
    pub(in crate::rtc) fn answered(
        &mut self,
        now: Instant,
        remote: &Remote,
    ) -> Result<(), EngineError> {
        let setup = if remote.setup == Setup::Passive {
            Setup::Passive
        } else {
            Setup::Active
        };
        let answer = RTCSessionDescription::answer(transport_only(remote, setup))?;
        self.connection.set_remote_description(now, answer)?;
        self.receives = true;
        self.remote_ufrag.clone_from(&remote.ufrag);
        self.remote_pwd.clone_from(&remote.pwd);
        self.connecting(now);
        self.add_candidates(now, &remote.candidates);
        let untried = std::mem::take(&mut self.untried);
        self.add_candidates(now, &untried);
        Ok(())
    }

    fn connecting(&mut self, now: Instant) {
        self.stage = Stage::Connecting(now + self.connect_time);
        self.checking_since = now;
        self.last_check = None;
        self.fed = true;
    }

    fn add_candidates(&mut self, now: Instant, candidates: &[String]) {
        for text in candidates {
            // One bad line among many is no reason to give up the others.
            if let Err(error) = self.add_candidate(now, text) {
                tracing::debug!(%error, "candidate in a session description");
            }
        }
    }

    /// Takes one of the peer's candidates; empty ends them.
    pub(in crate::rtc) fn add_candidate(
        &mut self,
        now: Instant,
        text: &str,
    ) -> Result<(), EngineError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let Some(remote) = candidate::remote(text)? else {
            return Ok(());
        };
        if self.stage == Stage::Offering {
            if self.untried.len() < MAX_CANDIDATES {
                self.untried.push(text.to_owned());
            }
            return Ok(());
        }
        if let Some(taken) = self.add_later_candidate(now, &remote) {
            return taken;
        }
        if self.peers.contains(&remote.addr) || self.peers.len() == MAX_CANDIDATES {
            return Ok(());
        }
        self.peers.push(remote.addr);
        let init = RTCIceCandidateInit {
            candidate: remote.line,
            ..Default::default()
        };
        self.connection.add_remote_candidate(init)?;
        self.checking_since = now;
        self.dirty = true;
        Ok(())
    }

    pub(super) fn add_local(&mut self, address: SocketAddr) {
        if self.addresses.contains(&address) {
            return;
        }
        self.later.add_local(address, self.addresses.len());
        self.add_local_as(address, candidate::host(address, self.addresses.len()));
    }

    /// Lets the link use our address at a TURN server, after all others.
    pub(in crate::rtc) fn add_relayed(&mut self, now: Instant, address: SocketAddr) {
        if self.addresses.contains(&address) {
            return;
        }
        self.add_local_as(address, candidate::relay_as_host(address));
        self.relayed = true;
        self.checking_since = now;
        self.dirty = true;
    }

    fn add_local_as(&mut self, address: SocketAddr, candidate: String) {
        self.addresses.push(address);
        let init = RTCIceCandidateInit {
            candidate,
            ..Default::default()
        };
        if let Err(error) = self.connection.add_local_candidate(init) {
            tracing::debug!(%error, %address, "local candidate");
        }
    }
}
