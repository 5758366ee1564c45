//! How the kernel tells what a radio can do: in many parts, put together here.

use std::collections::BTreeMap;

use wl_nl80211::{
    Ieee80211HtCaps, Ieee80211VhtCapInfo, Nl80211Attr, Nl80211Band, Nl80211BandInfo,
    Nl80211BandType, Nl80211Command, Nl80211ExtFeature, Nl80211Features, Nl80211Frequency,
    Nl80211FrequencyInfo, Nl80211IfaceComb, Nl80211IfaceCombAttribute,
    Nl80211IfaceCombLimitAttribute, Nl80211Message,
};

use super::InterfaceKind;
use super::missing::{self, RawMessage};
use super::wiphy::{BandLimits, ChannelLimits, InterfaceCombination, InterfaceLimit, Wiphy};
use crate::backend::wifi::{Band, Width, number_at};

/// Puts the parts of a split dump together, wiphy by wiphy.
pub(super) fn assemble(parts: &[RawMessage]) -> Vec<Wiphy> {
    let mut wiphys: BTreeMap<u32, Wiphy> = BTreeMap::new();
    for (message, he_phy) in parts.iter().filter_map(read) {
        let index = message.attributes.iter().find_map(|one| match one {
            Nl80211Attr::Wiphy(index) => Some(*index),
            _ => None,
        });
        let Some(index) = index else { continue };
        let wiphy = wiphys.entry(index).or_default();
        wiphy.index = index;
        if let Some(most) = missing::max_stations_of(&message.attributes) {
            wiphy.max_stations = Some(most);
        }
        for attribute in message.attributes {
            wiphy.take(attribute);
        }
        for (band, octet) in he_phy {
            if let Some(limits) = wiphy.band_mut(Nl80211BandType::from(band)) {
                limits.take_he(octet);
            }
        }
    }
    wiphys.into_values().collect()
}

/// One part. What the crate cannot read must not hide the rest.
fn read(part: &RawMessage) -> Option<(Nl80211Message, Vec<(u16, u8)>)> {
    match part.read() {
        Ok(message) => Some((message, part.he_phy())),
        Err(reason) => {
            tracing::warn!(%reason, "a part of a wiphy cannot be read and is left out");
            None
        }
    }
}

impl Wiphy {
    fn take(&mut self, attribute: Nl80211Attr) {
        match attribute {
            Nl80211Attr::WiphyName(name) => self.name = name,
            Nl80211Attr::WiphyBands(bands) => {
                for band in bands {
                    self.take_band(band);
                }
            }
            Nl80211Attr::SupportedIftypes(modes) => {
                self.kinds = modes
                    .into_iter()
                    .map(|mode| InterfaceKind::from_number(u32::from(u16::from(mode))))
                    .collect();
            }
            Nl80211Attr::InterfaceCombination(combinations) => {
                self.combinations = combinations.iter().map(combination).collect();
            }
            Nl80211Attr::SupportedCommand(commands) => {
                self.channel_switch = commands.contains(&Nl80211Command::ChannelSwitch);
            }
            Nl80211Attr::ExtFeatures(features) => {
                self.airtime_fairness = features.contains(&Nl80211ExtFeature::AirtimeFairness);
            }
            Nl80211Attr::Features(features) => {
                self.ap_scan = features.contains(Nl80211Features::ApScan);
                self.mac_on_create = features.contains(Nl80211Features::MacOnCreate);
            }
            _ => {}
        }
    }

    /// A band comes in parts: capabilities in one message, a few channels in each of the next.
    fn take_band(&mut self, part: Nl80211Band) {
        let Some(limits) = self.band_mut(part.kind) else {
            return;
        };
        for info in part.info {
            limits.take(info);
        }
    }

    /// The limits of a band, as far as they came; `None` for bands without access points.
    fn band_mut(&mut self, kind: Nl80211BandType) -> Option<&mut BandLimits> {
        let band = match kind {
            Nl80211BandType::Band2GHz => Band::Ghz2,
            Nl80211BandType::Band5GHz => Band::Ghz5,
            Nl80211BandType::Band6GHz => Band::Ghz6,
            _ => return None,
        };
        let at = self.bands.iter().position(|limits| limits.band == band);
        let at = at.unwrap_or_else(|| {
            self.bands.push(BandLimits {
                band,
                channels: Vec::new(),
                ht: false,
                vht: false,
                ht_info: 0,
                vht_info: 0,
                he: None,
                max_width: Width::Mhz20,
            });
            self.bands.len() - 1
        });
        self.bands.get_mut(at)
    }
}

