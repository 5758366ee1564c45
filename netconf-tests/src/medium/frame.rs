//! What the medium has to know of an 802.11 frame: who sends it, to whom, how urgent it is, and at which rates.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::airtime::{Protection, Rate};

/// Frame check sequence, which the driver leaves out.
const FCS_BYTES: usize = 4;

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is a group's.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The six bytes at the beginning of `bytes`.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|first| Self(*first))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a MAC address such as 02:00:00:00:01:00");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = u8::from_str_radix(part.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

/// Access category of EDCA, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessCategory {
    /// Voice, and all management.
    Voice,
    /// Video.
    Video,
    /// Best effort.
    BestEffort,
    /// Background.
    Background,
}

/// How an access category contends (IEEE Std 802.11-2020 table 9-155, the defaults).
#[derive(Debug, Clone, Copy)]
pub struct Edca {
    /// Slots of silence after SIFS.
    pub aifsn: u64,
    /// Smallest contention window, in slots less one.
    pub least_window: u16,
    /// Largest contention window.
    pub most_window: u16,
}

impl AccessCategory {
    /// All of them, in the order of their urgency.
    pub const ALL: [Self; 4] = [Self::Voice, Self::Video, Self::BestEffort, Self::Background];

    /// Its parameters.
    #[must_use]
    pub fn edca(self) -> Edca {
        let (aifsn, least_window, most_window) = match self {
            Self::Voice => (2, 3, 7),
            Self::Video => (2, 7, 15),
            Self::BestEffort => (3, 15, 1023),
            Self::Background => (7, 15, 1023),
        };
        Edca {
            aifsn,
            least_window,
            most_window,
        }
    }

    /// Of a user priority (table 10-1).
    fn of_priority(priority: u8) -> Self {
        match priority & 7 {
            1 | 2 => Self::Background,
            4 | 5 => Self::Video,
            6 | 7 => Self::Voice,
            _ => Self::BestEffort,
        }
    }
}

/// One step of the series of rates with which a frame is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The driver's index of the rate.
    pub index: i8,
    /// What that means.
    pub rate: Rate,
    /// What goes ahead.
    pub protection: Protection,
    /// How many tries at this rate, at least one.
    pub tries: u8,
}

/// A frame that a radio wants to send.
#[derive(Debug, Clone)]
pub struct Frame {
    /// How its radio recognises it.
    pub cookie: u64,
    /// How its radio flagged it, handed back with the status.
    pub flags: u32,
    /// Centre of the channel.
    pub frequency_mhz: u32,
    /// The whole frame without frame check sequence.
    pub data: Vec<u8>,
    /// Rates in the order of their use; never empty.
    pub steps: Vec<Step>,
    /// The sender asked for no acknowledgement.
    pub no_acknowledgement: bool,
}

impl Frame {
    /// Address 1.
    #[must_use]
    pub fn receiver(&self) -> Option<Mac> {
        Mac::read(self.data.get(4..)?)
    }

    /// Address 2.
    #[must_use]
    pub fn transmitter(&self) -> Option<Mac> {
        Mac::read(self.data.get(10..)?)
    }

    /// How urgent it is. Without quality of service data is best effort and the rest is voice.
    #[must_use]
    pub fn access_category(&self) -> AccessCategory {
        let control = self.data.first().copied().unwrap_or_default();
        let flags = self.data.get(1).copied().unwrap_or_default();
        let is_data = control & 0x0c == 0x08;
        let has_qos = control & 0x80 != 0;
        if !is_data {
            return AccessCategory::Voice;
        }
        // Behind a fourth address where the frame goes from one access point to another.
        let at = if flags & 3 == 3 { 30 } else { 24 };
        match self.data.get(at) {
            Some(&qos) if has_qos => AccessCategory::of_priority(qos),
            _ => AccessCategory::BestEffort,
        }
    }

