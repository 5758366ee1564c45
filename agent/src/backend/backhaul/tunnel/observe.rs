//! What a tunnel looks like from outside.

use tranche_yang::clock::rfc3339;

use super::Tunnel;
use crate::backend::backhaul::PeerState;
use crate::backend::backhaul::config::PeerConfig;
use crate::backend::backhaul::key::PublicKey;
use crate::backend::backhaul::plane::{ObservedInterface, ObservedPeer, PlaneError};
use crate::backend::backhaul::record::{Generation, Record};
use crate::backend::backhaul::state::{NextState, PeerObservation, TunnelState};
use crate::backend::backhaul::wanted::{self, Side};

impl Tunnel {
    /// The state of the tunnel, with what the machine says of it; none of one that is not configured.
    pub(super) async fn observe(&mut self) -> Result<Option<TunnelState>, PlaneError> {
        if self.config.is_none() {
            return Ok(None);
        }
        let observed = self.shared.plane.observe(&self.slice).await?;
        self.judge_handshakes(&observed);
        let (Some(config), Some(record)) = (&self.config, &self.record) else {
            return Ok(None);
        };
        // What was brought up is what is said to be there.
        let is_there = |generation: &Generation| {
            let public_key = generation.key.public();
            observed.iter().any(|one| one.public_key == public_key)
        };
        let next = record.next.as_ref().filter(|next| is_there(next));
        let retiring = record.retiring.as_ref().filter(|one| is_there(one));
        let peers = config.peers.iter();
        Ok(Some(TunnelState {
            slice: self.slice.clone(),
            own_key: Some(self.own_key(&record.current)),
            oper_state: self.oper_state(),
            last_error: self.last_error.clone(),
            backend_in_use: self.backend.filter(|_| is_there(&record.current)),
            namespace: self.shared.plane.namespace(&self.slice),
            segment_mtu: wanted::segment_mtu(config),
            key_made: Some(rfc3339(record.current.made())),
            next: next.map(|next| NextState {
                own_key: self.own_key(next),
                phase: self.phase(&observed),
            }),
            retiring: retiring.map(|one| self.own_key(one)),
            peers: peers
                .map(|peer| self.observe_peer(peer, record, &observed))
                .collect(),
        }))
    }

    fn observe_peer(
        &self,
        peer: &PeerConfig,
        record: &Record,
        observed: &[ObservedInterface],
    ) -> PeerObservation {
        let on = |generation: Option<&Generation>, side| {
            let link = wanted::link(peer, record, side)?;
            find(
                observed,
                &generation?.interface(&self.prefix),
                link.public_key,
            )
        };
        let current = on(Some(&record.current), Side::Current);
        let next = on(record.next.as_ref(), Side::Next);
        let health = self.health.get(&peer.name);
        let handshake = |seen: &ObservedPeer| seen.latest_handshake.map(rfc3339);
        let micros = |round_trip: std::time::Duration| {
            u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX)
        };
        // The host route to the peer itself is no prefix of its.
        let prefixes = wanted::prefixes(peer);
        let active = current.iter().flat_map(|seen| &seen.allowed);
        let active = active.filter(|prefix| prefixes.contains(prefix));
        PeerObservation {
            name: peer.name.clone(),
            state: self
                .states
                .get(&peer.name)
                .copied()
                .unwrap_or(PeerState::Down),
            latest_handshake: current.and_then(handshake),
            next_handshake: next.and_then(handshake),
            endpoint: current.and_then(|seen| seen.endpoint).map(Into::into),
            tx_bytes: current.map_or(0, |seen| seen.tx_bytes),
            rx_bytes: current.map_or(0, |seen| seen.rx_bytes),
            probe_rtt_us: health.and_then(|health| health.round_trip()).map(micros),
            probe_loss: health.and_then(|health| health.loss()),
            active_prefixes: active.copied().collect(),
        }
    }
}

fn find<'a>(
    observed: &'a [ObservedInterface],
    interface: &str,
    key: PublicKey,
) -> Option<&'a ObservedPeer> {
    let interface = observed.iter().find(|one| one.name == interface)?;
    interface.peers.iter().find(|one| one.public_key == key)
}
