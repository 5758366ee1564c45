//! Which channels there are, and which part of the spectrum a channel of some width takes (IEEE Std 802.11-2020 annex E).

use std::fmt;
use std::ops::Range;

use super::{Band, Width};

/// A channel that there is: a primary 20 MHz channel and the block of some width around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    band: Band,
    number: u8,
    width: Width,
    centre_mhz: u32,
}

impl Channel {
    /// The channel of a band with a primary channel number and a width.
    ///
    /// # Errors
    /// A plain sentence: the channel is not of the band, or it is not part of a channel of that width.
    pub fn new(band: Band, number: u8, width: Width) -> Result<Self, String> {
        let spectrum = spectrum(band, number, width)?;
        Ok(Self {
            band,
            number,
            width,
            centre_mhz: spectrum.start.midpoint(spectrum.end),
        })
    }

    /// The channel whose primary 20 MHz have their centre at `primary_mhz` and whose whole width has it at `centre_mhz`;
    /// `None` where the bands have no such channel.
    #[must_use]
    pub fn at(primary_mhz: u32, width: Width, centre_mhz: u32) -> Option<Self> {
        let (band, number) = number_at(primary_mhz)?;
        let found = Self::new(band, number, width).ok()?;
        // At 2.4 GHz, the second half may lie on either side.
        Some(Self {
            centre_mhz,
            ..found
        })
    }

    /// Its band.
    #[must_use]
    pub fn band(&self) -> Band {
        self.band
    }

    /// Number of the primary channel.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// How wide it is.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// Centre of the primary 20 MHz, in MHz.
    #[must_use]
    pub fn primary_mhz(&self) -> u32 {
        mhz(self.band, self.number)
    }

    /// Centre of the whole width, in MHz.
    #[must_use]
    pub fn centre_mhz(&self) -> u32 {
        self.centre_mhz
    }

    /// The centres of the 20 MHz channels it is made of, in MHz, from the lowest.
    pub fn members_mhz(&self) -> impl Iterator<Item = u32> + use<> {
        let half = self.width.mhz() / 2;
        (self.centre_mhz - half + 10..self.centre_mhz + half).step_by(20)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channel {}, {}", self.band, self.number, self.width)
    }
}

/// Band and number of the 20 MHz channel with its centre at `mhz`, if there is one.
#[must_use]
pub fn number_at(mhz: u32) -> Option<(Band, u8)> {
    let (band, number) = match mhz {
        2484 => return Some((Band::Ghz2, 14)),
        2412..=2472 => (Band::Ghz2, mhz - 2407),
        5170..=5895 => (Band::Ghz5, mhz - 5000),
        5955..=7115 => (Band::Ghz6, mhz - 5950),
        _ => return None,
    };
    let number = u8::try_from(number / 5).ok().filter(|_| number % 5 == 0)?;
    spectrum(band, number, Width::Mhz20).ok()?;
    Some((band, number))
}

/// Centre of a 20 MHz channel that there is.
fn mhz(band: Band, number: u8) -> u32 {
    let number = u32::from(number);
    match band {
        Band::Ghz2 if number == 14 => 2484,
        Band::Ghz2 => 2407 + 5 * number,
        Band::Ghz5 => 5000 + 5 * number,
        Band::Ghz6 => 5950 + 5 * number,
    }
}

/// The spectrum in MHz of a channel, or why there is no such channel.
///
/// # Errors
/// A plain sentence: the channel is not of the band, or it is not part of a channel of that width.
pub fn spectrum(band: Band, channel: u8, width: Width) -> Result<Range<u32>, String> {
    match band {
        Band::Ghz2 => spectrum_2ghz(channel, width),
        Band::Ghz5 => {
            let blocks = [(36, 64), (100, 144), (149, 177)];
            let block = blocks.into_iter().find(|(first, last)| {
                (*first..=*last).contains(&channel) && (channel - first).is_multiple_of(4)
            });
            wide(band, channel, width, block)
        }
        Band::Ghz6 => {
            let block = (channel % 4 == 1 && channel <= 233).then_some((1, 233));
            wide(band, channel, width, block)
        }
    }
}

fn spectrum_2ghz(channel: u8, width: Width) -> Result<Range<u32>, String> {
    if !(1..=14).contains(&channel) {
        return Err(format!("channel {channel} is not in the 2.4GHz band"));
    }
    let centre = mhz(Band::Ghz2, channel);
    match width {
        Width::Mhz20 => Ok(centre - 10..centre + 10),
        // The second half lies above the lower channels and below the upper ones.
        Width::Mhz40 if channel <= 7 => Ok(centre - 10..centre + 30),
        Width::Mhz40 if channel <= 13 => Ok(centre - 30..centre + 10),
        _ => Err(format!(
            "channel {channel} of the 2.4GHz band can't be {width} wide"
        )),
    }
}

