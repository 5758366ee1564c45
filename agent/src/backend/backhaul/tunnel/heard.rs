//! Where peers were heard that call: a tunnel in userspace forgets it with its agent.
//!
//! Such a peer notices after 15 s only that nobody knows its session any more. The next agent calls it where it was heard last.

use std::collections::{BTreeMap, HashMap};

use super::Tunnel;
use crate::backend::backhaul::plane::BackendInUse;
use crate::backend::backhaul::wanted::{self, Side};

impl Tunnel {
    /// Writes it down where it is news.
    pub(super) async fn remember_endpoints(&mut self) {
        let (Some(config), Some(record)) = (&self.config, &self.record) else {
            return;
        };
        let calls = config.peers.iter().any(|peer| peer.endpoint.is_none());
        if !config.enabled || !calls || self.backend != Some(BackendInUse::Userspace) {
            return;
        }
        let Ok(observed) = self.shared.plane.observe(&self.slice).await else {
            return;
        };
        let name = record.current.interface(&self.prefix);
        let seen = observed.iter().filter(|one| one.name == name);
        let seen: HashMap<_, _> = seen
            .flat_map(|one| &one.peers)
            .filter_map(|peer| Some((peer.public_key, peer.endpoint?)))
            .collect();
        let mut heard = BTreeMap::new();
        for peer in &config.peers {
            let link = wanted::link(peer, record, Side::Current);
            let Some(link) = link.filter(|link| link.endpoint.is_none()) else {
                continue;
            };
            let key = link.public_key;
            let place = seen.get(&key).or_else(|| record.heard.get(&key));
            heard.extend(place.map(|place| (key, *place)));
        }
        let Some(record) = self.record.as_mut().filter(|it| it.heard != heard) else {
            return;
        };
        record.heard = heard;
        if let Err(error) = self.save().await {
            tracing::warn!(slice = self.slice, %error, "where peers were heard could not be written down");
        }
    }
}
