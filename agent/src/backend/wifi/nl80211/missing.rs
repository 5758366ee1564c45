//! What `wl-nl80211` (0.8.0) lacks: attributes that it has no variant for, and two things that it reads wrongly.
//!
//! Numbers are those of linux/nl80211.h. Each item goes when the crate has it.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_ALIGNTO, NLA_HEADER_SIZE, NlasIterator,
    ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader};
use wl_nl80211::{Nl80211Attr, Nl80211Command, Nl80211Message};

use super::Survey;

const NL80211_CMD_GET_SURVEY: u8 = 50;

const NL80211_ATTR_IFINDEX: u16 = 3;
const NL80211_ATTR_BEACON_INTERVAL: u16 = 12;
const NL80211_ATTR_WIPHY_BANDS: u16 = 22;
const NL80211_ATTR_MESH_ID: u16 = 24;
const NL80211_ATTR_REG_ALPHA2: u16 = 33;
const NL80211_ATTR_SURVEY_INFO: u16 = 84;
const NL80211_ATTR_WIPHY_TX_POWER_SETTING: u16 = 97;
const NL80211_ATTR_MAX_AP_ASSOC_STA: u16 = 202;
const NL80211_ATTR_AIRTIME_WEIGHT: u16 = 274;

const NL80211_BAND_ATTR_IFTYPE_DATA: u16 = 9;
const NL80211_BAND_IFTYPE_ATTR_HE_CAP_PHY: u16 = 3;

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

/// A part of a wiphy, with the HE capabilities of its bands: the crate takes the list of them, one for each group of
/// interface types, for one of them.
#[derive(Debug)]
pub(super) struct WiphyPart {
    /// The message as the crate reads it.
    pub(super) message: Nl80211Message,
    /// First octet of the HE PHY capabilities, by band (`NL80211_BAND_*`).
    pub(super) he_phy: Vec<(u16, u8)>,
}

impl WiphyPart {
    /// Asks for all wiphys, in parts.
    pub(super) fn request() -> Self {
        Self {
            message: Nl80211Message {
                cmd: Nl80211Command::GetWiphy,
                attributes: vec![Nl80211Attr::SplitWiphyDump],
            },
            he_phy: Vec::new(),
        }
    }
}

impl GenlFamily for WiphyPart {
    fn family_name() -> &'static str {
        Nl80211Message::family_name()
    }

    fn command(&self) -> u8 {
        self.message.command()
    }

    fn version(&self) -> u8 {
        self.message.version()
    }
}

impl Emitable for WiphyPart {
    fn buffer_len(&self) -> usize {
        self.message.buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.message.emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for WiphyPart {
    fn parse_with_param(buffer: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let mut he_phy = Vec::new();
        for band in members(buffer, NL80211_ATTR_WIPHY_BANDS)? {
            let (of_band, attributes) = band?;
            for entry in members(attributes, NL80211_BAND_ATTR_IFTYPE_DATA)? {
                let (_, entry) = entry?;
                for attribute in NlasIterator::new(entry) {
                    let attribute = attribute?;
                    let first = attribute.value().first();
                    if attribute.kind() == NL80211_BAND_IFTYPE_ATTR_HE_CAP_PHY {
                        he_phy.extend(first.map(|octet| (of_band, *octet)));
                    }
                }
            }
        }
        Ok(Self {
            message: Nl80211Message::parse_with_param(buffer, header)?,
            he_phy,
        })
    }
}

/// The members of the nested attribute `kind` among attributes: each one's kind and content.
fn members(
    attributes: &[u8],
    kind: u16,
) -> Result<impl Iterator<Item = Result<(u16, &[u8]), DecodeError>>, DecodeError> {
    let mut nested: &[u8] = &[];
    for attribute in raw_attributes(attributes) {
        let (of_kind, content) = attribute?;
        if of_kind == kind {
            nested = content;
        }
    }
    Ok(raw_attributes(nested))
}

/// Kind and content of each attribute, borrowed from the message.
fn raw_attributes(buffer: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), DecodeError>> {
    let mut at = 0;
    NlasIterator::new(buffer).map(move |attribute| {
        let attribute = attribute?;
        let start = at + NLA_HEADER_SIZE;
        let end = start + attribute.value_length();
        at = end.next_multiple_of(NLA_ALIGNTO);
        let content = buffer.get(start..end).unwrap_or_default();
        Ok((attribute.kind(), content))
    })
}

/// Survey messages: the crate takes the time spent receiving for the time spent sending and the other way round.
#[derive(Debug)]
pub(super) enum SurveyMessage {
    /// Asks for the surveys of an interface's wiphy.
    Get {
        /// The interface.
        ifindex: u32,
    },
    /// One channel.
    Results(Option<Survey>),
}

impl GenlFamily for SurveyMessage {
    fn family_name() -> &'static str {
        "nl80211"
    }

    fn command(&self) -> u8 {
        NL80211_CMD_GET_SURVEY
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for SurveyMessage {
    fn buffer_len(&self) -> usize {
        match self {
            Self::Get { .. } => ifindex(0).buffer_len(),
            Self::Results(_) => 0,
        }
    }

    fn emit(&self, buffer: &mut [u8]) {
        if let Self::Get { ifindex: index } = self {
            ifindex(*index).emit(buffer);
        }
    }
}

fn ifindex(index: u32) -> DefaultNla {
    DefaultNla::new(NL80211_ATTR_IFINDEX, index.to_ne_bytes().to_vec())
}

impl ParseableParametrized<[u8], GenlHeader> for SurveyMessage {
    fn parse_with_param(buffer: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        for attribute in NlasIterator::new(buffer) {
            let attribute = attribute?;
            if attribute.kind() == NL80211_ATTR_SURVEY_INFO {
                return survey(attribute.value()).map(Self::Results);
            }
        }
        Ok(Self::Results(None))
    }
}

/// One channel's survey; `None` if it does not say of which channel.
fn survey(buffer: &[u8]) -> Result<Option<Survey>, DecodeError> {
    let mut survey = Survey::default();
    for attribute in NlasIterator::new(buffer) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            NL80211_SURVEY_INFO_FREQUENCY => {
                survey.frequency_mhz = netlink_packet_core::parse_u32(value)?;
            }
            NL80211_SURVEY_INFO_NOISE => {
                survey.noise_dbm = Some(netlink_packet_core::parse_i8(value)?);
            }
            NL80211_SURVEY_INFO_IN_USE => survey.in_use = true,
            NL80211_SURVEY_INFO_TIME => survey.time_ms = milliseconds(value)?,
            NL80211_SURVEY_INFO_TIME_BUSY => survey.busy_ms = milliseconds(value)?,
            NL80211_SURVEY_INFO_TIME_RX => survey.rx_ms = milliseconds(value)?,
            NL80211_SURVEY_INFO_TIME_TX => survey.tx_ms = milliseconds(value)?,
            _ => {}
        }
    }
    Ok(Some(survey).filter(|survey| survey.frequency_mhz != 0))
}

fn milliseconds(value: &[u8]) -> Result<Option<u64>, DecodeError> {
    netlink_packet_core::parse_u64(value).map(Some)
}
