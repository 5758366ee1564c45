//! How long a frame is on the air: IEEE Std 802.11-2020, clauses 15 and 16 (DSSS), 17 and 18 (OFDM, ERP), 19 (HT), 21 (VHT).
//!
//! Pure arithmetic in nanoseconds. Lengths are those of the PSDU, frame check sequence included. Aggregates (A-MPDU) are not
//! known here: the radios that this medium serves hand over one frame at a time.

/// Length of a backoff slot; 802.11g with short slots, and 802.11a (tables 17-21 and 18-5).
pub const SLOT_NS: u64 = 9_000;
/// How long before the end of a slot another transmission must begin to be noticed (aCCATime).
pub const CCA_NS: u64 = 4_000;
/// PSDU of an acknowledgement or a CTS, in bytes (9.3.1.3, 9.3.1.4).
const RESPONSE_BYTES: usize = 14;
/// PSDU of an RTS, in bytes (9.3.1.2).
const RTS_BYTES: usize = 20;

/// Frequency band, which decides on timing and on what a rate index means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// 2.4 GHz: DSSS and OFDM.
    Ghz2,
    /// 5 GHz and 6 GHz: OFDM.
    Ghz5,
}

impl Band {
    /// The band of a channel's centre.
    #[must_use]
    pub fn of(frequency_mhz: u32) -> Self {
        if frequency_mhz < 3000 {
            Self::Ghz2
        } else {
            Self::Ghz5
        }
    }

    /// Time between a frame and its acknowledgement.
    #[must_use]
    pub fn sifs_ns(self) -> u64 {
        match self {
            Self::Ghz2 => 10_000,
            Self::Ghz5 => 16_000,
        }
    }

    /// Silence that OFDM frames keep at their end, so that decoders have the time they have at 5 GHz (18.3.2.4).
    fn signal_extension_ns(self) -> u64 {
        match self {
            Self::Ghz2 => 6_000,
            Self::Ghz5 => 0,
        }
    }
}

/// Form of the preamble of a rate with several streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// HT-mixed (clause 19).
    Ht,
    /// VHT (clause 21).
    Vht,
}

/// A rate with all that decides on airtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// 1, 2, 5.5 and 11 Mbit/s.
    Dsss {
        /// Data rate.
        kbps: u32,
        /// Preamble and header in 96 instead of 192 microseconds.
        short_preamble: bool,
    },
    /// 6 to 54 Mbit/s.
    Ofdm {
        /// Data rate.
        kbps: u32,
    },
    /// HT and VHT.
    Mimo {
        /// Which of the two.
        preamble: Preamble,
        /// Spatial streams, 1 to 8.
        streams: u8,
        /// Modulation and code rate, 0 to 9.
        mcs: u8,
        /// Channel width.
        width_mhz: u16,
        /// Symbols of 3.6 instead of 4 microseconds.
        short_guard: bool,
    },
}

const DSSS_KBPS: [u32; 4] = [1000, 2000, 5500, 11_000];
const OFDM_KBPS: [u32; 8] = [6000, 9000, 12_000, 18_000, 24_000, 36_000, 48_000, 54_000];
/// Bits per subcarrier and stream times twelve, by MCS (tables 19-27 and 21-30).
const BITS_X12: [u64; 10] = [6, 12, 18, 24, 36, 48, 54, 60, 72, 80];

impl Rate {
    /// The slowest that everybody understands.
    #[must_use]
    pub fn lowest(band: Band) -> Self {
        match band {
            Band::Ghz2 => Self::Dsss {
                kbps: 1000,
                short_preamble: false,
            },
            Band::Ghz5 => Self::Ofdm { kbps: 6000 },
        }
    }

