//! What one node should have: to be rendered as an edit, and to be compared with what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tranche_netconf::xml::Fragment;
use tranche_steering::SteeringConfig;

use crate::inventory::{Observed, VifName};

use super::steering_edit;
use super::tunnel::{BACKHAUL, Keys, Stage};
use super::tunnels::Tunnels;
use super::vif::leaf;
use super::{ProfileConfig, RAN, TunnelConfig, VifConfig};

/// The vifs, slice profiles, tunnels and steering of ours that a node should have; no others of ours. What is not ours is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// Wanted vifs by name.
    pub vifs: BTreeMap<VifName, VifConfig>,
    /// Wanted slice profiles by name.
    pub profiles: BTreeMap<String, ProfileConfig>,
    /// Wanted tunnels by slice.
    pub tunnels: Tunnels,
    /// Wanted steering, all of it ours.
    pub steering: SteeringConfig,
}

/// How a tunnel or slice profile differs from what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartDrift {
    /// Wanted and not there.
    Missing,
    /// There and different.
    Different,
    /// There and not wanted.
    Surplus,
}

impl PartDrift {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Surplus => "not wanted",
        }
    }
}

/// How what a node has differs from what it should have; only what is ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Wanted and not there.
    pub missing: BTreeSet<VifName>,
    /// There and different.
    pub different: BTreeSet<VifName>,
    /// There and not wanted.
    pub surplus: BTreeSet<VifName>,
    /// Tunnels that differ, by slice.
    pub tunnels: BTreeMap<String, PartDrift>,
    /// Slice profiles that differ, by name.
    pub profiles: BTreeMap<String, PartDrift>,
    /// What differs of steering, in words.
    pub steering: Vec<String>,
}

