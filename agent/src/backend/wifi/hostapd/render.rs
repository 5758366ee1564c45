//! From typed configuration to hostapd's configuration text (hostapd.conf of release 2.10). Pure: no file, no process.
//!
//! Nothing of a value can become a line of its own: SSIDs are written in hexadecimal, what else comes from outside is
//! refused when it has a control character. hostapd applies the rest of a line as it stands, without quotes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::super::passphrase;
use super::super::{
    AccessPoint, Band, Channel, RadioConfig, Radius, Roaming, Security, SecurityMode, Width,
    spectrum,
};
use crate::backend::{MacAddress, Secret};

/// Stations of one access point at most (IEEE Std 802.11-2020 9.4.1.8), which is hostapd's own default.
const MAX_STATIONS: u16 = 2007;

/// What a running access point takes on without losing its stations; all else means taking it down and up.
const HOT: [&str; 6] = [
    "max_num_sta",
    "ignore_broadcast_ssid",
    "ap_isolate",
    "rrm_neighbor_report",
    "rrm_beacon_report",
    "bss_transition",
];

/// What of a radio's abilities in one band goes into its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BandCapabilities {
    /// HT capability info (IEEE Std 802.11-2020 9.4.2.55.2); absent if the band has no HT.
    pub ht: Option<u16>,
    /// VHT capabilities info (9.4.2.157.2); absent if the band has no VHT.
    pub vht: Option<u32>,
    /// Whether its access points can be HE (802.11ax).
    pub has_he: bool,
}

/// An access point to render.
#[derive(Debug, Clone, Copy)]
pub struct Bss<'a> {
    /// Network interface name.
    pub name: &'a str,
    /// Its BSSID.
    pub bssid: MacAddress,
    /// Its band.
    pub band: Band,
    /// What it is.
    pub access_point: &'a AccessPoint,
    /// The bridge that it is attached to.
    pub bridge: Option<&'a str>,
}

/// Why something can't be written: leaf below the vif or radio, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{leaf}: {message}")]
pub struct RenderError {
    /// Path relative to the list entry, as in `access-point/ssid`.
    pub leaf: &'static str,
    /// Lower case, no full stop.
    pub message: String,
}

impl RenderError {
    fn new(leaf: &'static str, message: impl Into<String>) -> Self {
        Self {
            leaf,
            message: message.into(),
        }
    }
}

/// Configuration text under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        writeln!(self.0, "{key}={value}").unwrap_or_default();
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.set(key, u8::from(value));
    }
}

/// The radio's own part: channel, width and rates, on a silent first BSS named `anchor`.
///
/// hostapd removes a radio with its first BSS, so that one belongs to nobody and never sends a beacon; tenants' access
/// points come and go behind it. Only OFDM rates: a frame at 1 Mbit/s costs everybody's airtime.
///
/// # Errors
/// A channel that can't be of that width, or a width that the radio can't do there.
pub fn radio(
    radio: &RadioConfig,
    country: &str,
    capabilities: BandCapabilities,
    anchor: &str,
    control: &Path,
) -> Result<String, RenderError> {
    let range = spectrum(radio.band, radio.channel, radio.width)
        .map_err(|reason| RenderError::new("channel", reason))?;
    let mut text = Text::default();
    text.set("interface", anchor);
    text.set("driver", "nl80211");
    text.set("ctrl_interface", control.display());
    text.set("ssid", anchor);
    text.flag("start_disabled", true);
    // It beacons for the moments of a channel switch: hidden, and nobody is let in.
    text.flag("ignore_broadcast_ssid", true);
    text.flag("macaddr_acl", true);
    if country != "00" {
        text.set("country_code", country);
        text.flag("ieee80211d", true);
        text.flag("ieee80211h", radio.band == Band::Ghz5);
    }
    let mode = if radio.band == Band::Ghz2 { "g" } else { "a" };
    text.set("hw_mode", mode);
    text.set("channel", radio.channel);
    text.set("supported_rates", "60 90 120 180 240 360 480 540");
    text.set("basic_rates", "60 120 240");
    let centre_mhz = u32::midpoint(range.start, range.end);
    throughput(&mut text, radio, capabilities, centre_mhz)?;
    Ok(text.0)
}

