//! Who is associated, and what the radio heard: stations and channel surveys.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use wl_nl80211::{Nl80211Attr, Nl80211Command, Nl80211RateInfo, Nl80211StationInfo};

use super::missing::SurveyMessage;
use super::{NetlinkError, Nl80211, missing};
use crate::backend::MacAddress;

/// An associated station or mesh peer. Absent is what the driver does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Station {
    /// Address.
    pub mac: MacAddress,
    /// Signal of its last frame.
    pub signal_dbm: Option<i8>,
    /// Rate of the last data frame to it.
    pub tx_bitrate_kbps: Option<u32>,
    /// Rate of the last data frame from it.
    pub rx_bitrate_kbps: Option<u32>,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Frames received from it.
    pub rx_packets: u32,
    /// Frames sent to it.
    pub tx_packets: u32,
    /// Frames sent again.
    pub tx_retries: u32,
    /// Frames given up.
    pub tx_failed: u32,
    /// Time since it associated.
    pub connected_s: u32,
    /// Airtime spent sending to it.
    pub tx_duration_us: Option<u64>,
    /// Airtime it spent sending to us.
    pub rx_duration_us: Option<u64>,
    /// What the rate control expects to reach.
    pub expected_throughput_kbps: Option<u32>,
    /// Weight at the airtime fairness of mac80211 (256 unless set).
    pub airtime_weight: Option<u16>,
}

/// What a radio heard on one channel since it was started (or the counters were reset). Absent is what the driver does
/// not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Centre of the channel.
    pub frequency_mhz: u32,
    /// Whether it is the one in use.
    pub in_use: bool,
    /// Noise.
    pub noise_dbm: Option<i8>,
    /// Time spent on the channel.
    pub time_ms: Option<u64>,
    /// Of it, sensed busy, own transmissions included.
    pub busy_ms: Option<u64>,
    /// Of it, receiving.
    pub rx_ms: Option<u64>,
    /// Of it, sending.
    pub tx_ms: Option<u64>,
}

impl Nl80211 {
    /// The stations of an interface, by address.
    ///
    /// # Errors
    /// The kernel can't be asked, or the interface is gone.
    pub async fn stations(&self, ifindex: u32) -> Result<Vec<Station>, NetlinkError> {
        let ask = vec![Nl80211Attr::IfIndex(ifindex)];
        let messages = self
            .dump("list stations", Nl80211Command::GetStation, ask)
            .await?;
        let each = messages.iter().filter_map(|one| station(&one.attributes));
        let mut stations: Vec<Station> = each.collect();
        stations.sort_by_key(|station| station.mac);
        Ok(stations)
    }

    /// Sets a station's weight at the airtime fairness of mac80211, 1 to 65,535; 256 is everybody's to begin with. Only
    /// where [`super::Wiphy::airtime_fairness`].
    ///
    /// # Errors
    /// The kernel refuses: the station is gone, or the driver has no airtime fairness.
    pub async fn set_airtime_weight(
        &self,
        ifindex: u32,
        station: MacAddress,
        weight: u16,
    ) -> Result<(), NetlinkError> {
        let action = format!("give station {station} airtime weight {weight}");
        let attributes = vec![
            Nl80211Attr::IfIndex(ifindex),
            Nl80211Attr::Mac(station.0),
            missing::airtime_weight(weight),
        ];
        self.order(&action, Nl80211Command::SetStation, attributes)
            .await
    }

    /// The survey of the interface's wiphy: the channel in use and others that it was on. Empty where the driver has none.
    ///
    /// # Errors
    /// The kernel can't be asked, or the interface is gone.
    pub async fn survey(&self, ifindex: u32) -> Result<Vec<Survey>, NetlinkError> {
        const EOPNOTSUPP: i32 = 95;
        let ask = SurveyMessage::Get { ifindex };
        let answers = match self
            .exchange("read the survey", ask, NLM_F_REQUEST | NLM_F_DUMP)
            .await
        {
            Err(error) if error.errno() == Some(EOPNOTSUPP) => return Ok(Vec::new()),
            answers => answers?,
        };
        let mut surveys = Vec::new();
        for answer in answers {
            match answer {
                Ok(SurveyMessage::Results(survey)) => surveys.extend(survey),
                Ok(SurveyMessage::Get { .. }) => {}
                Err(reason) => {
                    return Err(NetlinkError::Unreadable {
                        action: "read the survey".to_owned(),
                        reason: reason.to_string(),
                    });
                }
            }
        }
        Ok(surveys)
    }
}

/// The station in a message.
fn station(attributes: &[Nl80211Attr]) -> Option<Station> {
    let (mut mac, mut infos) = (None, None);
    for attribute in attributes {
        match attribute {
            Nl80211Attr::Mac(octets) => mac = Some(MacAddress(*octets)),
            Nl80211Attr::StationInfo(list) => infos = Some(list),
            _ => {}
        }
    }
    let mut station = Station {
        mac: mac?,
        ..Station::default()
    };
    // The 32-bit byte counters come beside the 64-bit ones and wrap: the larger is the newer kind.
    for info in infos? {
        match info {
            Nl80211StationInfo::Signal(dbm) => station.signal_dbm = Some(*dbm),
            Nl80211StationInfo::TxBitrate(rate) => station.tx_bitrate_kbps = kbps(rate),
            Nl80211StationInfo::RxBitrate(rate) => station.rx_bitrate_kbps = kbps(rate),
            Nl80211StationInfo::TxBytes64(bytes) => station.tx_bytes = *bytes,
            Nl80211StationInfo::RxBytes64(bytes) => station.rx_bytes = *bytes,
            Nl80211StationInfo::TxBytes(bytes) => {
                station.tx_bytes = station.tx_bytes.max(u64::from(*bytes));
            }
            Nl80211StationInfo::RxBytes(bytes) => {
                station.rx_bytes = station.rx_bytes.max(u64::from(*bytes));
            }
            Nl80211StationInfo::RxPackets(count) => station.rx_packets = *count,
            Nl80211StationInfo::TxPackets(count) => station.tx_packets = *count,
            Nl80211StationInfo::TxRetries(count) => station.tx_retries = *count,
            Nl80211StationInfo::TxFailed(count) => station.tx_failed = *count,
            Nl80211StationInfo::ConnectedTime(seconds) => station.connected_s = *seconds,
            Nl80211StationInfo::TxDuration(us) => station.tx_duration_us = Some(*us),
            Nl80211StationInfo::RxDuration(us) => station.rx_duration_us = Some(*us),
            Nl80211StationInfo::ExpectedThroughput(kbps) => {
                station.expected_throughput_kbps = Some(*kbps);
            }
            Nl80211StationInfo::AirtimeWeight(weight) => station.airtime_weight = Some(*weight),
            _ => {}
        }
    }
    Some(station)
}

/// The kernel counts in 100 kbit/s; the 32-bit figure is there for rates that the 16-bit one cannot hold.
fn kbps(rate: &[Nl80211RateInfo]) -> Option<u32> {
    let wide = rate.iter().find_map(|info| match info {
        Nl80211RateInfo::Bitrate32(rate) => Some(*rate),
        _ => None,
    });
    let narrow = || {
        rate.iter().find_map(|info| match info {
            Nl80211RateInfo::Bitrate(rate) => Some(u32::from(*rate)),
            _ => None,
        })
    };
    wide.or_else(narrow).map(|rate| rate.saturating_mul(100))
}