    /// By the index that `mac80211_hwsim` gives it: in 2.4 GHz the four of DSSS come first.
    #[must_use]
    pub fn legacy(band: Band, index: u8, short_preamble: bool) -> Option<Self> {
        let index = usize::from(index);
        let dsss = if band == Band::Ghz2 {
            &DSSS_KBPS[..]
        } else {
            &[]
        };
        if let Some(&kbps) = dsss.get(index) {
            return Some(Self::Dsss {
                kbps,
                // 1 Mbit/s knows no short one.
                short_preamble: short_preamble && index > 0,
            });
        }
        let kbps = *OFDM_KBPS.get(index - dsss.len())?;
        Some(Self::Ofdm { kbps })
    }

    /// The index of the nearest legacy rate that is not faster: what a receiver may be told of any rate.
    #[must_use]
    pub fn legacy_index(self, band: Band) -> u8 {
        let kbps = self.kbps();
        let dsss = if band == Band::Ghz2 {
            DSSS_KBPS.len()
        } else {
            0
        };
        let at = match self {
            Self::Dsss { .. } => DSSS_KBPS.iter().rposition(|&k| k <= kbps),
            _ => OFDM_KBPS.iter().rposition(|&k| k <= kbps).map(|i| i + dsss),
        };
        u8::try_from(at.unwrap_or(0)).unwrap_or(0)
    }

    /// HT by MCS index, 0 to 31.
    #[must_use]
    pub fn ht(index: u8, width_mhz: u16, short_guard: bool) -> Option<Self> {
        (index < 32).then_some(Self::Mimo {
            preamble: Preamble::Ht,
            streams: index / 8 + 1,
            mcs: index % 8,
            width_mhz,
            short_guard,
        })
    }

    /// VHT by number of streams (1 to 8) and MCS index, 0 to 9.
    #[must_use]
    pub fn vht(streams: u8, mcs: u8, width_mhz: u16, short_guard: bool) -> Option<Self> {
        ((1..=8).contains(&streams) && mcs < 10).then_some(Self::Mimo {
            preamble: Preamble::Vht,
            streams,
            mcs,
            width_mhz,
            short_guard,
        })
    }

    /// Data rate.
    #[must_use]
    pub fn kbps(self) -> u32 {
        match self {
            Self::Dsss { kbps, .. } | Self::Ofdm { kbps } => kbps,
            Self::Mimo { short_guard, .. } => {
                let symbol_ns = if short_guard { 3600 } else { 4000 };
                u32::try_from(self.bits_per_symbol() * 1_000_000 / symbol_ns).unwrap_or(u32::MAX)
            }
        }
    }

    /// Time of a frame of `bytes`, preamble included (TXTIME: 16.3.4, 17.4.3, 19.4.3, 21.4.3).
    #[must_use]
    pub fn frame_ns(self, band: Band, bytes: usize) -> u64 {
        let bits = 8 * bytes as u64;
        match self {
            Self::Dsss {
                kbps,
                short_preamble,
            } => {
                let preamble_us = if short_preamble { 96 } else { 192 };
                (preamble_us + (bits * 1000).div_ceil(u64::from(kbps))) * 1000
            }
            Self::Ofdm { .. } => {
                let symbols = (16 + bits + 6).div_ceil(self.bits_per_symbol());
                20_000 + symbols * 4000 + band.signal_extension_ns()
            }
            Self::Mimo {
                preamble,
                streams,
                short_guard,
                ..
            } => {
                let symbols = (16 + bits + 6).div_ceil(self.bits_per_symbol());
                let symbols_ns = if short_guard {
                    (symbols * 3600).div_ceil(4000) * 4000
                } else {
                    symbols * 4000
                };
                // Legacy part and signal field, one short training field, one long one for each stream (four for three).
                let training: u64 = match streams {
                    1 => 1,
                    2 => 2,
                    3 | 4 => 4,
                    5 | 6 => 6,
                    _ => 8,
                };
                let fixed_us = match preamble {
                    Preamble::Ht => 32,
                    Preamble::Vht => 36,
                };
                (fixed_us + 4 * training) * 1000 + symbols_ns + band.signal_extension_ns()
            }
        }
    }

