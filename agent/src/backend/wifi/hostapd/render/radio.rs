//! The radio's own part of hostapd's configuration: channel, width, rates, and what the hardware can do there.

use std::fmt::Write as _;
use std::path::Path;

use super::super::super::{Band, RadioConfig, Width, spectrum};
use super::{RenderError, Text};

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
