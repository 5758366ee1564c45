//! What the kernel says of a radio's last period, whoever schedules it: stations, received airtime, busy time, neighbours.
//!
//! A driver that counts airtime is believed. For the others it follows from bytes, packets and rates.

use std::collections::BTreeMap;

use crate::backend::wifi::nl80211::{Interface, Nl80211, Station, Survey};
use crate::backend::{MacAddress, Ratio, Refusal};

/// What a frame takes beside its bits: preamble and signal extension (26 us), SIFS (10 us), acknowledgement (34 us where it is
/// fastest) and what fills the last symbol, IEEE Std 802.11-2020 17.3, 17.4 and 18.3.2.4; at 5 GHz a little less.
pub(super) const FRAME_OVERHEAD_NS: u64 = 72_000;
/// A slower frame has a slower acknowledgement (10.6.6.5.2): its 14 bytes and what surrounds the bits of a frame, as bytes more
/// of the frame itself. As `ACK_BYTES` in `bpf/airtime.bpf.c`.
pub(super) const ACK_BYTES: u64 = 15;

/// What happened to a station in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StationPeriod {
    pub(super) mac: MacAddress,
    /// Airtime of what was sent to it.
    pub(super) sent_ns: u64,
    /// Airtime of what it sent.
    pub(super) received_ns: u64,
    /// Rate towards it.
    pub(super) tx_bitrate_kbps: Option<u32>,
    /// Its weight at mac80211's airtime fairness.
    pub(super) airtime_weight: Option<u16>,
}

/// Compares what the kernel counts now with what it counted a period ago.
#[derive(Debug)]
pub(super) struct Hardware {
    nl80211: Nl80211,
    stations: BTreeMap<(u32, MacAddress), Station>,
    surveys: BTreeMap<u32, Survey>,
}

impl Hardware {
    pub(super) fn new(nl80211: Nl80211) -> Self {
        Self {
            nl80211,
            stations: BTreeMap::new(),
            surveys: BTreeMap::new(),
        }
    }

    /// The interfaces that are there, with the names of their wiphys.
    pub(super) async fn interfaces(&self) -> Result<Vec<(Interface, String)>, Refusal> {
        interfaces(&self.nl80211).await
    }

    /// The stations of an interface in the period that ends now, by address.
    pub(super) async fn stations(&mut self, ifindex: u32) -> Result<Vec<StationPeriod>, Refusal> {
        let now = match self.nl80211.stations(ifindex).await {
            Err(error) if error.is_not_found() => Vec::new(),
            stations => stations.map_err(unreadable)?,
        };
        let before = |mac| {
            self.stations
                .get(&(ifindex, mac))
                .cloned()
                .unwrap_or_default()
        };
        let periods = now
            .iter()
            .map(|station| period(&before(station.mac), station))
            .collect();
        self.stations.retain(|(of, _), _| *of != ifindex);
        self.stations.extend(
            now.into_iter()
                .map(|station| ((ifindex, station.mac), station)),
        );
        Ok(periods)
    }

    /// The part of the period in which the channel of an interface was sensed busy, where the driver says.
    pub(super) async fn busy(&mut self, interface: &Interface) -> Result<Option<Ratio>, Refusal> {
        let surveys = match self.nl80211.survey(interface.ifindex).await {
            Err(error) if error.is_not_found() => return Ok(None),
            surveys => surveys.map_err(unreadable)?,
        };
        let channel = interface.channel.map(|channel| channel.primary_mhz());
        let now = surveys
            .into_iter()
            .find(|one| one.in_use || Some(one.frequency_mhz) == channel);
        let Some(now) = now else { return Ok(None) };
        let before = self.surveys.insert(interface.wiphy, now);
        let Some(before) = before.filter(|before| before.frequency_mhz == now.frequency_mhz) else {
            return Ok(None);
        };
        let since = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
        let (time, busy) = (
            since(now.time_ms, before.time_ms),
            since(now.busy_ms, before.busy_ms),
        );
        Ok(time
            .zip(busy)
            .filter(|(time, _)| *time > 0)
            .map(|(time, busy)| Ratio::of(busy, time)))
    }

