//! How to get from one configuration text to another: by setting, by a channel switch, or by taking down and up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::super::{Band, Channel};

/// What a running access point takes on without losing its stations; all else means taking it down and up.
const HOT: [&str; 6] = [
    "max_num_sta",
    "ignore_broadcast_ssid",
    "ap_isolate",
    "rrm_neighbor_report",
    "rrm_beacon_report",
    "bss_transition",
];

/// What of a radio's text says on which channel of its band it is.
const CHANNEL: [&str; 6] = [
    "channel",
    "ht_capab",
    "vht_oper_chwidth",
    "vht_oper_centr_freq_seg0_idx",
    "he_oper_chwidth",
    "he_oper_centr_freq_seg0_idx",
];

/// Beacons that announce a channel switch before it is made: stations sleep through some.
const ANNOUNCEMENTS: u8 = 10;

/// The order that takes a radio from its text `from` to `channel`, its text being `to` then, with its stations; none where
/// more changes than the channel.
#[must_use]
pub fn channel_switch(from: &str, to: &str, channel: &Channel) -> Option<String> {
    let rest = |text| {
        let mut entries = entries(text);
        entries.retain(|key, _| !CHANNEL.contains(key));
        entries
    };
    if rest(from) != rest(to) || channel.band() == Band::Ghz6 {
        return None;
    }
    let width = channel.width().mhz();
    let mut order = format!(
        "CHAN_SWITCH {ANNOUNCEMENTS} {} center_freq1={} bandwidth={width}",
        channel.primary_mhz(),
        channel.centre_mhz()
    );
    let capabilities = value(to, "ht_capab").unwrap_or_default();
    for (side, offset) in [("[HT40+]", 1), ("[HT40-]", -1)] {
        if capabilities.contains(side) {
            // Writing to a String cannot fail.
            write!(order, " sec_channel_offset={offset}").unwrap_or_default();
        }
    }
    for (key, flag) in [
        ("ieee80211n", " ht"),
        ("ieee80211ac", " vht"),
        ("ieee80211ax", " he"),
    ] {
        if value(to, key) == Some("1") {
            order.push_str(flag);
        }
    }
    Some(order)
}

/// How to get from one configuration text of an access point to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They are the same.
    None,
    /// By setting these, without a station noticing.
    Hot(Vec<(String, String)>),
    /// By taking the access point down and up.
    Restart,
}

/// What leads from the text `from` to the text `to`.
#[must_use]
pub fn change(from: &str, to: &str) -> Change {
    if from == to {
        return Change::None;
    }
    let (from, to) = (entries(from), entries(to));
    if from.len() != to.len() {
        return Change::Restart;
    }
    let mut settings = Vec::new();
    for (key, value) in &to {
        match from.get(key) {
            Some(before) if before == value => {}
            Some(_) if HOT.contains(key) => {
                settings.push(((*key).to_owned(), (*value).to_owned()));
            }
            _ => return Change::Restart,
        }
    }
    Change::Hot(settings)
}

fn entries(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// The value of a key in a configuration text.
#[must_use]
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    entries(text).get(key).copied()
}
