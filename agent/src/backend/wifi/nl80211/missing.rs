//! What `wl-nl80211` (0.8.0) lacks: attributes that it has no variant for, and what it reads wrongly or not at all.
//!
//! It refuses a whole station for one attribute of a mesh peer, swaps the times of a survey spent sending and receiving,
//! and takes the list of a band's HE capabilities for one of them. Numbers are those of linux/nl80211.h. Each item goes
//! when the crate has it.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_ALIGNTO, NLA_HEADER_SIZE, NlasIterator,
    ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader};
use wl_nl80211::{Nl80211Attr, Nl80211Command, Nl80211Message};

use super::{Station, Survey};
use crate::backend::MacAddress;

const NL80211_ATTR_MAC: u16 = 6;
const NL80211_ATTR_BEACON_INTERVAL: u16 = 12;
const NL80211_ATTR_STA_INFO: u16 = 21;
const NL80211_ATTR_WIPHY_BANDS: u16 = 22;
const NL80211_ATTR_MESH_ID: u16 = 24;
const NL80211_ATTR_REG_ALPHA2: u16 = 33;
const NL80211_ATTR_SURVEY_INFO: u16 = 84;
const NL80211_ATTR_WIPHY_TX_POWER_SETTING: u16 = 97;
const NL80211_ATTR_MAX_AP_ASSOC_STA: u16 = 202;
const NL80211_ATTR_AIRTIME_WEIGHT: u16 = 274;

const NL80211_BAND_ATTR_IFTYPE_DATA: u16 = 9;
const NL80211_BAND_IFTYPE_ATTR_HE_CAP_PHY: u16 = 3;

const NL80211_STA_INFO_RX_BYTES: u16 = 2;
const NL80211_STA_INFO_TX_BYTES: u16 = 3;
const NL80211_STA_INFO_SIGNAL: u16 = 7;
const NL80211_STA_INFO_TX_BITRATE: u16 = 8;
const NL80211_STA_INFO_RX_PACKETS: u16 = 9;
const NL80211_STA_INFO_TX_PACKETS: u16 = 10;
const NL80211_STA_INFO_TX_RETRIES: u16 = 11;
const NL80211_STA_INFO_TX_FAILED: u16 = 12;
const NL80211_STA_INFO_RX_BITRATE: u16 = 14;
const NL80211_STA_INFO_CONNECTED_TIME: u16 = 16;
const NL80211_STA_INFO_RX_BYTES64: u16 = 23;
const NL80211_STA_INFO_TX_BYTES64: u16 = 24;
const NL80211_STA_INFO_EXPECTED_THROUGHPUT: u16 = 27;
const NL80211_STA_INFO_RX_DURATION: u16 = 32;
const NL80211_STA_INFO_TX_DURATION: u16 = 39;
const NL80211_STA_INFO_AIRTIME_WEIGHT: u16 = 40;
const NL80211_RATE_INFO_BITRATE: u16 = 1;
const NL80211_RATE_INFO_BITRATE32: u16 = 5;

const NL80211_SURVEY_INFO_FREQUENCY: u16 = 1;
const NL80211_SURVEY_INFO_NOISE: u16 = 2;
const NL80211_SURVEY_INFO_IN_USE: u16 = 3;
const NL80211_SURVEY_INFO_TIME: u16 = 4;
const NL80211_SURVEY_INFO_TIME_BUSY: u16 = 5;
const NL80211_SURVEY_INFO_TIME_RX: u16 = 7;
const NL80211_SURVEY_INFO_TIME_TX: u16 = 8;

/// `NL80211_TX_POWER_AUTOMATIC`.
pub(super) const TX_POWER_AUTOMATIC: u32 = 0;
/// `NL80211_TX_POWER_FIXED`.
pub(super) const TX_POWER_FIXED: u32 = 2;

/// Time between beacons in time units of 1.024 ms.
pub(super) fn beacon_interval(time_units: u32) -> Nl80211Attr {
    attribute(NL80211_ATTR_BEACON_INTERVAL, time_units.to_ne_bytes())
}

/// Mesh identifier, 1 to 32 octets.
pub(super) fn mesh_id(id: &str) -> Nl80211Attr {
    attribute(NL80211_ATTR_MESH_ID, id.as_bytes())
}

/// Country of a regulatory domain.
pub(super) fn regulatory_alpha2(country: &str) -> Nl80211Attr {
    let mut text = country.as_bytes().to_vec();
    text.push(0);
    attribute(NL80211_ATTR_REG_ALPHA2, text)
}