    /// The access points heard on the channel of an interface, in order.
    pub(super) async fn heard(&self, interface: &Interface) -> Result<Vec<MacAddress>, Refusal> {
        let heard = match self.nl80211.heard(interface.ifindex).await {
            Err(error) if error.is_not_found() => Vec::new(),
            heard => heard.map_err(unreadable)?,
        };
        let channel = interface.channel.map(|channel| channel.primary_mhz());
        Ok(heard
            .into_iter()
            .filter(|bss| Some(bss.frequency_mhz) == channel)
            .map(|bss| bss.bssid)
            .collect())
    }
}

/// The wireless interfaces, with the names of their wiphys.
pub(super) async fn interfaces(nl80211: &Nl80211) -> Result<Vec<(Interface, String)>, Refusal> {
    let interfaces = nl80211.interfaces().await.map_err(unreadable)?;
    let mut wiphys = nl80211.known_wiphys();
    if interfaces
        .iter()
        .any(|one| wiphys.iter().all(|wiphy| wiphy.index != one.wiphy))
    {
        wiphys = nl80211.wiphys().await.map_err(unreadable)?.into();
    }
    let named = interfaces.into_iter().filter_map(|interface| {
        let wiphy = wiphys.iter().find(|wiphy| wiphy.index == interface.wiphy)?;
        Some((interface, wiphy.name.clone()))
    });
    Ok(named.collect())
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> Refusal {
    Refusal::new("/tranche-wifi:wifi", error.to_string())
}

fn period(before: &Station, now: &Station) -> StationPeriod {
    let fresh = Station::default();
    // It left and came back: everything counts from zero again.
    let before = if now.connected_s < before.connected_s {
        &fresh
    } else {
        before
    };
    let counted = |bytes: u64, frames: u64, kbps: Option<u32>| {
        let bytes_on_air = bytes + frames * ACK_BYTES;
        let bits_ns = bytes_on_air * 8_000_000 / u64::from(kbps.unwrap_or(0).max(1_000));
        if bytes == 0 {
            0
        } else {
            bits_ns + frames * FRAME_OVERHEAD_NS
        }
    };
    let measured = |now: Option<u64>, before: Option<u64>| {
        Some(now?.saturating_sub(before.unwrap_or(0)) * 1000)
    };
    let tx_frames = u64::from(now.tx_packets.wrapping_sub(before.tx_packets))
        + u64::from(now.tx_retries.wrapping_sub(before.tx_retries));
    let rx_frames = u64::from(now.rx_packets.wrapping_sub(before.rx_packets));
    StationPeriod {
        mac: now.mac,
        sent_ns: measured(now.tx_duration_us, before.tx_duration_us).unwrap_or_else(|| {
            counted(
                now.tx_bytes.saturating_sub(before.tx_bytes),
                tx_frames,
                now.tx_bitrate_kbps,
            )
        }),
        received_ns: measured(now.rx_duration_us, before.rx_duration_us).unwrap_or_else(|| {
            counted(
                now.rx_bytes.saturating_sub(before.rx_bytes),
                rx_frames,
                now.rx_bitrate_kbps,
            )
        }),
        tx_bitrate_kbps: now.tx_bitrate_kbps,
        airtime_weight: now.airtime_weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_counts_airtime_is_believed_and_others_are_calculated() {
        let before = Station {
            rx_duration_us: Some(1_000),
            tx_packets: 10,
            tx_bytes: 1_000,
            ..Station::default()
        };
        let now = Station {
            rx_duration_us: Some(3_500),
            rx_bytes: 1_000_000,
            tx_packets: 20,
            tx_retries: 5,
            tx_bytes: 16_000,
            tx_bitrate_kbps: Some(6_000),
            connected_s: 1,
            ..Station::default()
        };
        let got = period(&before, &now);
        assert_eq!(got.received_ns, 2_500_000);
        assert_eq!(
            got.sent_ns,
            (15_000 + 15 * ACK_BYTES) * 8_000_000 / 6_000 + 15 * FRAME_OVERHEAD_NS
        );
    }

    #[test]
    fn a_station_that_came_back_is_counted_from_zero() {
        let before = Station {
            tx_duration_us: Some(9_000),
            connected_s: 60,
            ..Station::default()
        };
        let now = Station {
            tx_duration_us: Some(2_000),
            connected_s: 1,
            ..Station::default()
        };
        assert_eq!(period(&before, &now).sent_ns, 2_000_000);
    }
}