/// HT, VHT and HE, as far as band, width and hardware have them.
fn throughput(
    text: &mut Text,
    radio: &RadioConfig,
    capabilities: BandCapabilities,
    centre_mhz: u32,
) -> Result<(), RenderError> {
    let wide = |message: &str| {
        let message = format!("radio {} can't do {}: {message}", radio.name, radio.width);
        RenderError::new("width", message)
    };
    let (oper_width, centre) = match radio.width {
        Width::Mhz20 | Width::Mhz40 => (0, None),
        Width::Mhz80 => (1, Some(channel_index(radio.band, centre_mhz))),
        Width::Mhz160 => (2, Some(channel_index(radio.band, centre_mhz))),
    };
    if radio.band == Band::Ghz6 {
        if !capabilities.has_he {
            return Err(wide("it has no HE (802.11ax), which the 6GHz band needs"));
        }
        text.set("op_class", 131 + radio.width as u8);
    } else {
        match capabilities.ht {
            Some(ht) => {
                text.flag("ieee80211n", true);
                let secondary = secondary_channel(radio, centre_mhz);
                if secondary.is_some() && ht & HT_40 == 0 {
                    return Err(wide("it has no 40MHz channels in this band"));
                }
                text.set("ht_capab", ht_capabilities(ht, secondary));
            }
            None if radio.width != Width::Mhz20 => return Err(wide("it has no HT (802.11n)")),
            None => {}
        }
    }
    if radio.band == Band::Ghz5 {
        match capabilities.vht {
            Some(vht) => {
                if radio.width == Width::Mhz160 && vht & VHT_160 == 0 {
                    return Err(wide("it has no 160MHz channels"));
                }
                text.flag("ieee80211ac", true);
                text.set("vht_capab", vht_capabilities(vht));
                text.set("vht_oper_chwidth", oper_width);
                if let Some(centre) = centre {
                    text.set("vht_oper_centr_freq_seg0_idx", centre);
                }
            }
            None if oper_width > 0 => return Err(wide("it has no VHT (802.11ac)")),
            None => {}
        }
    } else if radio.band == Band::Ghz2 && oper_width > 0 {
        return Err(wide("the 2.4GHz band has at most 40MHz"));
    }
    if capabilities.has_he {
        text.flag("ieee80211ax", true);
        text.set("he_oper_chwidth", oper_width);
        let centre =
            centre.or((radio.band == Band::Ghz6).then(|| channel_index(radio.band, centre_mhz)));
        if let Some(centre) = centre {
            text.set("he_oper_centr_freq_seg0_idx", centre);
        }
    }
    Ok(())
}

/// "Supported channel width set" of the HT capability info.
const HT_40: u16 = 1 << 1;

/// "Supported channel width set" of the VHT capabilities info.
const VHT_160: u32 = 0b11 << 2;

/// Channel number of a centre frequency (IEEE Std 802.11-2020 annex E).
fn channel_index(band: Band, centre_mhz: u32) -> u32 {
    let base = match band {
        Band::Ghz2 => 2407,
        Band::Ghz5 => 5000,
        Band::Ghz6 => 5950,
    };
    (centre_mhz - base) / 5
}

/// Which 20 MHz channel pairs up with the primary: `+` above it, `-` below it.
fn secondary_channel(radio: &RadioConfig, centre_mhz: u32) -> Option<char> {
    let pair = match (radio.width, radio.band) {
        (Width::Mhz20, _) => return None,
        (_, Band::Ghz2) | (Width::Mhz40, _) => channel_index(radio.band, centre_mhz),
        // Within a wider channel, pairs start at its lowest.
        _ => spectrum(radio.band, radio.channel, Width::Mhz40).map_or(0, |pair| {
            channel_index(radio.band, u32::midpoint(pair.start, pair.end))
        }),
    };
    Some(if u32::from(radio.channel) < pair {
        '+'
    } else {
        '-'
    })
}

