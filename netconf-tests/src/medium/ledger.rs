//! The books: who was on the air when, for whom, and what came of it. What tests judge by.
//!
//! Airtime is that of whole tries, from the first bit of protection to the end of the acknowledgement's time. Two that collide
//! are both charged; time of a channel is charged once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::frame::Mac;

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Acknowledged.
    Acknowledged,
    /// Nobody was to acknowledge it.
    Sent,
    /// Another transmission was heard at the receiver.
    Collided,
    /// The link lost it, or the rate was too fast for it.
    Lost,
    /// No radio in range listens to this address on this channel.
    Unheard,
}

/// One try of one frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When it began, since the medium started.
    pub start_ns: u64,
    /// How long it was on the air.
    pub airtime_ns: u64,
    /// Radio, by its hardware address.
    pub radio: Mac,
    /// Address 2: the virtual interface.
    pub transmitter: Mac,
    /// Address 1.
    pub receiver: Mac,
    /// Channel.
    pub frequency_mhz: u32,
    /// Data rate.
    pub rate_kbps: u32,
    /// Length on the air.
    pub bytes: usize,
    /// Number of the try, from 1.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
}

/// Sums over all tries from one interface to one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Airtime of all tries.
    pub airtime_ns: u64,
    /// Part of it that brought nothing.
    pub failed_ns: u64,
    /// Tries.
    pub tries: u64,
    /// Frames that arrived, or that nobody was to acknowledge.
    pub frames: u64,
    /// Their length on the air.
    pub bytes: u64,
    /// Frames given up after their last try.
    pub given_up: u64,
    /// Frames refused because the queue was full.
    pub overflowed: u64,
    /// Tries that collided.
    pub collisions: u64,
}

/// Radio, interface and address of an [`Account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// Radio, by its hardware address.
    pub radio: Mac,
    /// Address 2: the virtual interface.
    pub transmitter: Mac,
    /// Address 1.
    pub receiver: Mac,
}

/// Time during which somebody sent on a channel.
#[derive(Debug, Clone, Default)]
struct Channel {
    busy_ns: u64,
    on_air: u32,
    since_ns: u64,
}

/// The books of a medium.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    accounts: BTreeMap<Key, Account>,
    channels: BTreeMap<u32, Channel>,
}

impl Ledger {
    /// Writes a try down.
    pub fn book(&mut self, entry: &Entry, was_last: bool) {
        let account = self.account(entry.radio, entry.transmitter, entry.receiver);
        account.airtime_ns += entry.airtime_ns;
        account.tries += 1;
        match entry.outcome {
            Outcome::Acknowledged | Outcome::Sent => {
                account.frames += 1;
                account.bytes += entry.bytes as u64;
            }
            Outcome::Collided | Outcome::Lost | Outcome::Unheard => {
                account.failed_ns += entry.airtime_ns;
                account.given_up += u64::from(was_last);
                account.collisions += u64::from(entry.outcome == Outcome::Collided);
            }
        }
    }

    /// Writes down that a queue was full.
    pub fn overflow(&mut self, radio: Mac, transmitter: Mac, receiver: Mac) {
        self.account(radio, transmitter, receiver).overflowed += 1;
    }

    fn account(&mut self, radio: Mac, transmitter: Mac, receiver: Mac) -> &mut Account {
        self.accounts
            .entry(Key {
                radio,
                transmitter,
                receiver,
            })
            .or_default()
    }

    /// Somebody begins to send on a channel.
    pub(super) fn begin(&mut self, frequency_mhz: u32, now_ns: u64) {
        let channel = self.channels.entry(frequency_mhz).or_default();
        if channel.on_air == 0 {
            channel.since_ns = now_ns;
        }
        channel.on_air += 1;
    }

    /// Somebody ends.
    pub(super) fn end(&mut self, frequency_mhz: u32, now_ns: u64) {
        let channel = self.channels.entry(frequency_mhz).or_default();
        channel.on_air = channel.on_air.saturating_sub(1);
        if channel.on_air == 0 {
            channel.busy_ns += now_ns - channel.since_ns;
        }
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = (&Key, &Account)> {
        self.accounts.iter()
    }

    /// Airtime of all that an interface sent.
    #[must_use]
    pub fn airtime_of(&self, transmitter: Mac) -> u64 {
        let of = self.accounts.iter();
        of.filter(|(key, _)| key.transmitter == transmitter)
            .map(|(_, account)| account.airtime_ns)
            .sum()
    }

    /// Channels that were used, each with the time during which somebody sent on it; what is on the air counts when it ends.
    pub fn channels(&self) -> impl Iterator<Item = (u32, u64)> {
        self.channels.iter().map(|(f, c)| (*f, c.busy_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(outcome: Outcome) -> Entry {
        Entry {
            start_ns: 0,
            airtime_ns: 100,
            radio: Mac([0x42, 0, 0, 0, 0, 0]),
            transmitter: Mac([2, 0, 0, 0, 0, 0]),
            receiver: Mac([2, 0, 0, 0, 1, 0]),
            frequency_mhz: 2412,
            rate_kbps: 6000,
            bytes: 50,
            attempt: 1,
            outcome,
        }
    }

    #[test]
    fn what_failed_is_charged_too() {
        let mut ledger = Ledger::default();
        ledger.book(&entry(Outcome::Lost), false);
        ledger.book(&entry(Outcome::Collided), false);
        ledger.book(&entry(Outcome::Acknowledged), false);
        ledger.book(&entry(Outcome::Unheard), true);
        let expected = Account {
            airtime_ns: 400,
            failed_ns: 300,
            tries: 4,
            frames: 1,
            bytes: 50,
            given_up: 1,
            overflowed: 0,
            collisions: 1,
        };
        assert_eq!(ledger.accounts().next().unwrap().1, &expected);
        assert_eq!(ledger.airtime_of(Mac([2, 0, 0, 0, 0, 0])), 400);
        assert_eq!(ledger.airtime_of(Mac([2, 0, 0, 0, 1, 0])), 0);
    }

    #[test]
    fn time_of_a_channel_is_counted_once() {
        let mut ledger = Ledger::default();
        ledger.begin(2412, 10);
        ledger.begin(2412, 20);
        ledger.begin(5180, 20);
        ledger.end(2412, 30);
        ledger.end(2412, 50);
        ledger.end(5180, 25);
        ledger.begin(2412, 90);
        ledger.end(2412, 91);
        assert_eq!(
            ledger.channels().collect::<Vec<_>>(),
            [(2412, 41), (5180, 5)]
        );
    }
}
