//! SSH (RFC 6242) as a transport: the only file that names `russh`, with the modules below it.

mod gather;
mod host_key;
mod stream;

pub(crate) mod client;
pub(crate) mod server;

pub use client::RawChannel;
pub use host_key::{HostKey, HostKeyPin};

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use russh::keys::{Algorithm, EcdsaCurve};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred, cipher, kex};

use super::{Receive, Transmit, TransportLost};

/// Bytes a peer may send on the channel before it waits for more room.
const WINDOW_BYTES: u32 = 256 << 10;
/// Packets that may wait between the connection and the session: with them full, TCP holds the peer back.
const CHANNEL_PACKETS: usize = 64;
/// The subsystem of RFC 6242 3.
const SUBSYSTEM: &str = "netconf";
/// How this implementation names itself (RFC 4253 4.2).
const SSH_ID: &str = concat!("SSH-2.0-tranche_", env!("CARGO_PKG_VERSION"));

const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// AES-GCM first: it is the cheapest where the processor helps.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

/// The hybrid first: what is recorded today is not to be read by a quantum computer later.
const KEXES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

fn preferred() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEXES),
        key: Cow::Borrowed(KEYS),
        cipher: Cow::Borrowed(CIPHERS),
        ..Preferred::DEFAULT
    }
}

/// When keys are exchanged again: an hour and up to ten minutes, lest many sessions do it at once.
fn rekey_limits() -> russh::Limits {
    let jitter = RandomState::new().build_hasher().finish() % 600;
    russh::Limits {
        rekey_time_limit: Duration::from_secs(3600 + jitter),
        ..Default::default()
    }
}

/// The receiving half of an SSH channel.
pub(crate) struct SshReceiver(ChannelReadHalf);

impl Receive for SshReceiver {
    async fn receive(&mut self) -> Option<Bytes> {
        loop {
            match self.0.wait().await? {
                ChannelMsg::Data { data } => return Some(data),
                ChannelMsg::Eof | ChannelMsg::Close => return None,
                _ => {}
            }
        }
    }
}

/// The transmitting half of an SSH channel; `M` is the library's message type of that side.
pub(crate) struct SshTransmitter<M: From<(ChannelId, ChannelMsg)>> {
    channel: ChannelWriteHalf<M>,
    side: Side,
}

/// Which side of the connection a channel is written from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl<M: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static> Transmit for SshTransmitter<M> {
    async fn transmit(&mut self, bytes: Bytes) -> Result<(), TransportLost> {
        self.channel
            .data_bytes(bytes)
            .await
            .map_err(|_| TransportLost)
    }

    async fn close(&mut self) {
        // The peer may be gone already: then there is nobody to tell.
        let told = async {
            self.channel.eof().await?;
            // Only a server has one to give (RFC 4254 6.10); the library's client panics on it.
            if self.side == Side::Server {
                self.channel.exit_status(0).await?;
            }
            self.channel.close().await
        };
        if let Err(error) = told.await {
            tracing::trace!(%error, "channel was closed already");
        }
    }
}
