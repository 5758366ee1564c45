//! Who else is there: listening for the beacons of others, and what was heard.

use std::time::Duration;

use wl_nl80211::{Nl80211Attr, Nl80211BssInfo, Nl80211Command, Nl80211ScanFlags};

use super::{NetlinkError, Nl80211};
use crate::backend::MacAddress;

/// Element identifier of an SSID (IEEE Std 802.11-2020 9.4.2.2).
const ELEMENT_SSID: u8 = 0;

/// An access point or mesh point heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bss {
    /// BSSID.
    pub bssid: MacAddress,
    /// Centre of its primary channel.
    pub frequency_mhz: u32,
    /// SSID; absent if it is hidden or not text.
    pub ssid: Option<String>,
    /// Received signal, if the driver measures it in dBm.
    pub signal_dbm: Option<i8>,
    /// Time since its last beacon.
    pub last_seen: Duration,
}

impl Nl80211 {
    /// Starts listening for beacons on the given 20 MHz channels (their centres, in MHz; all if none is given) without
    /// sending anything. Returns at once: [`super::Event::ScanDone`] says when it is over, about 0.1 s for each channel.
    /// An access point may do so on the channel it is on (where [`super::Wiphy::ap_scan`]) without its stations noticing.
    ///
    /// # Errors
    /// The kernel refuses: the interface is down, busy scanning, or the driver doesn't scan beside beacons.
    pub async fn scan(&self, ifindex: u32, frequencies_mhz: &[u32]) -> Result<(), NetlinkError> {
        let mut attributes = vec![
            Nl80211Attr::IfIndex(ifindex),
            Nl80211Attr::ScanFlags(Nl80211ScanFlags::Ap),
        ];
        if !frequencies_mhz.is_empty() {
            let frequencies = frequencies_mhz.to_vec();
            attributes.push(Nl80211Attr::ScanFrequencies(frequencies));
        }
        self.order(
            "listen for beacons",
            Nl80211Command::TriggerScan,
            attributes,
        )
        .await
    }

    /// What the wiphy of an interface heard in its last scans, by BSSID. The kernel forgets who was silent for 30 s,
    /// and knows nothing of an interface that is gone.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn heard(&self, ifindex: u32) -> Result<Vec<Bss>, NetlinkError> {
        let ask = vec![Nl80211Attr::IfIndex(ifindex)];
        let messages = self
            .dump("list who was heard", Nl80211Command::GetScan, ask)
            .await?;
        let each = messages.iter().flat_map(|one| &one.attributes);
        let mut found: Vec<Bss> = each
            .filter_map(|attribute| match attribute {
                Nl80211Attr::Bss(infos) => bss(infos),
                _ => None,
            })
            .collect();
        found.sort_by_key(|bss| bss.bssid);
        Ok(found)
    }
}

fn bss(infos: &[Nl80211BssInfo]) -> Option<Bss> {
    let (mut bssid, mut frequency, mut ssid, mut hears) = (None, None, None, None);
    let mut signal_dbm = None;
    let mut last_seen = Duration::ZERO;
    for info in infos {
        match info {
            Nl80211BssInfo::Bssid(octets) => bssid = Some(MacAddress(*octets)),
            Nl80211BssInfo::Frequency(mhz) => frequency = Some(*mhz),
            Nl80211BssInfo::SignalMbm(mbm) => {
                signal_dbm = i8::try_from(mbm.div_euclid(100)).ok();
            }
            Nl80211BssInfo::SeenMsAgo(ms) => last_seen = Duration::from_millis(u64::from(*ms)),
            Nl80211BssInfo::RawInformationElements(elements) => ssid = ssid_in(elements),
            Nl80211BssInfo::RawBeaconInformationElements(elements) => hears = ssid_in(elements),
            _ => {}
        }
    }
    Some(Bss {
        bssid: bssid?,
        frequency_mhz: frequency?,
        ssid: ssid.or(hears),
        signal_dbm,
        last_seen,
    })
}

/// The SSID among the elements of a frame; a hidden one is empty or all zero.
fn ssid_in(elements: &[u8]) -> Option<String> {
    let mut rest = elements;
    while let [id, length, tail @ ..] = rest {
        let body = tail.get(..usize::from(*length))?;
        if *id == ELEMENT_SSID {
            let hidden = body.iter().all(|octet| *octet == 0);
            let text = std::str::from_utf8(body).ok().filter(|_| !hidden);
            return text.map(str::to_owned);
        }
        rest = &tail[body.len()..];
    }
    None
}