impl BandLimits {
    fn take(&mut self, info: Nl80211BandInfo) {
        match info {
            Nl80211BandInfo::Freqs(frequencies) => {
                self.channels
                    .extend(frequencies.iter().filter_map(channel_limits));
            }
            Nl80211BandInfo::HtCapa(ht) => {
                self.ht = true;
                self.ht_info = ht.bits();
                if ht.contains(Ieee80211HtCaps::SupWidth2040) {
                    self.widen(Width::Mhz40);
                }
            }
            Nl80211BandInfo::VhtCap(vht) => {
                // The kernel also gives it, empty, for bands that have no VHT.
                self.vht = !vht.is_empty();
                self.vht_info = vht.bits();
                if self.vht && self.band != Band::Ghz2 {
                    self.widen(Width::Mhz80);
                }
                if vht.intersects(Ieee80211VhtCapInfo::SuppChanWidthMask) {
                    self.widen(Width::Mhz160);
                }
            }
            _ => {}
        }
    }

    /// Supported Channel Width Set of the HE PHY capabilities (IEEE Std 802.11ax-2021 9.4.2.248.3), B0 reserved.
    fn take_he(&mut self, octet: u8) {
        let bit = |bit: u8| octet & (1 << bit) != 0;
        let width = match self.band {
            Band::Ghz2 if bit(1) => Width::Mhz40,
            Band::Ghz2 => Width::Mhz20,
            _ if bit(3) => Width::Mhz160,
            _ if bit(2) => Width::Mhz80,
            _ => Width::Mhz20,
        };
        self.he = Some(width);
        self.widen(width);
    }

    fn widen(&mut self, width: Width) {
        self.max_width = self.max_width.max(width);
    }
}

fn channel_limits(frequency: &Nl80211Frequency) -> Option<ChannelLimits> {
    let mut limits = ChannelLimits::default();
    for info in &frequency.info {
        match info {
            Nl80211FrequencyInfo::Freq(mhz) => limits.mhz = *mhz,
            Nl80211FrequencyInfo::Disabled => limits.disabled = true,
            Nl80211FrequencyInfo::NoIr | Nl80211FrequencyInfo::NoIbss => limits.no_ir = true,
            Nl80211FrequencyInfo::Radar => limits.radar = true,
            Nl80211FrequencyInfo::NoHt40Plus => limits.no_ht40_plus = true,
            Nl80211FrequencyInfo::NoHt40Minus => limits.no_ht40_minus = true,
            Nl80211FrequencyInfo::No80Mhz => limits.no_80mhz = true,
            Nl80211FrequencyInfo::No160Mhz => limits.no_160mhz = true,
            Nl80211FrequencyInfo::MaxTxPower(mbm) => {
                limits.max_tx_power_dbm = i8::try_from(mbm / 100).unwrap_or(i8::MAX);
            }
            _ => {}
        }
    }
    limits.number = number_at(limits.mhz)?.1;
    Some(limits)
}

fn combination(combination: &Nl80211IfaceComb) -> InterfaceCombination {
    let mut found = InterfaceCombination::default();
    for attribute in &combination.attributes {
        match attribute {
            Nl80211IfaceCombAttribute::Maxnum(most) => found.max_total = *most,
            Nl80211IfaceCombAttribute::NumChannels(channels) => found.channels = *channels,
            Nl80211IfaceCombAttribute::BiMinGcd(gcd) => found.min_beacon_gcd = Some(*gcd),
            Nl80211IfaceCombAttribute::Limits(limits) => {
                found.limits = limits
                    .iter()
                    .map(|limit| interface_limit(&limit.attributes))
                    .collect();
            }
            _ => {}
        }
    }
    found
}

fn interface_limit(attributes: &[Nl80211IfaceCombLimitAttribute]) -> InterfaceLimit {
    let mut limit = InterfaceLimit::default();
    for attribute in attributes {
        match attribute {
            Nl80211IfaceCombLimitAttribute::Max(most) => limit.max = *most,
            Nl80211IfaceCombLimitAttribute::Iftypes(kinds) => {
                let numbers = kinds.iter().map(|kind| u32::from(*kind));
                limit.kinds = numbers.map(InterfaceKind::from_number).collect();
            }
            _ => {}
        }
    }
    limit
}
