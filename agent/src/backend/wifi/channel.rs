//! Which channels there are, and which part of the spectrum a channel of some width takes (IEEE Std 802.11-2020 annex E).

use std::ops::Range;

use super::{Band, Width};

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
            wide(band, channel, width, block, 5000)
        }
        Band::Ghz6 => {
            let block = (channel % 4 == 1 && channel <= 233).then_some((1, 233));
            wide(band, channel, width, block, 5950)
        }
    }
}

fn spectrum_2ghz(channel: u8, width: Width) -> Result<Range<u32>, String> {
    let centre = match channel {
        1..=13 => 2407 + 5 * u32::from(channel),
        14 => 2484,
        _ => return Err(format!("channel {channel} is not in the 2.4GHz band")),
    };
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
    base_mhz: u32,
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
    let low = base_mhz + 5 * u32::from(start) - 10;
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