fn ht_capabilities(ht: u16, secondary: Option<char>) -> String {
    let mut text = secondary.map_or(String::new(), |side| format!("[HT40{side}]"));
    for (bit, name) in [
        (0, "[LDPC]"),
        (5, "[SHORT-GI-20]"),
        (7, "[TX-STBC]"),
        (11, "[MAX-AMSDU-7935]"),
    ] {
        if ht & (1 << bit) != 0 {
            text.push_str(name);
        }
    }
    if secondary.is_some() {
        for (bit, name) in [(6, "[SHORT-GI-40]"), (12, "[DSSS_CCK-40]")] {
            if ht & (1 << bit) != 0 {
                text.push_str(name);
            }
        }
    }
    let streams = ["", "[RX-STBC1]", "[RX-STBC12]", "[RX-STBC123]"];
    text.push_str(streams[usize::from(ht >> 8 & 0b11)]);
    text
}

fn vht_capabilities(vht: u32) -> String {
    let field = |bit: u32, mask: u32| (vht >> bit & mask) as usize;
    let mut text = String::new();
    for (names, value) in [
        (
            &["", "[MAX-MPDU-7991]", "[MAX-MPDU-11454]"][..],
            field(0, 0b11),
        ),
        (&["", "[VHT160]", "[VHT160-80PLUS80]"], field(2, 0b11)),
        (&["", "[RXLDPC]"], field(4, 1)),
        (&["", "[SHORT-GI-80]"], field(5, 1)),
        (&["", "[SHORT-GI-160]"], field(6, 1)),
        (&["", "[TX-STBC-2BY1]"], field(7, 1)),
        (
            &[
                "",
                "[RX-STBC-1]",
                "[RX-STBC-12]",
                "[RX-STBC-123]",
                "[RX-STBC-1234]",
            ],
            field(8, 0b111),
        ),
    ] {
        text.push_str(names.get(value).copied().unwrap_or_default());
    }
    let exponent = field(23, 0b111);
    if exponent > 0 {
        // Writing to a String cannot fail.
        write!(text, "[MAX-A-MPDU-LEN-EXP{exponent}]").unwrap_or_default();
    }
    text
}

/// One tenant's access point.
///
/// # Errors
/// A value that hostapd could not be given, or would take for something else.
pub fn access_point(bss: &Bss<'_>, control: &Path) -> Result<String, RenderError> {
    let access_point = bss.access_point;
    let octets = access_point.ssid.len();
    if !(1..=32).contains(&octets) {
        let message = format!("the SSID has {octets} octets, not 1 to 32");
        return Err(RenderError::new("access-point/ssid", message));
    }
    let mut text = Text::default();
    text.set("interface", bss.name);
    text.set("driver", "nl80211");
    text.set("ctrl_interface", control.display());
    text.set("bssid", bss.bssid);
    text.set("ssid2", hexadecimal(access_point.ssid.as_bytes()));
    text.flag("utf8_ssid", true);
    text.flag("ignore_broadcast_ssid", access_point.hidden);
    text.set(
        "max_num_sta",
        access_point.max_stations.unwrap_or(MAX_STATIONS),
    );
    text.flag("ap_isolate", access_point.station_isolation);
    text.flag("wmm_enabled", true);
    text.set("nas_identifier", nas_identifier(bss));
    security(&mut text, bss)?;
    roaming(&mut text, bss)?;
    Ok(text.0)
}