impl Drift {
    /// Whether the node has what it should have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let no_vif =
            self.missing.is_empty() && self.different.is_empty() && self.surplus.is_empty();
        let none = self.tunnels.is_empty() && self.profiles.is_empty();
        no_vif && none && self.steering.is_empty()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("missing", &self.missing),
            ("different", &self.different),
            ("not wanted", &self.surplus),
        ];
        let mut first = true;
        for (what, names) in parts.into_iter().filter(|(_, names)| !names.is_empty()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let comma = if first { "" } else { "; " };
            write!(f, "{comma}{what}: {}", names.join(", "))?;
            first = false;
        }
        let tunnels = self.tunnels.iter().map(|part| ("tunnel of slice", part));
        let profiles = self.profiles.iter().map(|part| ("slice profile", part));
        for (what, (name, drift)) in profiles.chain(tunnels) {
            let comma = if first { "" } else { "; " };
            write!(f, "{comma}{}: {what} {name}", drift.as_str())?;
            first = false;
        }
        for difference in &self.steering {
            let comma = if first { "" } else { "; " };
            write!(f, "{comma}{difference}")?;
            first = false;
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

impl NodePlan {
    /// Slices that should have something at the node; some more than once.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &str> {
        let vifs = self.vifs.values().map(|vif| &vif.slice);
        let profiles = self.profiles.values().map(|profile| &profile.slice);
        let all = vifs.chain(profiles).chain(self.tunnels.keys());
        all.map(String::as_str)
            .chain(steering_edit::slices(&self.steering))
    }

    /// Compares with what the node has. Secrets that the node does not show are right if they are those of `before`: what
    /// was last put there.
    #[must_use]
    pub fn drift(&self, before: Option<&Self>, has: &Observed) -> Drift {
        let mut drift = Drift::default();
        for (name, wanted) in &self.vifs {
            let Some(vif) = has.vifs.get(name) else {
                drift.missing.insert(name.clone());
                continue;
            };
            let put = || before.and_then(|before| before.vifs.get(name));
            let right =
                |had: &VifConfig| wanted == had || (same(wanted, had) && put() == Some(wanted));
            if !vif.enabled || !vif.config.as_ref().is_some_and(right) {
                drift.different.insert(name.clone());
            }
        }
        let surplus = has
            .ours()
            .filter(|(name, _)| !self.vifs.contains_key(*name));
        drift.surplus = surplus.map(|(name, _)| name.clone()).collect();
        self.profile_drift(has, &mut drift);
        for (slice, wanted) in &self.tunnels {
            let put = before.and_then(|before| before.tunnels.get(slice));
            match has.tunnels.get(slice) {
                None => drop(drift.tunnels.insert(slice.clone(), PartDrift::Missing)),
                Some(tunnel) if !wanted.is_at(put, tunnel) => {
                    drift.tunnels.insert(slice.clone(), PartDrift::Different);
                }
                Some(_) => {}
            }
        }
        drift.steering = steering_edit::differences(&self.steering, &has.steering);
        drift
    }

    fn profile_drift(&self, has: &Observed, drift: &mut Drift) {
        for (name, wanted) in &self.profiles {
            let how = match has.profiles.get(name) {
                None => PartDrift::Missing,
                Some(there) if there.config == *wanted && !there.foreign_parts => continue,
                Some(_) => PartDrift::Different,
            };
            drift.profiles.insert(name.clone(), how);
        }
        for (name, _, ours) in has.profiles() {
            if ours && !self.profiles.contains_key(name) {
                drift.profiles.insert(name.clone(), PartDrift::Surplus);
            }
        }
    }

    /// Adds what is not wanted of the tunnels that are `ours` by their slice.
    pub(crate) fn add_surplus(
        &self,
        drift: &mut Drift,
        has: &Observed,
        ours: impl Fn(&str) -> bool,
    ) {
        let surplus = has.tunnels.keys();
        let surplus = surplus.filter(|slice| !self.tunnels.contains_key(*slice) && ours(slice));
        drift
            .tunnels
            .extend(surplus.map(|slice| (slice.clone(), PartDrift::Surplus)));
    }

    /// With the keys of the peers, as far as they are known.
    #[must_use]
    pub fn resolve(&self, keys: &Keys, has: &Observed) -> Self {
        let resolve = |(slice, tunnel): (&String, &TunnelConfig)| {
            let has = has.tunnels.get(slice);
            (slice.clone(), tunnel.resolve(slice, keys, has))
        };
        Self {
            vifs: self.vifs.clone(),
            profiles: self.profiles.clone(),
            tunnels: self.tunnels.iter().map(resolve).collect(),
            steering: self.steering.clone(),
        }
    }

    /// The part of an edit that is about tunnels and brings them to a stage. `surplus` are those to remove.
    fn tunnel_edit<'a>(
        &self,
        before: Option<&Self>,
        has: &Observed,
        surplus: impl Iterator<Item = &'a String>,
        stage: Stage,
    ) -> String {
        let mut tunnels = String::new();
        for slice in surplus {
            tunnels.push_str("<tunnel nc:operation=\"remove\">");
            leaf(&mut tunnels, "slice", slice);
            tunnels.push_str("</tunnel>");
        }
        for (slice, wanted) in &self.tunnels {
            let put = before.and_then(|before| before.tunnels.get(slice));
            let there = has.tunnels.get(slice);
            if there.is_none_or(|there| !wanted.is_at(put, there)) {
                tunnels.extend(wanted.edit(slice, put, there, stage));
            }
        }
        tunnels
    }

    /// The part of an edit that is about slice profiles.
    fn profile_edit(&self, drift: &Drift) -> String {
        let mut profiles = String::new();
        let (gone, put): (Vec<_>, Vec<_>) = drift
            .profiles
            .iter()
            .partition(|(_, drift)| **drift == PartDrift::Surplus);
        for (name, _) in gone {
            profiles.push_str("<slice-profile nc:operation=\"remove\">");
            leaf(&mut profiles, "name", name);
            profiles.push_str("</slice-profile>");
        }
        for (name, _) in put {
            if let Some(wanted) = self.profiles.get(name) {
                wanted.write_replace(name, &mut profiles);
            }
        }
        profiles
    }

    /// The edit of one stage on the way from `before` and `has` to this plan; vifs, slice profiles and steering are changed at the first one. `drift` is how
    /// the node differs, with the tunnels to remove.
    pub(crate) fn stage_edit(
        &self,
        before: Option<&Self>,
        has: &Observed,
        drift: &Drift,
        (stage, radio): (Stage, bool),
    ) -> Option<Fragment> {
        let mut xml = String::new();
        if radio {
            let put = drift
                .missing
                .union(&drift.different)
                .filter_map(|name| self.vifs.get_key_value(name));
            if let Some(wifi) = render(put, drift.surplus.iter()) {
                xml.push_str(wifi.as_str());
            }
            let profiles = self.profile_edit(drift);
            if !profiles.is_empty() {
                xml.push_str(&format!(
                    "<ran xmlns=\"{RAN}\" \
                     xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{profiles}</ran>"
                ));
            }
            xml.extend(steering_edit::edit(&self.steering, &has.steering));
        }
        let surplus = drift.tunnels.iter();
        let surplus = surplus.filter(|(_, drift)| **drift == PartDrift::Surplus);
        let tunnels = self.tunnel_edit(before, has, surplus.map(|(slice, _)| slice), stage);
        if !tunnels.is_empty() {
            xml.push_str(&format!(
                "<backhaul xmlns=\"{BACKHAUL}\" \
                 xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{tunnels}</backhaul>"
            ));
        }
        (!xml.is_empty()).then(|| Fragment::from_trusted(xml))
    }

    /// The content of an `edit-config` that brings a node from `before` (what was last put there, so that a changed secret
    /// is seen) and `has` to this plan. `None`: it is there already.
    #[must_use]
    pub fn edit(&self, before: Option<&Self>, has: &Observed) -> Option<Fragment> {
        let drift = self.drift(before, has);
        self.stage_edit(before, has, &drift, (Stage::All, true))
    }
}