/// A channel in a block of 20 MHz channels, `first` to `last`, that pair up from its start.
fn wide(
    band: Band,
    channel: u8,
    width: Width,
    block: Option<(u8, u8)>,
) -> Result<Range<u32>, String> {
    let (first, last) =
        block.ok_or_else(|| format!("channel {channel} is not in the {band} band"))?;
    let members = match width {
        Width::Mhz20 => 1,
        Width::Mhz40 => 2,
        Width::Mhz80 => 4,
        Width::Mhz160 => 8,
    };
    let start = (channel - first) / 4 / members * members * 4 + first;
    if u32::from(start) + 4 * (u32::from(members) - 1) > u32::from(last) {
        return Err(format!(
            "channel {channel} of the {band} band can't be {width} wide"
        ));
    }
    let low = mhz(band, start) - 10;
    Ok(low..low + 20 * u32::from(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_their_spectrum() {
        for (band, channel, width, expected) in [
            (Band::Ghz2, 1, Width::Mhz20, 2402..2422),
            (Band::Ghz2, 6, Width::Mhz40, 2427..2467),
            (Band::Ghz5, 36, Width::Mhz20, 5170..5190),
            (Band::Ghz5, 40, Width::Mhz80, 5170..5250),
            (Band::Ghz5, 64, Width::Mhz160, 5170..5330),
            (Band::Ghz5, 149, Width::Mhz80, 5735..5815),
            (Band::Ghz6, 1, Width::Mhz20, 5945..5965),
            (Band::Ghz6, 5, Width::Mhz160, 5945..6105),
        ] {
            assert_eq!(
                spectrum(band, channel, width),
                Ok(expected),
                "{band} {channel} {width}"
            );
        }
    }

    #[test]
    fn a_channel_is_found_again_by_its_frequencies() {
        for (band, number, width, centre) in [
            (Band::Ghz2, 1, Width::Mhz20, 2412),
            (Band::Ghz2, 14, Width::Mhz20, 2484),
            (Band::Ghz2, 6, Width::Mhz40, 2447),
            (Band::Ghz5, 44, Width::Mhz80, 5210),
            (Band::Ghz5, 165, Width::Mhz20, 5825),
            (Band::Ghz6, 37, Width::Mhz160, 6185),
        ] {
            let channel = Channel::new(band, number, width).unwrap();
            assert_eq!(channel.centre_mhz(), centre, "{channel}");
            let again = Channel::at(channel.primary_mhz(), width, centre);
            assert_eq!(again, Some(channel));
            let members: Vec<u32> = channel.members_mhz().collect();
            assert_eq!(members.len() as u32 * 20, width.mhz());
            assert!(members.contains(&channel.primary_mhz()), "{members:?}");
        }
        assert_eq!(number_at(5190), None);
        assert_eq!(number_at(2413), None);
    }

    #[test]
    fn what_is_no_channel_says_why() {
        for (band, channel, width, reason) in [
            (
                Band::Ghz2,
                15,
                Width::Mhz20,
                "channel 15 is not in the 2.4GHz band",
            ),
            (
                Band::Ghz2,
                6,
                Width::Mhz80,
                "channel 6 of the 2.4GHz band can't be 80MHz wide",
            ),
            (
                Band::Ghz2,
                14,
                Width::Mhz40,
                "channel 14 of the 2.4GHz band can't be 40MHz wide",
            ),
            (
                Band::Ghz5,
                6,
                Width::Mhz20,
                "channel 6 is not in the 5GHz band",
            ),
            (
                Band::Ghz5,
                38,
                Width::Mhz20,
                "channel 38 is not in the 5GHz band",
            ),
            (
                Band::Ghz5,
                144,
                Width::Mhz160,
                "channel 144 of the 5GHz band can't be 160MHz wide",
            ),
            (
                Band::Ghz6,
                2,
                Width::Mhz20,
                "channel 2 is not in the 6GHz band",
            ),
            (
                Band::Ghz6,
                233,
                Width::Mhz40,
                "channel 233 of the 6GHz band can't be 40MHz wide",
            ),
        ] {
            assert_eq!(spectrum(band, channel, width), Err(reason.to_owned()));
        }
    }
}
