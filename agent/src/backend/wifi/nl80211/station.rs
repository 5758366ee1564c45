//! Who is associated, and what the radio heard: stations and channel surveys.

use wl_nl80211::{Nl80211Attr, Nl80211Command};

use super::missing::{self, RawMessage};
use super::{NetlinkError, Nl80211};
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
    /// The stations of an interface, by address; none of an interface that is gone.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn stations(&self, ifindex: u32) -> Result<Vec<Station>, NetlinkError> {
        let ask = vec![Nl80211Attr::IfIndex(ifindex)];
        let messages = self
            .dump_raw("list stations", Nl80211Command::GetStation, ask)
            .await?;
        let each = messages.iter().filter_map(RawMessage::station);
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

    /// The survey of the interface's wiphy: the channel in use and others that it was on. Empty where the driver has none
    /// or the interface is gone.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn survey(&self, ifindex: u32) -> Result<Vec<Survey>, NetlinkError> {
        const EOPNOTSUPP: i32 = 95;
        let ask = vec![Nl80211Attr::IfIndex(ifindex)];
        let answers = self
            .dump_raw("read the survey", Nl80211Command::GetSurvey, ask)
            .await;
        match answers {
            Ok(messages) => Ok(messages.iter().filter_map(RawMessage::survey).collect()),
            Err(error) if error.errno() == Some(EOPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
