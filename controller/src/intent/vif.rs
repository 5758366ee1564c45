//! A virtual interface as the controller configures it at a node.

use std::fmt;
use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Ratio, yes};

/// Longest interface name of the Linux kernel.
const NAME_LENGTH: usize = 15;

/// Configuration of one vif of ours (`/tranche-wifi:wifi/vif`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VifConfig {
    /// The radio that carries it.
    pub radio: String,
    /// The slice it belongs to.
    pub slice: String,
    /// What it offers.
    pub access_point: AccessPoint,
    /// Guaranteed minimum of the radio's airtime.
    pub min_ratio: Ratio,
    /// Ceiling.
    pub max_ratio: Ratio,
}

/// An access point (`access-point` of `tranche-wifi`, `wifi` of `tranche-slice`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccessPoint {
    /// SSID.
    pub ssid: String,
    /// Leave the SSID out of beacons.
    #[serde(default)]
    pub hidden: bool,
    /// Stations admitted at once.
    #[serde(default)]
    pub max_stations: Option<u16>,
    /// Its stations can't reach each other.
    #[serde(default = "yes")]
    pub station_isolation: bool,
    /// Link security.
    #[serde(default)]
    pub security: Security,
    /// Aids for stations that move between the slice's access points.
    #[serde(default)]
    pub roaming: Roaming,
    /// Where its frames go on the wired side; beside `access-point` in `tranche-wifi`.
    #[serde(default)]
    pub attachment: Attachment,
}

/// What helps stations that move between access points (IEEE 802.11k, r and v). What goes with what is enforced by the schema.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Roaming {
    /// Mobility domain of fast BSS transition, four hexadecimal digits.
    pub mobility_domain: Option<String>,
    /// Protects what the access points of the domain tell each other, 64 hexadecimal digits.
    pub mobility_key: Option<Secret>,
    /// Answer stations that ask which access points are near.
    pub neighbour_report: bool,
    /// Offer to ask stations which access points they hear.
    pub beacon_report: bool,
    /// Suggest stations a better access point.
    pub bss_transition: bool,
}

/// Where frames go on the wired side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Attachment {
    /// Bridge that the interface is a port of.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN on that bridge.
    #[serde(default)]
    pub vlan: Option<u16>,
}

/// Link security. Which parts go with which mode is enforced by the schema.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Security {
    /// Mode.
    #[serde(default)]
    pub mode: SecurityMode,
    /// WPA passphrase of the personal modes.
    #[serde(default)]
    pub passphrase: Option<Secret>,
    /// Authentication server of the enterprise modes.
    #[serde(default)]
    pub radius: Option<Radius>,
}

/// Security modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// No encryption.
    Open,
    /// Opportunistic wireless encryption (RFC 8110).
    Owe,
    /// WPA2 with a passphrase.
    Wpa2Personal,
    /// WPA2 and WPA3 with one passphrase.
    Wpa2Wpa3Personal,
    /// SAE with protected management frames.
    #[default]
    Wpa3Personal,
    /// WPA2 with IEEE 802.1X.
    Wpa2Enterprise,
    /// WPA3 with IEEE 802.1X.
    Wpa3Enterprise,
}

impl SecurityMode {
    const ALL: [Self; 7] = [
        Self::Open,
        Self::Owe,
        Self::Wpa2Personal,
        Self::Wpa2Wpa3Personal,
        Self::Wpa3Personal,
        Self::Wpa2Enterprise,
        Self::Wpa3Enterprise,
    ];

    /// As the model names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Owe => "owe",
            Self::Wpa2Personal => "wpa2-personal",
            Self::Wpa2Wpa3Personal => "wpa2-wpa3-personal",
            Self::Wpa3Personal => "wpa3-personal",
            Self::Wpa2Enterprise => "wpa2-enterprise",
            Self::Wpa3Enterprise => "wpa3-enterprise",
        }
    }

    /// By the name in the model.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }
}

/// An authentication server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Radius {
    /// Host name or address.
    pub address: String,
    /// UDP port.
    #[serde(default = "radius_port")]
    pub port: u16,
    /// Shared secret.
    pub secret: Secret,
}

fn radius_port() -> u16 {
    1812
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The name of a slice's vif on a radio: the same at every call, different for different pairs, at most 15 characters.
///
/// `slice-radio` where that fits and can be taken apart again; else the start of the slice's id, a dot, and eight
/// characters of a hash.
#[must_use]
pub fn vif_name(slice: &str, radio: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // The radio has no hyphen, so the last one ends the slice; there is no dot, so it is no hashed name.
    let splits = radio.chars().all(plain) && slice.chars().all(|c| plain(c) || c == '-');
    if splits && !slice.is_empty() && slice.len() + 1 + radio.len() <= NAME_LENGTH {
        return format!("{slice}-{radio}");
    }
    let hash = Sha256::new()
        .chain_update(slice)
        .chain_update([0])
        .chain_update(radio)
        .finalize();
    let mut name: String = slice
        .chars()
        .filter(|&c| plain(c))
        .take(NAME_LENGTH - 9)
        .collect();
    name.push('.');
    for byte in hash.iter().take(8) {
        name.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)],
        ));
    }
    name
}