    /// The rate of the acknowledgement: the fastest mandatory one of the same kind that is not faster (10.6.6.5.2).
    #[must_use]
    pub fn response(self) -> Self {
        let kbps = match self {
            Self::Dsss { .. } => return self,
            Self::Ofdm { kbps } if kbps < 12_000 => 6000,
            Self::Ofdm { kbps } if kbps < 24_000 => 12_000,
            Self::Mimo { mcs: 0, .. } => 6000,
            Self::Mimo { mcs: 1 | 2, .. } => 12_000,
            Self::Ofdm { .. } | Self::Mimo { .. } => 24_000,
        };
        Self::Ofdm { kbps }
    }

    fn bits_per_symbol(self) -> u64 {
        match self {
            Self::Dsss { .. } => 1,
            Self::Ofdm { kbps } => u64::from(kbps) / 250,
            Self::Mimo {
                streams,
                mcs,
                width_mhz,
                ..
            } => {
                let subcarriers = match width_mhz {
                    0..40 => 52,
                    40..80 => 108,
                    80..160 => 234,
                    _ => 468,
                };
                let bits = BITS_X12.get(usize::from(mcs)).copied().unwrap_or(6);
                subcarriers * bits * u64::from(streams) / 12
            }
        }
    }
}

/// What goes ahead of a frame to keep others silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    #[default]
    None,
    /// RTS, answered by CTS.
    RtsCts,
    /// A CTS to oneself.
    CtsToSelf,
}

