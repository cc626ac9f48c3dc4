//! The floor: what encrypting a packet and handing it to the kernel costs by themselves, with the
//! parts the engine is built from. Nothing that forwards over SRTP can cost less.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use quinn_udp::{Transmit, UdpSocketState};
use rtc::rtp::header::Header;
use rtc::shared::marshal::Marshal;
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use socket2::SockRef;

use crate::cpu::{Cpu, Spent};
use crate::pipe::{Children, News, Order, Report};
use crate::stream::{FRAME, PACKETS_PER_FRAME, SSRC, packets};

/// The floor at one number of children.
pub(crate) struct Floor {
    pub(crate) cpu: Spent,
    pub(crate) sent: u64,
    /// Encrypting alone, without a system call.
    pub(crate) protect: Duration,
    pub(crate) protected: u64,
    pub(crate) report: Report,
}

/// Sends the stream to `count` plain sockets for `time`.
pub(crate) async fn measure(count: u16, time: Duration) -> Result<Floor> {
    let mut children = Children::start()?;
    children.tell(&Order::Sink { count })?;
    let Some(News::Ports(ports)) = children.news.recv().await else {
        anyhow::bail!("the children opened no sockets");
    };
    let mut peers = ports
        .into_iter()
        .map(|port| Ok((SocketAddr::from((Ipv4Addr::LOCALHOST, port)), context()?)))
        .collect::<Result<Vec<_>>>()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_send_buffer_size(8 << 20)?;
    let state = UdpSocketState::new((&socket).into())?;

    let begin = Instant::now();
    let cpu = Cpu::thread()?;
    let (mut frame, mut sent) = (0, 0);
    let mut scratch = Vec::new();
    while begin.elapsed() < time {
        let plain = frame_bytes(frame)?;
        for (peer, context) in &mut peers {
            scratch.clear();
            let mut size = 0;
            for (bytes, header) in &plain {
                let protected = context.encrypt_rtp_with_header(bytes, header)?;
                size = protected.len();
                scratch.extend_from_slice(&protected);
            }
            let transmit = Transmit {
                destination: *peer,
                ecn: None,
                contents: &scratch,
                segment_size: Some(size),
                src_ip: None,
            };
            state
                .try_send((&socket).into(), &transmit)
                .context("send")?;
            sent += plain.len() as u64;
        }
        frame += 1;
        tokio::time::sleep_until((begin + FRAME * frame).into()).await;
    }
    let cpu = Cpu::thread()?.since(cpu);
    let (protect, protected) = protect(&mut peers, frame)?;
    let report = children.report().await?;
    Ok(Floor {
        cpu,
        sent,
        protect,
        protected,
        report,
    })
}

/// Encrypts a few frames for everybody, as often as makes 20 000 packets.
fn protect(peers: &mut [(SocketAddr, Context)], frame: u32) -> Result<(Duration, u64)> {
    let rounds = 20_000 / (peers.len() as u64 * PACKETS_PER_FRAME) + 1;
    let mut protected = 0;
    let mut scratch = Vec::new();
    let cpu = Cpu::thread()?;
    for round in 0..rounds {
        let plain = frame_bytes(frame + round as u32)?;
        for (_, context) in &mut *peers {
            scratch.clear();
            for (bytes, header) in &plain {
                scratch.extend_from_slice(&context.encrypt_rtp_with_header(bytes, header)?);
                protected += 1;
            }
        }
    }
    Ok((Cpu::thread()?.since(cpu).total(), protected))
}

/// A frame's packets as they are encrypted; the same for all children.
fn frame_bytes(frame: u32) -> Result<Vec<(BytesMut, Header)>> {
    packets(frame)
        .iter()
        .map(|packet| {
            let header = Header {
                version: 2,
                marker: packet.marker,
                payload_type: 96,
                sequence_number: (packet.seq & 0xFFFF) as u16,
                timestamp: packet.timestamp,
                ssrc: SSRC,
                ..Default::default()
            };
            let whole = rtc::rtp::Packet {
                header: header.clone(),
                payload: packet.payload.clone(),
            };
            Ok((whole.marshal()?, header))
        })
        .collect()
}

fn context() -> Result<Context> {
    let provider = rtc::crypto::default_provider()?;
    let profile = ProtectionProfile::AeadAes128Gcm;
    let (key, salt) = (rand::random::<[u8; 16]>(), rand::random::<[u8; 12]>());
    Ok(Context::new(
        &key,
        &salt,
        profile,
        None,
        None,
        provider.crypto(),
    )?)
}