/// Same, as far as the node shows it. White space at the ends of a text does not survive the reading of XML.
fn same(wanted: &VifConfig, has: &VifConfig) -> bool {
    if wanted == has {
        return true;
    }
    let mut shown = wanted.clone();
    shown.access_point.ssid = shown.access_point.ssid.trim().to_owned();
    let (mine, theirs) = (&mut shown.access_point.security, &has.access_point.security);
    match (&mut mine.passphrase, &theirs.passphrase) {
        (Some(mine), Some(theirs)) if mine.reveal().trim() == theirs.reveal() => {
            *mine = theirs.clone()
        }
        (mine, None) => *mine = None,
        (_, Some(_)) => {}
    }
    if has.access_point.roaming.mobility_key.is_none() {
        shown.access_point.roaming.mobility_key = None;
    }
    let mine = &mut shown.access_point.security;
    if let (Some(mine), Some(theirs)) = (&mut mine.radius, &theirs.radius)
        && theirs.secret.reveal().is_empty()
    {
        mine.secret = theirs.secret.clone();
    }
    shown == *has
}

fn render<'a>(
    put: impl Iterator<Item = (&'a VifName, &'a VifConfig)>,
    remove: impl Iterator<Item = &'a VifName>,
) -> Option<Fragment> {
    let mut vifs = String::new();
    // Removed first: a radio that is full has room for what comes.
    for name in remove {
        vifs.push_str("<vif nc:operation=\"remove\">");
        leaf(&mut vifs, "name", name);
        vifs.push_str("</vif>");
    }
    for (name, vif) in put {
        vif.write_replace(name, &mut vifs);
    }
    (!vifs.is_empty()).then(|| {
        Fragment::from_trusted(format!(
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\" \
             xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{vifs}</wifi>"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        AccessPoint, Attachment, Ratio, Roaming, Secret, Security, SecurityMode, vif_name,
    };
    use super::*;
    use crate::inventory::{Vif, VifState};

    fn config(slice: &str, passphrase: Option<&str>) -> VifConfig {
        VifConfig {
            radio: "radio0".into(),
            slice: slice.into(),
            access_point: AccessPoint {
                ssid: format!("{slice} & <co>"),
                hidden: false,
                max_stations: None,
                station_isolation: true,
                roaming: Roaming::default(),
                attachment: Attachment::default(),
                security: Security {
                    mode: if passphrase.is_some() {
                        SecurityMode::Wpa3Personal
                    } else {
                        SecurityMode::Open
                    },
                    passphrase: passphrase.map(Secret::new),
                    radius: None,
                },
            },
            min_ratio: Ratio::from_percent(30.0),
            max_ratio: Ratio::FULL,
        }
    }

    fn plan(vifs: &[VifConfig]) -> NodePlan {
        let name = |vif: &VifConfig| vif_name(&vif.slice, &vif.radio);
        NodePlan {
            vifs: vifs.iter().map(|vif| (name(vif), vif.clone())).collect(),
            ..NodePlan::default()
        }
    }

    fn has(vifs: &[VifConfig]) -> Observed {
        let mut observed = Observed::default();
        for (name, config) in plan(vifs).vifs {
            let vif = Vif {
                radio: config.radio.clone(),
                slice: Some(config.slice.clone()),
                enabled: true,
                min_ratio: config.min_ratio,
                max_ratio: config.max_ratio,
                config: Some(config),
                state: VifState::default(),
            };
            observed.vifs.insert(name, vif);
        }
        observed
    }

    #[test]
    fn a_node_that_has_it_all_needs_no_edit() {
        let wanted = plan(&[config("a", None)]);
        let observed = has(&[config("a", None)]);
        assert!(wanted.drift(None, &observed).is_empty());
        assert_eq!(wanted.edit(None, &observed), None);
    }

    #[test]
    fn an_edit_replaces_what_differs_and_removes_what_is_not_wanted() {
        let mut other = config("a", None);
        other.min_ratio = Ratio::from_percent(10.0);
        let wanted = plan(&[config("a", None), config("b", None)]);
        let observed = has(&[other, config("c", None)]);
        let drift = wanted.drift(None, &observed);
        assert_eq!(
            drift.to_string(),
            "missing: b-radio0; different: a-radio0; not wanted: c-radio0"
        );
        let edit = wanted.edit(None, &observed).expect("differs");
        assert_eq!(
            edit.as_str(),
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\
             <vif nc:operation=\"remove\"><name>c-radio0</name></vif>\
             <vif nc:operation=\"replace\"><name>a-radio0</name><radio>radio0</radio><slice>a</slice><access-point>\
             <ssid>a &amp; &lt;co&gt;</ssid><hidden>false</hidden><station-isolation>true</station-isolation>\
             <security><mode>open</mode></security></access-point>\
             <airtime><min-ratio>30.00</min-ratio><max-ratio>100.00</max-ratio></airtime></vif>\
             <vif nc:operation=\"replace\"><name>b-radio0</name><radio>radio0</radio><slice>b</slice><access-point>\
             <ssid>b &amp; &lt;co&gt;</ssid><hidden>false</hidden><station-isolation>true</station-isolation>\
             <security><mode>open</mode></security></access-point>\
             <airtime><min-ratio>30.00</min-ratio><max-ratio>100.00</max-ratio></airtime></vif></wifi>"
        );
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let mut observed = has(&[config("a", None)]);
        let mut guest = observed.vifs["a-radio0"].clone();
        guest.slice = None;
        observed.vifs.insert("guest".into(), guest.clone());
        guest.slice = Some("a".into());
        observed.vifs.insert("lab".into(), guest);
        let drift = plan(&[]).drift(None, &observed);
        assert_eq!(drift.surplus, BTreeSet::from(["a-radio0".to_owned()]));
    }

    #[test]
    fn a_secret_that_the_node_hides_is_no_drift_but_a_changed_one_is_sent() {
        let mut hidden = config("a", Some("correct horse"));
        hidden.access_point.security.passphrase = None;
        let observed = has(&[hidden]);
        let old = plan(&[config("a", Some("correct horse"))]);
        let new = plan(&[config("a", Some("battery staple"))]);
        assert!(old.drift(Some(&old), &observed).is_empty());
        assert_eq!(
            new.drift(Some(&old), &observed).to_string(),
            "different: a-radio0"
        );
        assert_eq!(old.edit(Some(&old), &observed), None);
        let edit = new
            .edit(Some(&old), &observed)
            .expect("the passphrase changed");
        assert!(
            edit.as_str()
                .contains("<passphrase>battery staple</passphrase>")
        );
        assert!(
            new.edit(None, &observed).is_some(),
            "what was put there is not known"
        );
    }
}