fn security(text: &mut Text, bss: &Bss<'_>) -> Result<(), RenderError> {
    let Security {
        mode,
        passphrase,
        radius,
    } = &bss.access_point.security;
    let is_legacy = !matches!(
        mode,
        SecurityMode::Owe | SecurityMode::Wpa3Personal | SecurityMode::Wpa3Enterprise
    );
    if bss.band == Band::Ghz6 && is_legacy {
        let message = "the 6GHz band takes owe, wpa3-personal and wpa3-enterprise only";
        return Err(RenderError::new("access-point/security/mode", message));
    }
    if *mode == SecurityMode::Open {
        return Ok(());
    }
    let is_fast = bss.access_point.roaming.mobility_domain.is_some();
    // Management frames are protected where both sides can (1), or no station is let in without (2).
    let (suites, fast_suites, protection) = match mode {
        SecurityMode::Open | SecurityMode::Owe => ("OWE", "", 2),
        SecurityMode::Wpa2Personal => ("WPA-PSK", " FT-PSK", 1),
        SecurityMode::Wpa2Wpa3Personal => ("WPA-PSK SAE", " FT-PSK FT-SAE", 1),
        SecurityMode::Wpa3Personal => ("SAE", " FT-SAE", 2),
        SecurityMode::Wpa2Enterprise => ("WPA-EAP", " FT-EAP", 1),
        SecurityMode::Wpa3Enterprise => ("WPA-EAP-SHA256", " FT-EAP", 2),
    };
    text.set("wpa", 2);
    let fast_suites = if is_fast { fast_suites } else { "" };
    text.set("wpa_key_mgmt", format_args!("{suites}{fast_suites}"));
    text.set("rsn_pairwise", "CCMP");
    text.set("ieee80211w", protection);
    match mode {
        SecurityMode::Open | SecurityMode::Owe => Ok(()),
        SecurityMode::Wpa2Personal
        | SecurityMode::Wpa2Wpa3Personal
        | SecurityMode::Wpa3Personal => personal(text, *mode, passphrase.as_ref(), bss.band),
        SecurityMode::Wpa2Enterprise | SecurityMode::Wpa3Enterprise => {
            enterprise(text, radius.as_ref())
        }
    }
}

fn personal(
    text: &mut Text,
    mode: SecurityMode,
    passphrase: Option<&Secret>,
    band: Band,
) -> Result<(), RenderError> {
    let leaf = "access-point/security/passphrase";
    let passphrase = passphrase
        .ok_or_else(|| RenderError::new(leaf, "this security mode needs a passphrase"))?;
    passphrase::check(passphrase).map_err(|message| RenderError::new(leaf, message))?;
    let passphrase = passphrase.expose();
    if mode != SecurityMode::Wpa3Personal {
        text.set("wpa_passphrase", passphrase);
    }
    if mode != SecurityMode::Wpa2Personal {
        // hostapd takes these, and what follows, for attributes of the password.
        let attributes = ["|mac=", "|vlanid=", "|pk=", "|id="];
        if let Some(attribute) = attributes.iter().find(|text| passphrase.contains(*text)) {
            let message = format!("hostapd can't be given an SAE passphrase with '{attribute}'");
            return Err(RenderError::new(leaf, message));
        }
        text.set("sae_password", passphrase);
        text.flag("sae_require_mfp", true);
        // Hash-to-element only on 6 GHz, else both ways (IEEE Std 802.11-2020 12.4.4).
        text.set("sae_pwe", if band == Band::Ghz6 { 1 } else { 2 });
    }
    Ok(())
}

fn enterprise(text: &mut Text, radius: Option<&Radius>) -> Result<(), RenderError> {
    let Some(radius) = radius else {
        let message = "this security mode needs a radius server";
        return Err(RenderError::new("access-point/security/radius", message));
    };
    let address: IpAddr = radius.address.parse().map_err(|_| {
        let message = format!(
            "hostapd takes an IP address, which '{}' is not",
            radius.address
        );
        RenderError::new("access-point/security/radius/address", message)
    })?;
    let secret = radius.secret.expose();
    if secret.is_empty() || secret.chars().any(char::is_control) {
        let message = "the shared secret is empty or has control characters";
        let leaf = "access-point/security/radius/secret";
        return Err(RenderError::new(leaf, message));
    }
    text.flag("ieee8021x", true);
    text.set("auth_server_addr", address);
    text.set("auth_server_port", radius.port);
    text.set("auth_server_shared_secret", secret);
    Ok(())
}

