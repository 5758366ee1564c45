//! A slice profile as the controller configures it at a node.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::ran::{Access, AdminState, CoreKind, Prb, Rat, Share};
use super::vif::leaf;
use super::{Ratio, Slice};

/// Namespace of `tranche-ran`.
pub(crate) const RAN: &str = "urn:tranche:yang:tranche-ran";

/// Longest name that `tranche-ran` takes.
const NAME_LENGTH: usize = 64;

/// Configuration of one slice profile of ours (`/tranche-ran:ran/slice-profile`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileConfig {
    /// The slice it belongs to.
    pub slice: String,
    /// Whether it is in service.
    pub admin_state: AdminState,
    /// Mobile country code of its PLMN.
    pub mcc: String,
    /// Mobile network code of its PLMN.
    pub mnc: String,
    /// Slice/service type; on NR cells only.
    pub sst: Option<u8>,
    /// Slice differentiator.
    pub sd: Option<String>,
    /// Data networks; any where empty.
    pub dnns: BTreeSet<String>,
    /// Cells that carry it.
    pub cells: BTreeSet<String>,
    /// Cores in the order of preference.
    pub cores: Vec<String>,
    /// UEs attached at once.
    pub max_ues: Option<u32>,
    /// What it is owed on each cell.
    pub prb: Prb,
    /// Whom it lets in; the ranges in the order of their first.
    pub access: Access,
}

impl ProfileConfig {
    /// A slice's part of cells of one technology.
    pub(super) fn new(
        slice: &Slice,
        rat: Rat,
        cells: BTreeSet<String>,
        cores: Vec<String>,
    ) -> Option<Self> {
        let ran = slice.ran.as_ref()?;
        let nr = rat == Rat::Nr;
        let mut access = ran.access.clone();
        access.ranges.sort();
        Some(Self {
            slice: slice.id.clone(),
            admin_state: ran.admin_state,
            mcc: ran.mcc.clone(),
            mnc: ran.mnc.clone(),
            sst: ran.sst.filter(|_| nr),
            sd: ran.sd.clone().filter(|_| nr),
            dnns: ran.dnns.iter().filter(|_| nr).cloned().collect(),
            cells,
            cores,
            max_ues: ran.max_ues,
            prb: slice.sla.prb,
            access,
        })
    }

    /// Whether it is the same slice to UEs and cores as another: same PLMN and S-NSSAI.
    #[must_use]
    pub fn is_same_slice(&self, other: &Self) -> bool {
        (&self.mcc, &self.mnc, self.sst, &self.sd) == (&other.mcc, &other.mnc, other.sst, &other.sd)
    }

    /// Writes the `slice-profile` element, to be put in place of what is there.
    pub(super) fn write_replace(&self, name: &str, xml: &mut String) {
        xml.push_str("<slice-profile nc:operation=\"replace\">");
        leaf(xml, "name", name);
        leaf(xml, "slice", &self.slice);
        leaf(xml, "admin-state", self.admin_state.as_str());
        leaf(xml, "mcc", &self.mcc);
        leaf(xml, "mnc", &self.mnc);
        if let Some(sst) = self.sst {
            leaf(xml, "sst", &sst.to_string());
        }
        if let Some(sd) = &self.sd {
            leaf(xml, "sd", sd);
        }
        let lists = [("dnn", &self.dnns), ("cell", &self.cells)];
        for (list, entries) in lists {
            for entry in entries {
                leaf(xml, list, entry);
            }
        }
        for core in &self.cores {
            leaf(xml, "core", core);
        }
        if let Some(most) = self.max_ues {
            leaf(xml, "max-ues", &most.to_string());
        }
        self.prb.write(xml);
        self.access.write(xml);
        xml.push_str("</slice-profile>");
    }
}

