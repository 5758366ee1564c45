//! From typed configuration to hostapd's configuration text (hostapd.conf of release 2.10). Pure: no file, no process.
//!
//! Nothing of a value can become a line of its own: SSIDs are written in hexadecimal, what else comes from outside is
//! refused when it has a control character. hostapd applies the rest of a line as it stands, without quotes.

mod change;
mod radio;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::super::passphrase;
use super::super::{AccessPoint, Band, Radius, Roaming, Security, SecurityMode};
use crate::backend::{MacAddress, Secret};

pub use change::{Change, change, channel_switch, value};
pub use radio::{BandCapabilities, radio};

/// Stations of one access point at most (IEEE Std 802.11-2020 9.4.1.8), which is hostapd's own default.
const MAX_STATIONS: u16 = 2007;

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

#[cfg(test)]
mod tests;