/// The country in a message.
pub(super) fn alpha2_of(attributes: &[Nl80211Attr]) -> Option<String> {
    let value = other(attributes, NL80211_ATTR_REG_ALPHA2)?;
    let text = value.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

/// Whether the power level is the driver's choice or fixed.
pub(super) fn tx_power_setting(setting: u32) -> Nl80211Attr {
    attribute(NL80211_ATTR_WIPHY_TX_POWER_SETTING, setting.to_ne_bytes())
}

/// A station's weight at the airtime fairness of mac80211.
pub(super) fn airtime_weight(weight: u16) -> Nl80211Attr {
    attribute(NL80211_ATTR_AIRTIME_WEIGHT, weight.to_ne_bytes())
}

/// How many stations an access point of the wiphy takes, if the driver says so.
pub(super) fn max_stations_of(attributes: &[Nl80211Attr]) -> Option<u16> {
    let value = other(attributes, NL80211_ATTR_MAX_AP_ASSOC_STA)?;
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

fn attribute(kind: u16, value: impl Into<Vec<u8>>) -> Nl80211Attr {
    Nl80211Attr::Other(DefaultNla::new(kind, value.into()))
}

/// The value of an attribute that the crate has no variant for.
fn other(attributes: &[Nl80211Attr], kind: u16) -> Option<Vec<u8>> {
    use netlink_packet_core::Nla as _;
    attributes.iter().find_map(|attribute| match attribute {
        Nl80211Attr::Other(nla) if nla.kind() == kind => {
            let mut value = vec![0; nla.value_len()];
            nla.emit_value(&mut value);
            Some(value)
        }
        _ => None,
    })
}

/// A message of nl80211, not read yet.
#[derive(Debug)]
pub(super) struct RawMessage {
    command: u8,
    attributes: Vec<u8>,
}

impl RawMessage {
    /// A message to send.
    pub(super) fn new(command: Nl80211Command, attributes: Vec<Nl80211Attr>) -> Self {
        let message = Nl80211Message {
            cmd: command,
            attributes,
        };
        let mut buffer = vec![0; message.buffer_len()];
        message.emit(&mut buffer);
        Self {
            command: command.into(),
            attributes: buffer,
        }
    }

    /// The message as the crate reads it.
    pub(super) fn read(&self) -> Result<Nl80211Message, DecodeError> {
        let header = GenlHeader {
            cmd: self.command,
            version: self.version(),
        };
        Nl80211Message::parse_with_param(&self.attributes, header)
    }

    /// First octet of the HE PHY capabilities of each band (`NL80211_BAND_*`) that has some, one for each group of interface
    /// types.
    pub(super) fn he_phy(&self) -> Vec<(u16, u8)> {
        let mut found = Vec::new();
        for (band, attributes) in all(nested(&self.attributes, NL80211_ATTR_WIPHY_BANDS)) {
            for (_, entry) in all(nested(attributes, NL80211_BAND_ATTR_IFTYPE_DATA)) {
                let capability = nested(entry, NL80211_BAND_IFTYPE_ATTR_HE_CAP_PHY);
                found.extend(capability.first().map(|octet| (band, *octet)));
            }
        }
        found
    }

    /// The survey of a channel in it, if there is one.
    pub(super) fn survey(&self) -> Option<Survey> {
        let mut survey = Survey::default();
        for (kind, value) in all(nested(&self.attributes, NL80211_ATTR_SURVEY_INFO)) {
            match kind {
                NL80211_SURVEY_INFO_FREQUENCY => survey.frequency_mhz = u32_of(value)?,
                NL80211_SURVEY_INFO_NOISE => survey.noise_dbm = i8_of(value),
                NL80211_SURVEY_INFO_IN_USE => survey.in_use = true,
                NL80211_SURVEY_INFO_TIME => survey.time_ms = u64_of(value),
                NL80211_SURVEY_INFO_TIME_BUSY => survey.busy_ms = u64_of(value),
                NL80211_SURVEY_INFO_TIME_RX => survey.rx_ms = u64_of(value),
                NL80211_SURVEY_INFO_TIME_TX => survey.tx_ms = u64_of(value),
                _ => {}
            }
        }
        Some(survey).filter(|survey| survey.frequency_mhz != 0)
    }

    /// The station in it, if there is one.
    pub(super) fn station(&self) -> Option<Station> {
        let mac = nested(&self.attributes, NL80211_ATTR_MAC);
        let mut station = Station {
            mac: MacAddress(mac.try_into().ok()?),
            ..Station::default()
        };
        for (kind, value) in all(nested(&self.attributes, NL80211_ATTR_STA_INFO)) {
            station.take(kind, value);
        }
        Some(station)
    }
}

impl Station {
    fn take(&mut self, kind: u16, value: &[u8]) {
        let count = || u32_of(value).unwrap_or_default();
        match kind {
            NL80211_STA_INFO_SIGNAL => self.signal_dbm = i8_of(value),
            NL80211_STA_INFO_TX_BITRATE => self.tx_bitrate_kbps = kbps(value),
            NL80211_STA_INFO_RX_BITRATE => self.rx_bitrate_kbps = kbps(value),
            // The 32-bit byte counters come beside the 64-bit ones, and wrap.
            NL80211_STA_INFO_TX_BYTES => self.tx_bytes = self.tx_bytes.max(count().into()),
            NL80211_STA_INFO_RX_BYTES => self.rx_bytes = self.rx_bytes.max(count().into()),
            NL80211_STA_INFO_TX_BYTES64 => self.tx_bytes = u64_of(value).unwrap_or_default(),
            NL80211_STA_INFO_RX_BYTES64 => self.rx_bytes = u64_of(value).unwrap_or_default(),
            NL80211_STA_INFO_RX_PACKETS => self.rx_packets = count(),
            NL80211_STA_INFO_TX_PACKETS => self.tx_packets = count(),
            NL80211_STA_INFO_TX_RETRIES => self.tx_retries = count(),
            NL80211_STA_INFO_TX_FAILED => self.tx_failed = count(),
            NL80211_STA_INFO_CONNECTED_TIME => self.connected_s = count(),
            NL80211_STA_INFO_TX_DURATION => self.tx_duration_us = u64_of(value),
            NL80211_STA_INFO_RX_DURATION => self.rx_duration_us = u64_of(value),
            NL80211_STA_INFO_EXPECTED_THROUGHPUT => self.expected_throughput_kbps = u32_of(value),
            NL80211_STA_INFO_AIRTIME_WEIGHT => {
                self.airtime_weight = value.try_into().ok().map(u16::from_ne_bytes);
            }
            _ => {}
        }
    }
}

/// The kernel counts in 100 kbit/s; the 32-bit figure is there for rates that the 16-bit one cannot hold.
fn kbps(rate: &[u8]) -> Option<u32> {
    let wide = u32_of(nested(rate, NL80211_RATE_INFO_BITRATE32));
    let narrow = || {
        let value = nested(rate, NL80211_RATE_INFO_BITRATE).try_into().ok()?;
        Some(u32::from(u16::from_ne_bytes(value)))
    };
    wide.or_else(narrow).map(|rate| rate.saturating_mul(100))
}

impl GenlFamily for RawMessage {
    fn family_name() -> &'static str {
        Nl80211Message::family_name()
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for RawMessage {
    fn buffer_len(&self) -> usize {
        self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.attributes);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for RawMessage {
    fn parse_with_param(buffer: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self {
            command: header.cmd,
            attributes: buffer.to_vec(),
        })
    }
}

/// Content of the attribute `kind`, empty if it is not there.
fn nested(attributes: &[u8], kind: u16) -> &[u8] {
    let mut found = all(attributes).filter(|(of_kind, _)| *of_kind == kind);
    found.next().map(|(_, content)| content).unwrap_or_default()
}

/// Kind and content of each attribute, up to one that is not whole.
fn all(buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut at = 0;
    NlasIterator::new(buffer)
        .map_while(Result::ok)
        .map(move |attribute| {
            let start = at + NLA_HEADER_SIZE;
            let end = start + attribute.value_length();
            at = end.next_multiple_of(NLA_ALIGNTO);
            (attribute.kind(), buffer.get(start..end).unwrap_or_default())
        })
}

fn i8_of(value: &[u8]) -> Option<i8> {
    value.try_into().ok().map(i8::from_ne_bytes)
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attribute: u16, content: &[u8]) -> RawMessage {
        let nested = DefaultNla::new(attribute, content.to_vec());
        let mac = DefaultNla::new(NL80211_ATTR_MAC, vec![0x42, 0, 0, 0, 1, 0]);
        let mut attributes = vec![0; mac.buffer_len() + nested.buffer_len()];
        let (first, rest) = attributes.split_at_mut(mac.buffer_len());
        mac.emit(first);
        nested.emit(rest);
        RawMessage {
            command: 0,
            attributes,
        }
    }

    /// Of a mesh peer of mac80211 6.1, up to its flags.
    #[rustfmt::skip]
    const MESH_PEER: [u8; 252] = [
        8, 0, 16, 0, 20, 0, 0, 0, 8, 0, 1, 0, 32, 0, 0, 0, 12, 0, 42, 0, 218, 197, 215, 52, 2, 0, 0, 0,
        8, 0, 2, 0, 104, 129, 0, 0, 8, 0, 3, 0, 86, 1, 0, 0, 12, 0, 23, 0, 104, 129, 0, 0, 0, 0, 0, 0,
        12, 0, 24, 0, 86, 1, 0, 0, 0, 0, 0, 0, 6, 0, 4, 0, 40, 126, 0, 0, 6, 0, 5, 0, 6, 93, 0, 0,
        5, 0, 6, 0, 4, 0, 0, 0, 12, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 39, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        5, 0, 7, 0, 226, 0, 0, 0, 5, 0, 13, 0, 226, 0, 0, 0,
        28, 0, 8, 0, 8, 0, 5, 0, 130, 0, 0, 0, 6, 0, 1, 0, 130, 0, 0, 0, 5, 0, 2, 0, 8, 0, 0, 0,
        28, 0, 14, 0, 8, 0, 5, 0, 130, 0, 0, 0, 6, 0, 1, 0, 130, 0, 0, 0, 5, 0, 2, 0, 8, 0, 0, 0,
        8, 0, 9, 0, 142, 1, 0, 0, 8, 0, 10, 0, 3, 0, 0, 0, 8, 0, 11, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 0, 0,
        8, 0, 41, 0, 211, 18, 0, 0, 24, 0, 15, 0, 4, 0, 3, 0, 5, 0, 4, 0, 2, 0, 0, 0, 6, 0, 5, 0, 100, 0, 0, 0,
    ];

    #[test]
    fn a_mesh_peer_is_a_station() {
        let station = message(NL80211_ATTR_STA_INFO, &MESH_PEER)
            .station()
            .unwrap();
        let expected = Station {
            mac: MacAddress([0x42, 0, 0, 0, 1, 0]),
            signal_dbm: Some(-30),
            tx_bitrate_kbps: Some(13_000),
            rx_bitrate_kbps: Some(13_000),
            tx_bytes: 342,
            rx_bytes: 33_128,
            rx_packets: 398,
            tx_packets: 3,
            tx_retries: 0,
            tx_failed: 0,
            connected_s: 20,
            tx_duration_us: Some(0),
            rx_duration_us: Some(0),
            expected_throughput_kbps: None,
            airtime_weight: None,
        };
        assert_eq!(station, expected);
        let cut = message(NL80211_ATTR_STA_INFO, &MESH_PEER[..190]).station();
        assert_eq!(cut.unwrap().signal_dbm, Some(-30), "what is whole counts");
    }

    #[test]
    fn a_byte_counter_beyond_32_bits_is_not_cut() {
        let mut infos = Vec::new();
        for (kind, value) in [
            (NL80211_STA_INFO_TX_BYTES64, vec![1, 0, 0, 0, 2, 0, 0, 0]),
            (NL80211_STA_INFO_TX_BYTES, vec![9, 0, 0, 0]),
        ] {
            let attribute = DefaultNla::new(kind, value);
            let at = infos.len();
            infos.resize(at + attribute.buffer_len(), 0);
            attribute.emit(&mut infos[at..]);
        }
        let station = message(NL80211_ATTR_STA_INFO, &infos).station().unwrap();
        assert_eq!(station.tx_bytes, (2 << 32) + 1);
    }

    #[test]
    fn a_survey_keeps_sending_and_receiving_apart() {
        #[rustfmt::skip]
        let infos = [
            8, 0, 1, 0, 0x85, 9, 0, 0, 5, 0, 2, 0, 0xa4, 0, 0, 0, 4, 0, 3, 0,
            12, 0, 4, 0, 100, 0, 0, 0, 0, 0, 0, 0, 12, 0, 5, 0, 60, 0, 0, 0, 0, 0, 0, 0,
            12, 0, 7, 0, 20, 0, 0, 0, 0, 0, 0, 0, 12, 0, 8, 0, 30, 0, 0, 0, 0, 0, 0, 0,
        ];
        let survey = message(NL80211_ATTR_SURVEY_INFO, &infos).survey().unwrap();
        let expected = Survey {
            frequency_mhz: 2437,
            in_use: true,
            noise_dbm: Some(-92),
            time_ms: Some(100),
            busy_ms: Some(60),
            rx_ms: Some(20),
            tx_ms: Some(30),
        };
        assert_eq!(survey, expected);
        assert_eq!(message(NL80211_ATTR_SURVEY_INFO, &[]).survey(), None);
    }

    #[test]
    fn nothing_makes_the_reader_panic() {
        for end in 0..MESH_PEER.len() {
            let raw = RawMessage {
                command: 0,
                attributes: MESH_PEER[end..].to_vec(),
            };
            assert_eq!(raw.survey(), None);
            drop((raw.station(), raw.he_phy()));
        }
    }
}