/// Whether a vif at a node is one that the controller made: it has a slice, and the name that follows from it.
#[must_use]
pub fn is_ours(name: &str, slice: Option<&str>, radio: &str) -> bool {
    slice.is_some_and(|slice| vif_name(slice, radio) == name)
}

impl VifConfig {
    /// Writes the `vif` element, to be put in place of what is there.
    pub(super) fn write_replace(&self, name: &str, xml: &mut String) {
        xml.push_str("<vif nc:operation=\"replace\">");
        leaf(xml, "name", name);
        leaf(xml, "radio", &self.radio);
        leaf(xml, "slice", &self.slice);
        self.access_point.write(xml);
        self.access_point.attachment.write(xml);
        xml.push_str("<airtime>");
        leaf(xml, "min-ratio", &self.min_ratio.to_string());
        leaf(xml, "max-ratio", &self.max_ratio.to_string());
        xml.push_str("</airtime></vif>");
    }
}

impl AccessPoint {
    fn write(&self, xml: &mut String) {
        xml.push_str("<access-point>");
        leaf(xml, "ssid", &self.ssid);
        flag(xml, "hidden", self.hidden);
        if let Some(most) = self.max_stations {
            leaf(xml, "max-stations", &most.to_string());
        }
        flag(xml, "station-isolation", self.station_isolation);
        xml.push_str("<security>");
        leaf(xml, "mode", self.security.mode.as_str());
        if let Some(passphrase) = &self.security.passphrase {
            leaf(xml, "passphrase", passphrase.reveal());
        }
        if let Some(radius) = &self.security.radius {
            xml.push_str("<radius>");
            leaf(xml, "address", &radius.address);
            leaf(xml, "port", &radius.port.to_string());
            leaf(xml, "secret", radius.secret.reveal());
            xml.push_str("</radius>");
        }
        xml.push_str("</security>");
        self.roaming.write(xml);
        xml.push_str("</access-point>");
    }
}

impl Roaming {
    /// Nothing where there is nothing to say: a node of an earlier model is none the wiser.
    fn write(&self, xml: &mut String) {
        if *self == Self::default() {
            return;
        }
        xml.push_str("<roaming>");
        if let Some(domain) = &self.mobility_domain {
            leaf(xml, "mobility-domain", domain);
        }
        if let Some(key) = &self.mobility_key {
            leaf(xml, "mobility-key", key.reveal());
        }
        flag(xml, "neighbour-report", self.neighbour_report);
        flag(xml, "beacon-report", self.beacon_report);
        flag(xml, "bss-transition", self.bss_transition);
        xml.push_str("</roaming>");
    }
}

impl Attachment {
    fn write(&self, xml: &mut String) {
        let Some(bridge) = &self.bridge else { return };
        xml.push_str("<attachment>");
        leaf(xml, "bridge", bridge);
        if let Some(vlan) = self.vlan {
            leaf(xml, "vlan", &vlan.to_string());
        }
        xml.push_str("</attachment>");
    }
}

fn flag(xml: &mut String, name: &str, value: bool) {
    leaf(xml, name, if value { "true" } else { "false" });
}

/// Writes `<name>text</name>`, escaped.
pub(crate) fn leaf(xml: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _infallible = write!(xml, "<{name}>");
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            // A parser would turn a bare carriage return into a line feed (XML 1.0 2.11).
            '\r' => xml.push_str("&#13;"),
            c => xml.push(c),
        }
    }
    let _infallible = write!(xml, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_readable_where_they_fit() {
        assert_eq!(vif_name("a", "radio0"), "a-radio0");
        assert_eq!(vif_name("tenant-a", "radio0"), "tenant-a-radio0");
        let long = vif_name("tenant-of-the-stadium", "radio0");
        assert!(long.starts_with("tenant.") && long.len() == 15, "{long}");
        assert_ne!(long, vif_name("tenant-of-the-stadium", "radio1"));
        assert_ne!(long, vif_name("tenant-of-the-stadion", "radio0"));
    }

    #[test]
    fn pairs_that_would_spell_the_same_name_get_different_ones() {
        assert_ne!(vif_name("a-b", "c"), vif_name("a", "b-c"));
        assert_ne!(vif_name("a.b", "c"), vif_name("a", "b.c"));
    }

    #[test]
    fn a_vif_is_ours_by_slice_and_name() {
        assert!(is_ours("a-radio0", Some("a"), "radio0"));
        assert!(!is_ours("a-radio0", None, "radio0"));
        assert!(!is_ours("guest", Some("a"), "radio0"));
        assert!(!is_ours("a-radio0", Some("a"), "radio1"));
    }

    proptest! {
        #[test]
        fn every_name_is_one_the_kernel_and_the_model_take(slice in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}", radio in "\\PC{1,15}") {
            let name = vif_name(&slice, &radio);
            prop_assert!((1..=15).contains(&name.len()), "{}", name);
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)), "{}", name);
            prop_assert!(name != "." && name != "..");
        }
    }
}
