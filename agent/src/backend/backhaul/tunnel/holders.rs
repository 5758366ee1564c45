//! Who has the prefixes of each group of peers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::backhaul::config::TunnelConfig;
use crate::backend::backhaul::wanted::{self, ActivePeers, Group};

/// The peers of each group, with their priorities.
pub(super) fn groups(config: &TunnelConfig) -> BTreeMap<Group, Vec<(u8, &str)>> {
    let mut groups: BTreeMap<Group, Vec<(u8, &str)>> = BTreeMap::new();
    for peer in &config.peers {
        if let (Some(group), Some(priority)) = (wanted::group(peer), peer.priority) {
            groups
                .entry(group)
                .or_default()
                .push((priority, &peer.name));
        }
    }
    groups
}

/// Forgets who was asked for where priorities are not what they were; after a restart of the agent they are.
pub(super) fn retain_pins(
    pinned: &mut BTreeSet<String>,
    config: &TunnelConfig,
    before: Option<&TunnelConfig>,
) {
    let ranks = |config: &TunnelConfig, name: &str| -> Option<BTreeSet<(u8, String)>> {
        let members = groups(config)
            .into_values()
            .find(|members| members.iter().any(|(_, member)| *member == name))?;
        let members = members.into_iter();
        Some(
            members
                .map(|(rank, name)| (rank, name.to_owned()))
                .collect(),
        )
    };
    pinned.retain(|name| {
        let now = ranks(config, name);
        now.is_some() && before.is_none_or(|before| ranks(before, name) == now)
    });
}

/// Who has the prefixes of each group, and which groups nobody had before.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    pub(super) active: ActivePeers,
    /// Groups whose preferred peer has not answered yet: it need not hold out before it is given what is its own.
    pub(super) unsettled: BTreeSet<Group>,
}

impl Holders {
    /// Gives each group to a peer that is in it. Who has prefixes keeps them, also when they are others now; who was asked for gets
    /// those that nobody had; else the best gets them that answers, or that could.
    pub(super) fn settle(
        &mut self,
        config: &TunnelConfig,
        pinned: &BTreeSet<String>,
        answers: impl Fn(&str) -> bool,
    ) {
        let before = std::mem::take(self);
        for (group, members) in groups(config) {
            let is_member = |name: &str| members.iter().any(|(_, member)| *member == name);
            let has = before.active.get_key_value(&group);
            let elsewhere = || {
                let mut ranked = members.clone();
                ranked.sort_unstable();
                ranked.into_iter().find_map(|(_, member)| {
                    let mut held = before.active.iter();
                    held.find(|(_, holder)| *holder == member)
                })
            };
            let kept = match has {
                Some(held) => Some(held).filter(|(_, holder)| is_member(holder)),
                None => elsewhere(),
            };
            if let Some((earlier, holder)) = kept {
                if before.unsettled.contains(earlier) {
                    self.unsettled.insert(group.clone());
                }
                self.active.insert(group, holder.clone());
                continue;
            }
            let asked_for = members.iter().find(|(_, name)| pinned.contains(*name));
            let best = members
                .iter()
                .min_by_key(|(rank, name)| (!answers(name), *rank, *name));
            if let Some((_, name)) = asked_for.or(best) {
                if has.is_none() {
                    self.unsettled.insert(group.clone());
                }
                self.active.insert(group, (*name).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    /// Gateways by name, with their priority and prefix.
    fn config(gateways: &[(&str, u8, &str)]) -> TunnelConfig {
        let peer = |(name, priority, prefix): &(&str, u8, &str)| -> Value {
            let key = [*priority; 32].map(|octet| octet | 1);
            let key = STANDARD.encode(key);
            json!({ "name": name, "public-key": key, "allowed-prefix": [prefix], "priority": priority })
        };
        let peers: Vec<Value> = gateways.iter().map(peer).collect();
        let text =
            json!({ "slice": "cam", "role": "spoke", "address": ["10.77.0.9"], "peer": peers });
        serde_json::from_value(text).unwrap()
    }

    fn holders(holders: &Holders) -> Vec<&str> {
        holders.active.values().map(String::as_str).collect()
    }

    const TWO: [(&str, u8, &str); 2] = [("edge", 1, "10.0.0.0/8"), ("dc", 2, "10.0.0.0/8")];

    #[test]
    fn the_preferred_gets_what_nobody_had_whether_or_not_it_answers_yet() {
        let mut those = Holders::default();
        those.settle(&config(&TWO), &BTreeSet::new(), |_| false);
        assert_eq!(holders(&those), ["edge"]);
        assert_eq!(those.unsettled.len(), 1);
    }

    #[test]
    fn who_has_prefixes_keeps_them_when_they_are_others() {
        let mut those = Holders::default();
        those.settle(&config(&TWO), &BTreeSet::new(), |_| false);
        those.unsettled.clear();
        those
            .active
            .values_mut()
            .for_each(|one| *one = "dc".to_owned());
        let wider = TWO.map(|(name, rank, _)| (name, rank, "10.0.0.0/7"));
        those.settle(&config(&wider), &BTreeSet::new(), |_| true);
        assert_eq!(holders(&those), ["dc"]);
        assert!(those.unsettled.is_empty());
        // Whose choice was not settled is not by a change of prefixes.
        those.unsettled = those.active.keys().cloned().collect();
        those.settle(&config(&TWO), &BTreeSet::new(), |_| true);
        assert_eq!(holders(&those), ["dc"]);
        assert_eq!(those.unsettled.len(), 1);
    }

    #[test]
    fn where_the_holder_leaves_the_best_that_answers_follows() {
        let three = [TWO[0], TWO[1], ("far", 3, "10.0.0.0/8")];
        let mut those = Holders::default();
        those.settle(&config(&three), &BTreeSet::new(), |_| true);
        assert_eq!(holders(&those), ["edge"]);
        those.settle(&config(&three[1..]), &BTreeSet::new(), |name| name == "far");
        assert_eq!(holders(&those), ["far"]);
    }

    #[test]
    fn who_was_asked_for_has_them_after_a_restart_and_until_priorities_are_others() {
        let mut pinned = BTreeSet::from(["dc".to_owned()]);
        let before = config(&TWO);
        retain_pins(&mut pinned, &before, None);
        let mut those = Holders::default();
        those.settle(&before, &pinned, |_| false);
        assert_eq!(holders(&those), ["dc"]);
        let wider = config(&TWO.map(|(name, rank, _)| (name, rank, "10.0.0.0/7")));
        retain_pins(&mut pinned, &wider, Some(&before));
        assert_eq!(pinned.len(), 1);
        let turned = config(&TWO.map(|(name, rank, _)| (name, 3 - rank, "10.0.0.0/7")));
        retain_pins(&mut pinned, &turned, Some(&wider));
        assert!(pinned.is_empty());
        let mut gone = BTreeSet::from(["dc".to_owned()]);
        retain_pins(&mut gone, &config(&TWO[..1]), None);
        assert!(gone.is_empty());
    }
}