fn roaming(text: &mut Text, bss: &Bss<'_>) -> Result<(), RenderError> {
    let Roaming {
        mobility_domain,
        mobility_key,
        neighbour_report,
        beacon_report,
        bss_transition,
    } = &bss.access_point.roaming;
    text.flag("rrm_neighbor_report", *neighbour_report);
    text.flag("rrm_beacon_report", *beacon_report);
    text.flag("bss_transition", *bss_transition);
    let Some(domain) = mobility_domain else {
        return Ok(());
    };
    text.set("mobility_domain", hexadecimal_leaf(domain, 4)?);
    text.set("r1_key_holder", hexadecimal(&bss.bssid.0));
    let Some(key) = mobility_key else {
        // Every access point can work the key out from the passphrase.
        text.flag("ft_psk_generate_local", true);
        return Ok(());
    };
    // The bridge carries it to other nodes. A kernel's bridge does not loop frames back to itself, so two radios of one
    // node, each with a hostapd of its own, do not reach each other this way.
    let key = hexadecimal_leaf(key.expose(), 64)?;
    text.flag("pmk_r1_push", true);
    text.set("r0kh", format_args!("ff:ff:ff:ff:ff:ff * {key}"));
    text.set(
        "r1kh",
        format_args!("00:00:00:00:00:00 00:00:00:00:00:00 {key}"),
    );
    if let Some(bridge) = bss.bridge {
        text.set("bridge", bridge);
    }
    Ok(())
}

fn hexadecimal_leaf(value: &str, digits: usize) -> Result<&str, RenderError> {
    if value.len() == digits && value.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(value);
    }
    let message = format!("what should be {digits} hexadecimal digits is something else");
    Err(RenderError::new("access-point/roaming", message))
}

/// Unique for each access point, as key holders have to be (IEEE Std 802.11-2020 13.2.2: R0KH-ID, 1 to 48 octets).
fn nas_identifier(bss: &Bss<'_>) -> String {
    format!("{}-{}", bss.name, hexadecimal(&bss.bssid.0))
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What of a radio's text says on which channel of its band it is.
const CHANNEL: [&str; 6] = [
    "channel",
    "ht_capab",
    "vht_oper_chwidth",
    "vht_oper_centr_freq_seg0_idx",
    "he_oper_chwidth",
    "he_oper_centr_freq_seg0_idx",
];

/// Beacons that announce a channel switch before it is made: stations sleep through some.
const ANNOUNCEMENTS: u8 = 10;

/// The order that takes a radio from its text `from` to `channel`, its text being `to` then, with its stations; none where
/// more changes than the channel.
#[must_use]
pub fn channel_switch(from: &str, to: &str, channel: &Channel) -> Option<String> {
    let rest = |text| {
        let mut entries = entries(text);
        entries.retain(|key, _| !CHANNEL.contains(key));
        entries
    };
    if rest(from) != rest(to) || channel.band() == Band::Ghz6 {
        return None;
    }
    let width = channel.width().mhz();
    let mut order = format!(
        "CHAN_SWITCH {ANNOUNCEMENTS} {} center_freq1={} bandwidth={width}",
        channel.primary_mhz(),
        channel.centre_mhz()
    );
    let capabilities = value(to, "ht_capab").unwrap_or_default();
    for (side, offset) in [("[HT40+]", 1), ("[HT40-]", -1)] {
        if capabilities.contains(side) {
            // Writing to a String cannot fail.
            write!(order, " sec_channel_offset={offset}").unwrap_or_default();
        }
    }
    for (key, flag) in [
        ("ieee80211n", " ht"),
        ("ieee80211ac", " vht"),
        ("ieee80211ax", " he"),
    ] {
        if value(to, key) == Some("1") {
            order.push_str(flag);
        }
    }
    Some(order)
}

/// How to get from one configuration text of an access point to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They are the same.
    None,
    /// By setting these, without a station noticing.
    Hot(Vec<(String, String)>),
    /// By taking the access point down and up.
    Restart,
}

/// What leads from the text `from` to the text `to`.
#[must_use]
pub fn change(from: &str, to: &str) -> Change {
    if from == to {
        return Change::None;
    }
    let (from, to) = (entries(from), entries(to));
    if from.len() != to.len() {
        return Change::Restart;
    }
    let mut settings = Vec::new();
    for (key, value) in &to {
        match from.get(key) {
            Some(before) if before == value => {}
            Some(_) if HOT.contains(key) => {
                settings.push(((*key).to_owned(), (*value).to_owned()));
            }
            _ => return Change::Restart,
        }
    }
    Change::Hot(settings)
}

fn entries(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// The value of a key in a configuration text.
#[must_use]
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    entries(text).get(key).copied()
}

#[cfg(test)]
mod tests;
