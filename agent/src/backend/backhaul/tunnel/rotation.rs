//! Rotation of keys by a second interface: make before break.
//!
//! ```text
//!              rotate                  every peer shook hands        complete               silent for the overlap and some probes
//!   in force ----------> next, prepared ---------------------> ready ----------> retiring ------------------------> gone
//! ```
//! From `prepared` on both interfaces receive; routes decide which one sends. They move at `complete`, at each end on its own.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Tunnel;
use crate::backend::backhaul::config::TunnelConfig;
use crate::backend::backhaul::plane::{HANDSHAKES, ObservedInterface, PlaneError};
use crate::backend::backhaul::record::{Generation, Record};
use crate::backend::backhaul::state::{Event, OwnKeyState, Phase, RotationReason};
use crate::backend::backhaul::wanted::{self, Side};

/// Time between two packets that make an interface shake hands.
const NUDGE: Duration = Duration::from_millis(200);
/// Probes that are missing when an interface is silent, as far as they come within a time: whoever carries a rotation out waits for
/// its end.
const PROBES: u32 = 3;
const LONGEST: Duration = Duration::from_secs(10);

/// How long a rotation that is due is not prepared again after somebody has taken it back, of its interval in seconds: who did so
/// is not ready for it.
fn rest(interval_s: u32) -> Duration {
    let tenth = Duration::from_secs(interval_s.into()) / 10;
    tenth.clamp(Duration::from_secs(60), Duration::from_secs(3600))
}

/// How long nothing may have come out of an interface before it goes: for the overlap, and for some probes of who has not moved yet
/// and has nothing else to send.
fn silence(config: &TunnelConfig) -> Duration {
    let overlap = Duration::from_millis(config.rotation.overlap_ms.into());
    let probes = config.probe.map_or(0, |probe| probe.interval_ms);
    let probes = PROBES * Duration::from_millis(probes.into());
    overlap.max(probes.min(LONGEST))
}

/// Whether no packet came out of an interface between two looks.
fn is_silent(before: u64, now: u64) -> bool {
    let more = now.saturating_sub(before);
    more == 0 || HANDSHAKES.contains(&more)
}

impl Tunnel {
    pub(super) async fn rotate(&mut self, port: Option<u16>) -> Result<OwnKeyState, PlaneError> {
        self.prepare(port, RotationReason::Requested).await
    }

    async fn prepare(
        &mut self,
        port: Option<u16>,
        reason: RotationReason,
    ) -> Result<OwnKeyState, PlaneError> {
        let record = self.in_service()?;
        if let Some(next) = &record.next {
            return match port.filter(|port| *port != next.port) {
                Some(_) => Err(PlaneError::new(format!(
                    "a rotation with port {} is under way: complete or cancel it",
                    next.port
                ))),
                None => Ok(self.own_key(next)),
            };
        }
        if record.retiring.is_some() {
            let message = "the last rotation is not over: the old interface still receives";
            return Err(PlaneError::new(message));
        }
        if self.has_turned(record) {
            let message = "the last rotation is not written down: replace public-key and endpoint of the peers by what is in next, and delete that";
            return Err(PlaneError::new(message));
        }
        let port = match port {
            Some(port) => self.unused(port)?,
            None => {
                let is_taken = |port| self.unused(port).is_err();
                self.shared.plane.free_port(&is_taken)?
            }
        };
        let before = self.record.clone();
        let Some(record) = &mut self.record else {
            return Err(PlaneError::new("the tunnel has no key"));
        };
        record.last_epoch += 1;
        record.turned.clear();
        let next = Generation::new(record.last_epoch, port);
        record.next = Some(next.clone());
        let answer = self.own_key(&next);
        self.put(before).await?;
        self.announce(Event::RotationPrepared {
            slice: self.slice.clone(),
            own_key: answer.clone(),
            reason,
        });
        Ok(answer)
    }

    /// The port, if no tunnel of this node has it and no other one is configured to have it.
    fn unused(&self, port: u16) -> Result<u16, PlaneError> {
        let own = self.shared.own.read();
        let own = own.unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((slice, _)) = own.iter().find(|(_, own)| own.receives_at(port)) {
            return Err(PlaneError::new(format!(
                "the tunnel of slice {slice} receives at port {port}"
            )));
        }
        let mut others = own.iter().filter(|(slice, _)| **slice != self.slice);
        match others.find(|(_, own)| own.claims(port)) {
            Some((slice, _)) => Err(PlaneError::new(format!(
                "port {port} is the listen-port of the tunnel of slice {slice}"
            ))),
            None => Ok(port),
        }
    }