/// Time of one try: protection, frame, and where it wants one the acknowledgement. A frame that nobody acknowledges occupies
/// the medium as long: its duration field keeps the others away (10.3.2.4).
#[must_use]
pub fn try_ns(
    band: Band,
    rate: Rate,
    protection: Protection,
    bytes: usize,
    wants_acknowledgement: bool,
) -> u64 {
    let response = rate.response();
    let sifs = band.sifs_ns();
    let answer = sifs + response.frame_ns(band, RESPONSE_BYTES);
    let ahead = match protection {
        Protection::None => 0,
        Protection::RtsCts => response.frame_ns(band, RTS_BYTES) + answer + sifs,
        Protection::CtsToSelf => answer,
    };
    ahead + rate.frame_ns(band, bytes) + if wants_acknowledgement { answer } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ofdm(kbps: u32) -> Rate {
        Rate::Ofdm { kbps }
    }

    fn dsss(kbps: u32, short_preamble: bool) -> Rate {
        Rate::Dsss {
            kbps,
            short_preamble,
        }
    }

    #[test]
    fn frames_take_what_the_standard_says() {
        let cases = [
            // Acknowledgements: 304, 44, 32 and 28 us are in every textbook.
            (dsss(1000, false), Band::Ghz2, 14, 304_000),
            (dsss(11_000, true), Band::Ghz2, 14, 107_000),
            (ofdm(6000), Band::Ghz5, 14, 44_000),
            (ofdm(12_000), Band::Ghz5, 14, 32_000),
            (ofdm(24_000), Band::Ghz5, 14, 28_000),
            // 1500 bytes: ceil(12022 / N_DBPS) symbols.
            (ofdm(54_000), Band::Ghz5, 1500, 244_000),
            (ofdm(54_000), Band::Ghz2, 1500, 250_000),
            (ofdm(6000), Band::Ghz5, 1500, 2_024_000),
            (dsss(11_000, false), Band::Ghz2, 1500, 1_283_000),
            (dsss(2000, true), Band::Ghz2, 1500, 6_096_000),
        ];
        for (rate, band, bytes, ns) in cases {
            assert_eq!(rate.frame_ns(band, bytes), ns, "{rate:?} {bytes}");
        }
        let ht7 = Rate::ht(7, 20, false).unwrap();
        assert_eq!(ht7.frame_ns(Band::Ghz5, 1500), 36_000 + 47 * 4000);
        let ht15 = Rate::ht(15, 40, true).unwrap();
        assert_eq!(
            ht15.frame_ns(Band::Ghz5, 1500),
            40_000 + 44_000,
            "12 symbols of 3.6 us, padded"
        );
        let vht = Rate::vht(2, 9, 80, false).unwrap();
        assert_eq!(vht.frame_ns(Band::Ghz5, 1500), 44_000 + 4 * 4000);
    }

    #[test]
    fn data_rates_are_those_of_the_tables() {
        let ht = |index, width, short| Rate::ht(index, width, short).unwrap().kbps();
        assert_eq!((ht(0, 20, false), ht(7, 20, false)), (6500, 65_000));
        assert_eq!((ht(7, 20, true), ht(15, 40, false)), (72_222, 270_000));
        let vht =
            |streams, mcs, width, short| Rate::vht(streams, mcs, width, short).unwrap().kbps();
        assert_eq!(
            (vht(1, 8, 20, false), vht(1, 9, 80, true)),
            (78_000, 433_333)
        );
        assert_eq!(vht(1, 9, 160, false), 780_000);
        assert_eq!(Rate::ht(32, 20, false), None);
        assert_eq!(Rate::vht(1, 10, 80, false), None);
    }

    #[test]
    fn an_index_means_what_the_driver_means() {
        assert_eq!(Rate::legacy(Band::Ghz2, 0, true), Some(dsss(1000, false)));
        assert_eq!(Rate::legacy(Band::Ghz2, 3, true), Some(dsss(11_000, true)));
        assert_eq!(Rate::legacy(Band::Ghz2, 4, false), Some(ofdm(6000)));
        assert_eq!(Rate::legacy(Band::Ghz2, 11, false), Some(ofdm(54_000)));
        assert_eq!(Rate::legacy(Band::Ghz2, 12, false), None);
        assert_eq!(Rate::legacy(Band::Ghz5, 7, false), Some(ofdm(54_000)));
        assert_eq!(Rate::legacy(Band::Ghz5, 8, false), None);
        for index in 0..12 {
            let rate = Rate::legacy(Band::Ghz2, index, false).unwrap();
            assert_eq!(rate.legacy_index(Band::Ghz2), index);
        }
        assert_eq!(Rate::ht(7, 40, false).unwrap().legacy_index(Band::Ghz5), 7);
    }

    #[test]
    fn a_whole_exchange_is_the_sum_of_its_parts() {
        // 54 Mbit/s at 5 GHz: 244 + 16 + 28.
        let plain = try_ns(Band::Ghz5, ofdm(54_000), Protection::None, 1500, true);
        assert_eq!(plain, 288_000);
        let multicast = try_ns(Band::Ghz5, ofdm(6000), Protection::None, 1500, false);
        assert_eq!(multicast, 2_024_000);
        // RTS (20 bytes at 24 Mbit/s: 28), SIFS, CTS (28), SIFS.
        let rts = try_ns(Band::Ghz5, ofdm(54_000), Protection::RtsCts, 1500, true);
        assert_eq!(rts, plain + 28_000 + 16_000 + 28_000 + 16_000);
        let cts = try_ns(Band::Ghz5, ofdm(54_000), Protection::CtsToSelf, 1500, true);
        assert_eq!(cts, plain + 28_000 + 16_000);
    }

    proptest! {
        #[test]
        fn more_bytes_and_lower_rates_never_take_less(bytes in 1_usize..2400, more in 0_usize..200) {
            for pair in OFDM_KBPS.windows(2) {
                let (slow, fast) = (ofdm(pair[0]), ofdm(pair[1]));
                prop_assert!(slow.frame_ns(Band::Ghz5, bytes) >= fast.frame_ns(Band::Ghz5, bytes));
                prop_assert!(slow.frame_ns(Band::Ghz2, bytes + more) >= slow.frame_ns(Band::Ghz2, bytes));
                prop_assert!(slow.response().kbps() <= slow.kbps());
            }
        }
    }
}
