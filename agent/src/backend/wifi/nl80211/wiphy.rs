//! What a radio can do: bands, channels under the regulatory domain in force, widths, how many interfaces of which kind.

use super::InterfaceKind;
use crate::backend::wifi::{Band, Channel, Width};

/// A radio of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiphy {
    /// The kernel's number, for requests.
    pub index: u32,
    /// Name, as in `phy0`: what a `radio` of the configuration is called.
    pub name: String,
    /// Bands that access points can use.
    pub bands: Vec<BandLimits>,
    /// Kinds of interface that it can have at all.
    pub kinds: Vec<InterfaceKind>,
    /// Which of them it can have at once; empty if only one at a time.
    pub combinations: Vec<InterfaceCombination>,
    /// Stations that one access point takes, if the driver says so.
    pub max_stations: Option<u16>,
    /// Whether mac80211 schedules airtime between stations by weight (`NL80211_EXT_FEATURE_AIRTIME_FAIRNESS`).
    pub airtime_fairness: bool,
    /// Whether it can scan while an access point beacons (`NL80211_FEATURE_AP_SCAN`).
    pub ap_scan: bool,
    /// Whether an interface can be given its address when it is made (`NL80211_FEATURE_MAC_ON_CREATE`).
    pub mac_on_create: bool,
    /// Whether an access point can take its stations along to another channel (`NL80211_CMD_CHANNEL_SWITCH`).
    pub channel_switch: bool,
}

/// A band of a radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandLimits {
    /// Which.
    pub band: Band,
    /// Its 20 MHz channels.
    pub channels: Vec<ChannelLimits>,
    /// 802.11n.
    pub ht: bool,
    /// 802.11ac.
    pub vht: bool,
    /// HT capability info (IEEE Std 802.11-2020 9.4.2.55.2), 0 without HT.
    pub ht_info: u16,
    /// VHT capabilities info (9.4.2.157.2), 0 without VHT.
    pub vht_info: u32,
    /// Widest channel of 802.11ax, if it has that.
    pub he: Option<Width>,
    /// Widest channel.
    pub max_width: Width,
}

/// A 20 MHz channel of a radio under the regulatory domain in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Number.
    pub number: u8,
    /// Centre.
    pub mhz: u32,
    /// Not allowed at all.
    pub disabled: bool,
    /// Nothing may be sent before somebody else was heard: no access point, no mesh point.
    pub no_ir: bool,
    /// To be watched for radar before it is used.
    pub radar: bool,
    /// Not the primary channel of a 40 MHz channel that reaches up.
    pub no_ht40_plus: bool,
    /// Not the primary channel of a 40 MHz channel that reaches down.
    pub no_ht40_minus: bool,
    /// Not part of an 80 MHz channel.
    pub no_80mhz: bool,
    /// Not part of a 160 MHz channel.
    pub no_160mhz: bool,
    /// Most power that may be sent with, in whole dBm.
    pub max_tx_power_dbm: i8,
}

/// Interfaces that a radio can have at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceCombination {
    /// Most of all kinds together.
    pub max_total: u32,
    /// Most of each group of kinds; a kind in no group cannot be in this combination.
    pub limits: Vec<InterfaceLimit>,
    /// On how many channels at once.
    pub channels: u32,
    /// Access points and mesh points must beacon at one interval (or one with this greatest common divisor).
    pub min_beacon_gcd: Option<u32>,
}

/// Most interfaces of a group of kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceLimit {
    /// How many.
    pub max: u32,
    /// Of these kinds together.
    pub kinds: Vec<InterfaceKind>,
}

impl Wiphy {
    /// What it can do in a band, if it has it.
    #[must_use]
    pub fn band(&self, band: Band) -> Option<&BandLimits> {
        self.bands.iter().find(|limits| limits.band == band)
    }

    /// The most interfaces of the kinds that a configuration makes (access points and mesh points) it has at once on one
    /// channel, at least 1 if it can have any.
    #[must_use]
    pub fn max_vifs(&self) -> u8 {
        let ours = [InterfaceKind::AccessPoint, InterfaceKind::MeshPoint];
        let most = |combination: &InterfaceCombination| {
            let sum: u32 = combination
                .limits
                .iter()
                .filter(|limit| limit.kinds.iter().any(|kind| ours.contains(kind)))
                .fold(0, |sum, limit| sum.saturating_add(limit.max));
            sum.min(combination.max_total)
        };
        let alone = u32::from(ours.iter().any(|kind| self.kinds.contains(kind)));
        let most = self.combinations.iter().map(most).fold(alone, u32::max);
        u8::try_from(most).unwrap_or(u8::MAX)
    }

