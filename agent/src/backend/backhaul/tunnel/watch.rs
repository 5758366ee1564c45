//! Probes, the state of peers, and failover.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::holders::{self, groups};
use super::{Reply, Tunnel};
use crate::backend::backhaul::ProbeRequest;
use crate::backend::backhaul::config::{PeerConfig, TunnelConfig};
use crate::backend::backhaul::health::{self, Candidate, FailoverReason, Health, PeerState};
use crate::backend::backhaul::plane::{ObservedInterface, PlaneError};
use crate::backend::backhaul::state::{Event, ProbeResult};
use crate::backend::backhaul::wanted::{self, Group, Side};

/// How long an answer may take at all. One that comes after the time between two probes is late, but an answer.
const LATEST: Duration = Duration::from_secs(2);
/// Age of a handshake at which WireGuard makes a new one at the latest if there is traffic (Reject-After-Time).
const HANDSHAKE_AGE: Duration = Duration::from_secs(180);

impl Tunnel {
    /// Gives each group of peers to one of them.
    pub(super) async fn settle(&mut self, before: Option<&TunnelConfig>) -> Result<(), PlaneError> {
        let (Some(config), Some(record)) = (&self.config, &mut self.record) else {
            return Ok(());
        };
        let pinned = record.pinned.len();
        holders::retain_pins(&mut record.pinned, config, before);
        let answers = |name: &str| {
            let state = self.states.get(name);
            matches!(state, Some(PeerState::Active | PeerState::Warm))
        };
        self.holders.settle(config, &record.pinned, answers);
        match record.pinned.len() == pinned {
            true => Ok(()),
            false => self.save().await,
        }
    }

    /// Starts what a tunnel in service does by itself. `before` is what was configured before.
    pub(super) fn wake(&mut self, before: Option<&TunnelConfig>) {
        let now = Instant::now();
        let Some(config) = &self.config else { return };
        if before.is_some_and(|before| before.probe != config.probe) {
            // What was heard at another pace says nothing of silence at this one.
            self.health.values_mut().for_each(|one| one.forgive(now));
            self.next_probe = None;
        }
        let is_probed = |peer: &&PeerConfig| peer.tunnel_address.is_some();
        let probed = config.peers.iter().filter(is_probed);
        let names: BTreeSet<&str> = probed
            .filter(|_| config.probe.is_some())
            .map(|peer| peer.name.as_str())
            .collect();
        self.health.retain(|name, _| names.contains(name.as_str()));
        self.states.retain(|name, _| config.peer(name).is_some());
        for name in &names {
            let new = || Health::new(now);
            self.health.entry((*name).to_owned()).or_insert_with(new);
        }
        self.next_probe = match names.is_empty() {
            true => None,
            false => Some(self.next_probe.unwrap_or(now)),
        };
        let rotates = self.record.as_ref();
        let rotates = rotates.is_some_and(|one| one.next.is_some() || one.retiring.is_some());
        self.next_rotation = rotates.then(|| self.next_rotation.unwrap_or(now));
    }

    /// Stops it.
    pub(super) fn rest(&mut self) {
        (self.next_probe, self.next_rotation, self.silence) = (None, None, None);
        self.health.clear();
        self.probes.clear();
    }