    pub(super) async fn complete_rotation(&mut self) -> Result<OwnKeyState, PlaneError> {
        let record = self.in_service()?;
        if record.next.is_none() {
            // Asked once more, as after an answer that was lost.
            return match self.has_turned(record) {
                true => Ok(self.own_key(&record.current)),
                false => Err(PlaneError::new(
                    "no rotation is under way: start one with rotate-key",
                )),
            };
        }
        let observed = self.shared.plane.observe(&self.slice).await?;
        if let Some(peer) = self.silent_on_next(&observed) {
            return Err(PlaneError::new(format!(
                "peer {peer} has not been heard on the second interface: traffic would be lost"
            )));
        }
        let before = self.record.clone();
        let Some(record) = &mut self.record else {
            return Err(PlaneError::new("the tunnel has no key"));
        };
        let Some(next) = record.next.take() else {
            return Err(PlaneError::new("no rotation is under way"));
        };
        record.retiring = Some(std::mem::replace(&mut record.current, next.clone()));
        let configured = self.config.iter().flat_map(|config| &config.peers);
        let next_keys = configured.filter_map(|peer| Some(peer.next.as_ref()?.public_key));
        record.turned = next_keys.collect();
        let answer = self.own_key(&next);
        self.put(before).await?;
        self.silence = None;
        Ok(answer)
    }

    pub(super) async fn cancel_rotation(&mut self) -> Result<(), PlaneError> {
        if self.in_service()?.next.is_none() {
            return Err(PlaneError::new("no rotation is under way"));
        }
        let before = self.record.clone();
        if let Some(record) = &mut self.record {
            record.next = None;
        }
        self.put(before).await?;
        let interval = self.config.as_ref().and_then(|one| one.rotation.interval_s);
        self.rotation_rests = interval.map(|interval| Instant::now() + rest(interval));
        Ok(())
    }

    /// Keeps the record and puts it in force; what was before comes back on an error.
    async fn put(&mut self, before: Option<Record>) -> Result<(), PlaneError> {
        let mut done = self.save().await;
        if done.is_ok() {
            done = self.refresh().await;
        }
        if let Err(error) = done {
            self.record = before;
            self.save().await?;
            self.refresh().await?;
            return Err(error);
        }
        self.wake(None);
        Ok(())
    }

    /// Whether a rotation is complete and nobody has written it down yet.
    fn has_turned(&self, record: &Record) -> bool {
        let configured = self.config.iter().flat_map(|config| &config.peers);
        let mut next = configured.filter_map(|peer| peer.next.as_ref());
        next.any(|next| record.turned.contains(&next.public_key))
    }

    fn in_service(&self) -> Result<&Record, PlaneError> {
        let is_enabled = self.config.as_ref().is_some_and(|config| config.enabled);
        match &self.record {
            Some(record) if is_enabled => Ok(record),
            _ => Err(PlaneError::new("the tunnel is not in service")),
        }
    }

    /// A peer that has not shaken hands on the second interface.
    fn silent_on_next(&self, observed: &[ObservedInterface]) -> Option<&str> {
        let (config, record) = (self.config.as_ref()?, self.record.as_ref()?);
        let name = record.next.as_ref()?.interface(&self.prefix);
        let interface = observed.iter().find(|one| one.name == name);
        let silent = config.peers.iter().find(|peer| {
            let Some(link) = wanted::link(peer, record, Side::Next) else {
                return true;
            };
            let peers = interface.iter().flat_map(|one| &one.peers);
            let mut of_key = peers.filter(|one| one.public_key == link.public_key);
            of_key.all(|one| one.latest_handshake.is_none())
        });
        silent.map(|peer| peer.name.as_str())
    }

    pub(super) fn phase(&self, observed: &[ObservedInterface]) -> Phase {
        match self.silent_on_next(observed) {
            Some(_) => Phase::Prepared,
            None => Phase::Ready,
        }
    }

    /// Prepares a rotation if the key is old enough.
    pub(super) async fn rotate_if_due(&mut self) {
        let (Some(config), Ok(record)) = (&self.config, self.in_service()) else {
            return;
        };
        let Some(interval) = config.rotation.interval_s else {
            return;
        };
        let rests = self.rotation_rests;
        if rests.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let age = SystemTime::now().duration_since(record.current.made());
        let is_due = age.unwrap_or_default() >= Duration::from_secs(interval.into());
        let is_over = record.next.is_none() && record.retiring.is_none();
        if !is_due || !is_over || self.has_turned(record) {
            return;
        }
        if let Err(error) = self.prepare(None, RotationReason::Due).await {
            tracing::warn!(slice = self.slice, %error, "a rotation that is due could not be prepared");
        }
    }