impl Prb {
    /// One policy where both directions are owed the same (a gNB may know no other), none where nothing is owed.
    fn write(self, xml: &mut String) {
        let policy = |xml: &mut String, resource_type: &str, share: Share| {
            xml.push_str("<rrm-policy>");
            leaf(xml, "resource-type", resource_type);
            let ratio = |xml: &mut String, name, ratio: Ratio| leaf(xml, name, &ratio.to_string());
            ratio(xml, "min-ratio", share.min_ratio);
            ratio(xml, "max-ratio", share.max_ratio);
            ratio(xml, "dedicated-ratio", share.dedicated_ratio);
            xml.push_str("</rrm-policy>");
        };
        if self == Self::default() {
            return;
        }
        if self.down == self.up {
            policy(xml, "prb", self.down);
        } else {
            policy(xml, "prb-down", self.down);
            policy(xml, "prb-up", self.up);
        }
    }
}

impl Access {
    fn write(&self, xml: &mut String) {
        xml.push_str("<access>");
        leaf(xml, "default-action", self.default_action.as_str());
        for range in &self.ranges {
            xml.push_str("<imsi-range>");
            leaf(xml, "first", &range.first);
            leaf(xml, "last", &range.last);
            if range.roaming {
                leaf(xml, "roaming", "true");
            }
            xml.push_str("</imsi-range>");
        }
        xml.push_str("</access>");
    }
}

/// The name of a slice's profile for the cells of one technology at a node: `slice-lte` or `slice-nr` where that fits; else the
/// start of the slice's id and eight characters of a hash before it. The same at every call and at every node.
#[must_use]
pub fn profile_name(slice: &str, rat: Rat) -> String {
    let rat = rat.as_str();
    let plain = format!("{slice}-{rat}");
    if plain.len() <= NAME_LENGTH {
        return plain;
    }
    let hash = Sha256::digest(slice);
    let mut name: String = slice.chars().take(NAME_LENGTH - rat.len() - 10).collect();
    name.push('.');
    for byte in hash.iter().take(8) {
        name.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)],
        ));
    }
    format!("{name}-{rat}")
}

/// Whether a slice profile at a node is one that the controller made: it has a slice (not ""), and a name that follows from it.
#[must_use]
pub fn is_our_profile(name: &str, slice: &str) -> bool {
    let mut names = Rat::ALL.iter().map(|rat| profile_name(slice, *rat));
    !slice.is_empty() && names.any(|ours| ours == name)
}

/// Cores of a slice that the cells of one technology at a node can go to, in the order of preference.
pub(super) fn cores_for(
    rat: Rat,
    wanted: &[String],
    kind: impl Fn(&str) -> Option<CoreKind>,
) -> Vec<String> {
    let fits = |core: &&String| kind(core) == Some(rat.core());
    wanted.iter().filter(fits).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_readable_where_they_fit() {
        assert_eq!(profile_name("acme", Rat::Lte), "acme-lte");
        let long = "a".repeat(64);
        let name = profile_name(&long, Rat::Nr);
        assert!(name.starts_with("aaaa") && name.ends_with("-nr"), "{name}");
        assert_ne!(name, profile_name(&format!("{}b", &long[..63]), Rat::Nr));
    }

    #[test]
    fn a_profile_is_ours_by_slice_and_name() {
        assert!(is_our_profile("a-lte", "a"));
        assert!(is_our_profile("a-nr", "a"));
        assert!(!is_our_profile("-nr", ""));
        assert!(!is_our_profile("a", "a"));
        assert!(!is_our_profile("a-nr", "b"));
    }

    proptest! {
        #[test]
        fn every_name_is_one_the_model_takes_and_another_for_another_slice(
            one in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}", other in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}",
        ) {
            let name = profile_name(&one, Rat::Lte);
            prop_assert!((1..=64).contains(&name.len()), "{}", name);
            prop_assert!(one == other || name != profile_name(&other, Rat::Lte));
            prop_assert!(name != profile_name(&other, Rat::Nr));
        }
    }
}