    /// Length on the air, frame check sequence included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() + FCS_BYTES
    }

    /// Whether somebody is to answer.
    #[must_use]
    pub fn wants_acknowledgement(&self) -> bool {
        !self.no_acknowledgement && !self.receiver().is_none_or(Mac::is_multicast)
    }

    /// Sets the bit by which a receiver knows that it may have this frame already (9.2.4.1.6).
    pub(super) fn mark_retry(&mut self) {
        if let Some(flags) = self.data.get_mut(1) {
            *flags |= 0x08;
        }
    }

    /// The step of the try with this number, counted from 0; `None` when there is no such try. Nothing that wants no
    /// acknowledgement is tried twice.
    #[must_use]
    pub fn step(&self, attempt: u32) -> Option<(usize, &Step)> {
        if attempt > 0 && !self.wants_acknowledgement() {
            return None;
        }
        let mut left = attempt;
        for (at, step) in self.steps.iter().enumerate() {
            match left.checked_sub(u32::from(step.tries)) {
                None => return Some((at, step)),
                Some(rest) => left = rest,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: Vec<u8>) -> Frame {
        let step = |index, tries| Step {
            index,
            rate: Rate::Ofdm { kbps: 6000 },
            protection: Protection::None,
            tries,
        };
        Frame {
            cookie: 1,
            flags: 0,
            frequency_mhz: 2412,
            data,
            steps: vec![step(4, 2), step(0, 1)],
            no_acknowledgement: false,
        }
    }

    fn header(control: u8, flags: u8, receiver: u8, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        (data[0], data[1]) = (control, flags);
        data[4] = receiver;
        data[15] = 7;
        data
    }

    #[test]
    fn urgency_is_read_from_the_header() {
        let mut qos = header(0x88, 1, 2, 26);
        for (tid, expect) in [
            (0, AccessCategory::BestEffort),
            (1, AccessCategory::Background),
            (5, AccessCategory::Video),
            (6, AccessCategory::Voice),
        ] {
            qos[24] = tid;
            assert_eq!(frame(qos.clone()).access_category(), expect);
        }
        let mut between = header(0x88, 3, 2, 32);
        between[30] = 7;
        assert_eq!(frame(between).access_category(), AccessCategory::Voice);
        let plain = frame(header(0x08, 1, 2, 24));
        assert_eq!(plain.access_category(), AccessCategory::BestEffort);
        let beacon = frame(header(0x80, 0, 0xff, 40));
        assert_eq!(beacon.access_category(), AccessCategory::Voice);
        assert_eq!(
            frame(vec![0x88]).access_category(),
            AccessCategory::BestEffort
        );
    }

    #[test]
    fn the_series_of_rates_is_walked_to_its_end() {
        let unicast = frame(header(0x08, 1, 2, 24));
        let walked: Vec<_> = (0..5).map(|n| unicast.step(n).map(|(at, _)| at)).collect();
        assert_eq!(walked, [Some(0), Some(0), Some(1), None, None]);
        let multicast = frame(header(0x08, 1, 3, 24));
        assert!(!multicast.wants_acknowledgement());
        assert!(multicast.step(0).is_some() && multicast.step(1).is_none());
    }

    #[test]
    fn addresses_are_read_and_written() {
        let frame = frame(header(0x08, 1, 2, 24));
        assert_eq!(frame.receiver().unwrap().to_string(), "02:00:00:00:00:00");
        assert_eq!(
            frame.transmitter().unwrap().to_string(),
            "00:00:00:00:00:07"
        );
        let mac: Mac = "02:00:00:00:0a:00".parse().unwrap();
        assert_eq!(mac, Mac([2, 0, 0, 0, 10, 0]));
        for wrong in [
            "",
            "02:00",
            "2:0:0:0:a:0",
            "02:00:00:00:0a:00:01",
            "02:00:00:00:0g:00",
        ] {
            assert!(
                wrong
                    .parse::<Mac>()
                    .unwrap_err()
                    .contains("not a MAC address")
            );
        }
    }
}