    /// Whether it can have so many access points and mesh points at once.
    ///
    /// # Errors
    /// One sentence: what it can have.
    pub fn check_vifs(&self, access_points: u32, mesh_points: u32) -> Result<(), String> {
        let wanted = [
            (InterfaceKind::AccessPoint, access_points),
            (InterfaceKind::MeshPoint, mesh_points),
        ];
        for (kind, count) in wanted {
            if count > 0 && !self.kinds.contains(&kind) {
                return Err(format!("radio {} carries no {kind}", self.name));
            }
        }
        let fits = |combination: &&InterfaceCombination| combination.fits(&wanted);
        if access_points + mesh_points <= 1 || self.combinations.iter().any(|one| fits(&one)) {
            return Ok(());
        }
        let most = |kind| {
            let of_kind = |combination: &InterfaceCombination| combination.most(kind);
            self.combinations.iter().map(of_kind).max().unwrap_or(1)
        };
        Err(format!(
            "radio {} cannot carry {access_points} access points and {mesh_points} mesh points at once: at most {} \
             interfaces, among them {} access points and {} mesh points",
            self.name,
            self.max_vifs(),
            most(InterfaceKind::AccessPoint),
            most(InterfaceKind::MeshPoint),
        ))
    }

    /// Whether an access point may be on a channel, under the regulatory domain in force when this was read.
    ///
    /// # Errors
    /// One sentence: the band or width is not in the hardware, or the channel is not allowed.
    pub fn check_channel(&self, channel: &Channel) -> Result<(), String> {
        let (band, number) = (channel.band(), channel.number());
        let Some(limits) = self.band(band) else {
            return Err(format!("radio {} has no {band} band", self.name));
        };
        if channel.width() > limits.max_width {
            return Err(format!(
                "radio {} has channels of at most {} in the {band} band, not {}",
                self.name,
                limits.max_width,
                channel.width()
            ));
        }
        for mhz in channel.members_mhz() {
            let Some(member) = limits.channels.iter().find(|one| one.mhz == mhz) else {
                return Err(format!("radio {} has no {channel}", self.name));
            };
            if member.disabled {
                return Err(format!("the regulatory domain forbids {channel}"));
            }
            if member.no_ir {
                return Err(format!(
                    "the regulatory domain lets nobody open a network on {channel}"
                ));
            }
            if (channel.width() == Width::Mhz80 && member.no_80mhz)
                || (channel.width() == Width::Mhz160 && (member.no_80mhz || member.no_160mhz))
            {
                return Err(format!("the regulatory domain forbids {channel}"));
            }
        }
        let primary = limits.channels.iter().find(|one| one.number == number);
        let reaches_up = channel.centre_mhz() > channel.primary_mhz();
        if channel.width() == Width::Mhz40
            && primary.is_some_and(|one| match reaches_up {
                true => one.no_ht40_plus,
                false => one.no_ht40_minus,
            })
        {
            return Err(format!("the regulatory domain forbids {channel}"));
        }
        Ok(())
    }
}

impl InterfaceCombination {
    /// The most interfaces of one kind, if there is nothing else.
    fn most(&self, kind: InterfaceKind) -> u32 {
        let of_kind = self.limits.iter().filter(|one| one.kinds.contains(&kind));
        let sum = of_kind.fold(0_u32, |sum, limit| sum.saturating_add(limit.max));
        sum.min(self.max_total)
    }

    /// Whether so many interfaces of these kinds fit. Kinds that share a group compete for it.
    fn fits(&self, wanted: &[(InterfaceKind, u32)]) -> bool {
        let total: u32 = wanted.iter().map(|(_, count)| count).sum();
        let each = wanted
            .iter()
            .all(|(kind, count)| *count <= self.most(*kind));
        let groups = self
            .limits
            .iter()
            .filter(|limit| wanted.iter().any(|(kind, _)| limit.kinds.contains(kind)));
        let room = groups.fold(0_u32, |sum, limit| sum.saturating_add(limit.max));
        each && total <= room && total <= self.max_total
    }
}