    /// Knows again who had the prefixes, after a restart of the agent.
    pub(super) async fn adopt(&mut self, config: &TunnelConfig) -> Result<(), PlaneError> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let observed = self.shared.plane.observe(&self.slice).await?;
        let name = record.current.interface(&self.prefix);
        let Some(interface) = observed.iter().find(|one| one.name == name) else {
            return Ok(());
        };
        for (group, members) in groups(config) {
            let holder = members.into_iter().map(|(_, name)| name).find(|name| {
                let link = config
                    .peer(name)
                    .and_then(|peer| wanted::link(peer, record, Side::Current));
                let seen = interface.peers.iter();
                let mut seen = seen.filter(|one| {
                    link.as_ref()
                        .is_some_and(|link| link.public_key == one.public_key)
                });
                seen.any(|one| group.iter().all(|prefix| one.allowed.contains(prefix)))
            });
            if let Some(holder) = holder {
                self.holders.active.insert(group, holder.to_owned());
            }
        }
        Ok(())
    }

    pub(super) async fn tick(&mut self) {
        let now = Instant::now();
        if self.next_probe.is_some_and(|at| at <= now) {
            self.excuse(now);
            self.send_probes(now);
            self.judge(now).await;
        }
        if self.next_rotation.is_some_and(|at| at <= now) {
            self.next_rotation = self.step_rotation(now).await;
        }
        if self.next_slow <= now {
            self.next_slow = now + self.shared.pace.slow;
            self.rotate_if_due().await;
            self.look_at_handshakes().await;
            self.remember_endpoints().await;
        }
        if self.next_check <= now {
            self.next_check = now + self.shared.pace.check;
            self.repair().await;
        }
    }

    /// While a tunnel is changed, or the machine does something else, nobody is asked: nobody has to answer then.
    fn excuse(&mut self, now: Instant) {
        if let Some(due) = self.next_probe
            && let Some(pause) = now.checked_duration_since(due)
        {
            self.health
                .values_mut()
                .for_each(|health| health.excuse(pause, now));
            self.next_probe = Some(now);
        }
    }

    fn send_probes(&mut self, now: Instant) {
        let Some((config, probe)) = self.config.as_ref().and_then(|one| Some((one, one.probe?)))
        else {
            self.next_probe = None;
            return;
        };
        for peer in &config.peers {
            let Some(to) = peer.tunnel_address else {
                continue;
            };
            let (name, plane) = (peer.name.clone(), &self.shared.plane);
            let probe = plane.probe(&self.slice, to, LATEST);
            self.probes
                .push(Box::pin(async move { (name, probe.await) }));
        }
        let interval = Duration::from_millis(probe.interval_ms.into());
        let next = self.next_probe.map_or(now, |at| at + interval);
        // What could not be sent in time is not made up for.
        self.next_probe = Some(if next <= now { now + interval } else { next });
    }

    pub(super) async fn heard(&mut self, peer: &str, round_trip: Option<Duration>) {
        let now = Instant::now();
        self.excuse(now);
        if let Some(health) = self.health.get_mut(peer) {
            health.take(round_trip, now);
            if round_trip.is_some() {
                self.judge(now).await;
            }
        }
    }

    /// Moves prefixes away from who does not answer, and says what became of the peers.
    async fn judge(&mut self, now: Instant) {
        for (group, to, reason) in self.moves(now) {
            if let Err(error) = self.give(group, &to, reason).await {
                tracing::error!(slice = self.slice, peer = to, %error, "prefixes could not be moved");
            }
        }
        self.update_states(now);
    }

    fn moves(&mut self, now: Instant) -> Vec<(Group, String, FailoverReason)> {
        let Some((config, probe)) = self.config.as_ref().and_then(|one| Some((one, one.probe?)))
        else {
            return Vec::new();
        };
        let mut moves = Vec::new();
        let groups = groups(config);
        for (group, members) in groups {
            let active = self.holders.active.get(&group).map_or("", String::as_str);
            let pinned = self.record.as_ref().map(|record| &record.pinned);
            let is_pinned = pinned.is_some_and(|pinned| pinned.contains(active));
            if is_pinned {
                self.holders.unsettled.remove(&group);
            }
            let is_unsettled = self.holders.unsettled.contains(&group);
            let mut candidates = Vec::new();
            for (priority, name) in members {
                let Some(health) = self.health.get_mut(name) else {
                    continue;
                };
                candidates.push(Candidate {
                    name,
                    priority,
                    answers: health.answers(&probe, now),
                    is_known: health.is_known(&probe, now),
                    has_held: is_unsettled || health.has_held(&probe, now),
                });
            }
            if health::is_settled(&candidates, active) {
                self.holders.unsettled.remove(&group);
            }
            if let Some((to, reason)) = health::choose(&candidates, active, is_pinned) {
                moves.push((group, to.to_owned(), reason));
            }
        }
        moves
    }

    /// Gives the prefixes of a group to a peer.
    async fn give(
        &mut self,
        group: Group,
        to: &str,
        reason: FailoverReason,
    ) -> Result<Option<String>, PlaneError> {
        let before = self.holders.clone();
        let from = self.holders.active.insert(group.clone(), to.to_owned());
        if let Err(error) = self.refresh().await {
            self.holders = before;
            return Err(error);
        }
        let asked_for = (reason == FailoverReason::Requested).then_some(to);
        let kept = self.pin(&group, asked_for).await;
        self.announce(Event::Failover {
            slice: self.slice.clone(),
            from: from.clone(),
            to: to.to_owned(),
            reason,
        });
        kept.map(|()| from)
    }

    /// Remembers that a peer of a group was asked for, or that none is any more.
    async fn pin(&mut self, group: &Group, peer: Option<&str>) -> Result<(), PlaneError> {
        let (Some(config), Some(record)) = (&self.config, &mut self.record) else {
            return Ok(());
        };
        let before = record.pinned.clone();
        for (_, member) in groups(config).get(group).into_iter().flatten() {
            record.pinned.remove(*member);
        }
        record.pinned.extend(peer.map(str::to_owned));
        match record.pinned == before {
            true => Ok(()),
            false => self.save().await,
        }
    }

    pub(super) async fn switch_over(&mut self, name: &str) -> Result<Option<String>, PlaneError> {
        let now = Instant::now();
        self.excuse(now);
        let config = self.config.as_ref().filter(|config| config.enabled);
        let config = config.ok_or_else(|| PlaneError::new("the tunnel is not in service"))?;
        let peer = config.peer(name);
        let peer = peer.ok_or_else(|| PlaneError::new(format!("there is no peer {name}")))?;
        let Some(group) = wanted::group(peer) else {
            let message = format!("peer {name} has no priority: nobody stands in for it");
            return Err(PlaneError::new(message));
        };
        let has = self.holders.active.get(&group);
        if has.is_some_and(|has| has == name) {
            self.pin(&group, Some(name)).await?;
            return Ok(Some(name.to_owned()));
        }
        let probe = config.probe;
        let health = self.health.get_mut(name);
        let answers = health
            .zip(probe)
            .is_some_and(|(health, probe)| health.answers(&probe, now));
        if !answers {
            return Err(PlaneError::new(format!("peer {name} does not answer")));
        }
        let from = self.give(group, name, FailoverReason::Requested).await;
        self.update_states(now);
        from
    }

    /// Works out the state of the peers that are probed, and announces what changed.
    fn update_states(&mut self, now: Instant) {
        let Some((config, probe)) = self.config.as_ref().and_then(|one| Some((one, one.probe?)))
        else {
            return;
        };
        let mut found = Vec::new();
        for peer in &config.peers {
            let has_prefixes = self.has_prefixes(peer);
            let Some(health) = self.health.get_mut(&peer.name) else {
                continue;
            };
            let stands_alone = wanted::group(peer).is_none();
            let state = match (health.answers(&probe, now), has_prefixes) {
                (true, true) => PeerState::Active,
                (true, false) => PeerState::Warm,
                (false, _) if !health.is_known(&probe, now) => continue,
                (false, true) if !stands_alone && health.round_trip().is_some() => PeerState::Stale,
                (false, _) => PeerState::Down,
            };
            found.push((peer.name.clone(), state));
        }
        for (peer, state) in found {
            self.set_state(&peer, state);
        }
    }

    fn has_prefixes(&self, peer: &PeerConfig) -> bool {
        let has = |group| self.holders.active.get(&group) == Some(&peer.name);
        wanted::group(peer).is_none_or(has)
    }

    fn set_state(&mut self, peer: &str, to: PeerState) {
        let from = self.states.insert(peer.to_owned(), to);
        let from = from.unwrap_or(PeerState::Down);
        if from != to {
            self.announce(Event::PeerStateChange {
                slice: self.slice.clone(),
                peer: peer.to_owned(),
                from,
                to,
            });
        }
    }

    /// The state of peers without probes is that of their handshakes.
    async fn look_at_handshakes(&mut self) {
        let Some(config) = self.config.as_ref().filter(|config| config.enabled) else {
            return;
        };
        if config
            .peers
            .iter()
            .all(|peer| self.health.contains_key(&peer.name))
        {
            return;
        }
        match self.shared.plane.observe(&self.slice).await {
            Ok(observed) => self.judge_handshakes(&observed),
            Err(error) => {
                tracing::debug!(slice = self.slice, %error, "a tunnel cannot be observed")
            }
        }
    }

    pub(super) fn judge_handshakes(&mut self, observed: &[ObservedInterface]) {
        let (Some(config), Some(record)) = (&self.config, &self.record) else {
            return;
        };
        let name = record.current.interface(&self.prefix);
        let interface = observed.iter().find(|one| one.name == name);
        let unprobed = config
            .peers
            .iter()
            .filter(|peer| !self.health.contains_key(&peer.name));
        let found = unprobed.map(|peer| {
            let link = wanted::link(peer, record, Side::Current);
            let mut seen = interface.iter().flat_map(|one| &one.peers);
            let seen = seen.find(|one| {
                link.as_ref()
                    .is_some_and(|link| link.public_key == one.public_key)
            });
            let handshake = seen.and_then(|seen| seen.latest_handshake);
            let age = handshake.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            let state = match age {
                Some(age) if age <= HANDSHAKE_AGE => PeerState::Active,
                Some(_) => PeerState::Stale,
                None => PeerState::Down,
            };
            (peer.name.clone(), state)
        });
        for (peer, state) in found.collect::<Vec<_>>() {
            self.set_state(&peer, state);
        }
    }

    /// Probes without keeping anybody else waiting.
    pub(super) fn probe(&self, request: &ProbeRequest, reply: Reply<Vec<ProbeResult>>) {
        let targets = match self.targets(request) {
            Ok(targets) => targets,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let (count, timeout) = (request.count, request.timeout);
        let probes = targets.into_iter().map(|(name, to)| {
            let (plane, slice) = (
                std::sync::Arc::clone(&self.shared.plane),
                self.slice.clone(),
            );
            async move {
                let mut result = ProbeResult {
                    name,
                    sent: 0,
                    received: 0,
                    rtt_us: None,
                };
                for _ in 0..count {
                    result.sent += 1;
                    let Some(round_trip) = plane.probe(&slice, to, timeout).await else {
                        continue;
                    };
                    result.received += 1;
                    let us = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
                    result.rtt_us = Some(result.rtt_us.map_or(us, |best| best.min(us)));
                }
                result
            }
        });
        let all = futures_util::future::join_all(probes);
        // Ends by itself after count x timeout at the latest; who asked may be gone by then.
        tokio::spawn(async move { drop(reply.send(Ok(all.await))) });
    }

    fn targets(
        &self,
        request: &ProbeRequest,
    ) -> Result<Vec<(String, std::net::IpAddr)>, PlaneError> {
        let config = self.config.as_ref().filter(|config| config.enabled);
        let config = config.ok_or_else(|| PlaneError::new("the tunnel is not in service"))?;
        if config.management.is_some() {
            let message = "a management tunnel is not probed: its handshakes say who is there";
            return Err(PlaneError::new(message));
        }
        let with_address = |peer: &PeerConfig| Some((peer.name.clone(), peer.tunnel_address?));
        let Some(name) = &request.peer else {
            return Ok(config.peers.iter().filter_map(with_address).collect());
        };
        let peer = config.peer(name);
        let peer = peer.ok_or_else(|| PlaneError::new(format!("there is no peer {name}")))?;
        let target = with_address(peer);
        target
            .map(|one| vec![one])
            .ok_or_else(|| PlaneError::new(format!("peer {name} has no tunnel-address to probe")))
    }
}