    /// What a rotation that is under way needs from time to time; when to come back.
    pub(super) async fn step_rotation(&mut self, now: Instant) -> Option<Instant> {
        let record = self.in_service().ok()?;
        if let Some(next) = record
            .next
            .as_ref()
            .map(|next| next.interface(&self.prefix))
        {
            self.nudge_peers(&next);
            return Some(now + NUDGE);
        }
        record.retiring.as_ref()?;
        let silence = silence(self.config.as_ref()?);
        if let Err(error) = self.retire(silence, now).await {
            tracing::warn!(slice = self.slice, %error, "the old interface could not be removed: it is tried again");
        }
        // A handshake is told from packets only where no other one comes between two looks.
        Some(now + (silence / 4).clamp(Duration::from_millis(25), Duration::from_secs(1)))
    }

    fn nudge_peers(&self, interface: &str) {
        let (Some(config), Some(record)) = (&self.config, &self.record) else {
            return;
        };
        for peer in &config.peers {
            let address = peer.tunnel_address;
            let behind = || wanted::prefixes(peer).first().map(|prefix| prefix.address);
            let calls =
                wanted::link(peer, record, Side::Next).is_some_and(|link| link.endpoint.is_some());
            if let Some(to) = address.or_else(behind).filter(|_| calls) {
                self.shared.plane.nudge(&self.slice, interface, to);
            }
        }
    }

    /// Removes the old interface once nothing has come out of it for so long.
    async fn retire(&mut self, silence: Duration, now: Instant) -> Result<(), PlaneError> {
        let Some(retiring) = self
            .record
            .as_ref()
            .and_then(|record| record.retiring.as_ref())
        else {
            return Ok(());
        };
        let name = retiring.interface(&self.prefix);
        let observed = self.shared.plane.observe(&self.slice).await?;
        if let Some(interface) = observed.iter().find(|one| one.name == name) {
            let content = interface.rx_content;
            let (since, heard) = self.silence.unwrap_or((now, content));
            let since = if is_silent(heard, content) {
                since
            } else {
                now
            };
            self.silence = Some((since, content));
            if now.duration_since(since) < silence {
                return Ok(());
            }
        }
        let before = self.record.clone();
        let Some(record) = &mut self.record else {
            return Ok(());
        };
        record.retiring = None;
        let (epoch, public_key) = (record.current.epoch, record.current.key.public());
        self.put(before).await?;
        self.silence = None;
        self.announce(Event::RotationComplete {
            slice: self.slice.clone(),
            epoch,
            public_key,
        });
        Ok(())
    }

    /// What the others need to know of a key.
    pub(super) fn own_key(&self, generation: &Generation) -> OwnKeyState {
        OwnKeyState {
            epoch: generation.epoch,
            public_key: generation.key.public(),
            listen_port: generation.port,
            interface: generation.interface(&self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::backhaul::plane::{EMPTY, PADDING};

    #[test]
    fn what_keeps_an_interface_alive_is_silence_and_no_packet_is() {
        // As the kernel counts them: messages and their octets.
        let content = |messages: &[u64]| {
            let count = u64::try_from(messages.len()).unwrap();
            messages.iter().sum::<u64>() - count * EMPTY
        };
        let keepalive = EMPTY;
        for silence in [&[][..], &[keepalive, keepalive], &[148, keepalive], &[92]] {
            assert!(is_silent(7, 7 + content(silence)), "{silence:?}");
        }
        for packet in 1..=9000_u64 {
            let message = EMPTY + packet.next_multiple_of(PADDING);
            for with in [&[message][..], &[message, keepalive], &[message, 148]] {
                assert!(!is_silent(7, 7 + content(with)), "{with:?}");
            }
        }
    }

    #[test]
    fn an_interface_is_silent_when_some_probes_are_missing_but_not_for_ever() {
        let tunnel = |overlap: u32, probe: Option<u32>| {
            let probe = probe.map(|interval| serde_json::json!({ "interval": interval, "misses": 3, "hold-down": 30 }));
            let tunnel = serde_json::json!({
                "slice": "a", "role": "hub", "rotation": { "overlap": overlap }, "probe": probe,
            });
            silence(&serde_json::from_value(tunnel).unwrap()).as_millis()
        };
        assert_eq!(tunnel(500, None), 500);
        assert_eq!(tunnel(500, Some(50)), 500);
        assert_eq!(tunnel(500, Some(1000)), 3000);
        assert_eq!(tunnel(500, Some(60_000)), 10_000);
        assert_eq!(tunnel(600_000, Some(60_000)), 600_000);
    }

    #[test]
    fn who_took_a_rotation_back_has_a_tenth_of_its_interval_but_a_minute_at_least_and_an_hour_at_most()
     {
        for (interval_s, rests_s) in [(60, 60), (601, 60), (6000, 600), (31_536_000, 3600)] {
            assert_eq!(rest(interval_s).as_secs(), rests_s, "{interval_s}");
        }
    }
}
