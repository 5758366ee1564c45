//! What hostapd says of a radio.

use crate::backend::MacAddress;

/// What hostapd says of a radio: the answer to `STATUS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// As in `ENABLED`, `DFS`, `COUNTRY_UPDATE`, `HT_SCAN`, `DISABLED`.
    pub state: String,
    /// Primary channel's frequency.
    pub freq_mhz: u32,
    /// Where the secondary channel is, -1, 0 (there is none) or 1.
    pub secondary_channel: i8,
    /// Its access points, the anchor first.
    pub bsses: Vec<BssStatus>,
}

/// One access point of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BssStatus {
    /// Network interface name.
    pub name: String,
    /// BSSID.
    pub bssid: Option<MacAddress>,
    /// Associated stations.
    pub stations: u16,
}

impl Status {
    /// Reads an answer; what it does not know it skips.
    pub(super) fn parse(answer: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in answer.lines().filter_map(|line| line.split_once('=')) {
            match key.split_once('[').map_or(key, |(name, _)| name) {
                "state" => value.clone_into(&mut status.state),
                "freq" => status.freq_mhz = value.parse().unwrap_or_default(),
                "secondary_channel" => {
                    status.secondary_channel = value.parse().unwrap_or_default();
                }
                "bss" => status.bsses.push(BssStatus {
                    name: value.to_owned(),
                    bssid: None,
                    stations: 0,
                }),
                // What follows a name is about it.
                "bssid" => {
                    if let Some(bss) = status.bsses.last_mut() {
                        bss.bssid = value.parse().ok();
                    }
                }
                "num_sta" => {
                    if let Some(bss) = status.bsses.last_mut() {
                        bss.stations = value.parse().unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        status
    }

    /// The access point of this name.
    #[must_use]
    pub fn bss(&self, name: &str) -> Option<&BssStatus> {
        self.bsses.iter().find(|bss| bss.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_every_access_point() {
        let answer = "state=ENABLED\nphy=phy0\nfreq=2412\nnum_sta_non_erp=0\nsecondary_channel=0\n\
                      bss[0]=anchor0\nbssid[0]=42:00:00:00:00:00\nssid[0]=anchor\nnum_sta[0]=0\n\
                      bss[1]=va\nbssid[1]=06:00:00:00:00:00\nssid[1]=bss[2]=x\nnum_sta[1]=3\n";
        let status = Status::parse(answer);
        assert_eq!((status.state.as_str(), status.freq_mhz), ("ENABLED", 2412));
        assert_eq!(status.bsses.len(), 2);
        let bss = status.bss("va").unwrap();
        assert_eq!(bss.bssid, Some(MacAddress([6, 0, 0, 0, 0, 0])));
        assert_eq!(bss.stations, 3);
    }
}
