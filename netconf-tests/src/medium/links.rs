//! Who hears whom, and how well.

use std::collections::BTreeMap;

use super::frame::Mac;

/// What is between two radios. The same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Whether they hear each other at all.
    pub in_range: bool,
    /// Part of the tries that are lost, 0 to 1.
    pub loss: f64,
    /// The fastest rate that gets through; frames at a faster one are lost.
    pub max_rate_kbps: Option<u32>,
    /// How strong each hears the other.
    pub signal_dbm: i8,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            in_range: true,
            loss: 0.0,
            max_rate_kbps: None,
            signal_dbm: -50,
        }
    }
}

/// A change of a link: what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkChange {
    /// New [`Link::in_range`].
    pub in_range: Option<bool>,
    /// New [`Link::loss`].
    pub loss: Option<f64>,
    /// New [`Link::max_rate_kbps`].
    pub max_rate_kbps: Option<Option<u32>>,
    /// New [`Link::signal_dbm`].
    pub signal_dbm: Option<i8>,
}

/// All links: one for all, and those that differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Links {
    /// What holds for pairs that nobody named.
    pub default: Link,
    named: BTreeMap<(Mac, Mac), Link>,
}

impl Links {
    /// What is between two radios.
    #[must_use]
    pub fn between(&self, a: Mac, b: Mac) -> Link {
        self.named.get(&pair(a, b)).copied().unwrap_or(self.default)
    }

    /// Changes what is between two radios, and gives what it is now.
    pub fn change(&mut self, a: Mac, b: Mac, change: LinkChange) -> Link {
        let link = self.named.entry(pair(a, b)).or_insert(self.default);
        link.in_range = change.in_range.unwrap_or(link.in_range);
        link.loss = change.loss.unwrap_or(link.loss);
        link.max_rate_kbps = change.max_rate_kbps.unwrap_or(link.max_rate_kbps);
        link.signal_dbm = change.signal_dbm.unwrap_or(link.signal_dbm);
        *link
    }
}

fn pair(a: Mac, b: Mac) -> (Mac, Mac) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_in_both_directions_and_keeps_the_rest() {
        let (a, b, c) = (Mac([1; 6]), Mac([2; 6]), Mac([3; 6]));
        let mut links = Links::default();
        let loss = LinkChange {
            loss: Some(0.3),
            ..LinkChange::default()
        };
        links.change(a, b, loss);
        let away = LinkChange {
            in_range: Some(false),
            ..LinkChange::default()
        };
        let now = links.change(b, a, away);
        assert_eq!((now.loss, now.in_range), (0.3, false));
        assert_eq!(links.between(a, b), now);
        assert_eq!(links.between(a, c), Link::default());
    }
}
