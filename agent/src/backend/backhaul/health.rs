//! Which peers answer, and which of them has the prefixes. Pure: time comes from outside.
//!
//! ```text
//!              answers                    nothing for misses x interval
//!   down ----------------> warm / active ------------------------------> down, or stale if nobody else can take over
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::config::ProbeConfig;

/// Probes that the loss is taken of.
const WINDOW: usize = 100;

/// `peer-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// It answers and has its prefixes.
    Active,
    /// It answers, and another peer has the prefixes.
    Warm,
    /// It does not answer, and nobody else could take over.
    Stale,
    /// It does not answer.
    Down,
}

/// What is known of one peer by probing it.
#[derive(Debug, Clone)]
pub(super) struct Health {
    probing_since: Instant,
    last_answer: Option<Instant>,
    /// Since when it has answered without a gap.
    well_since: Option<Instant>,
    round_trip: Option<Duration>,
    /// Of the last probes, whether they were answered.
    answers: VecDeque<bool>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            probing_since: now,
            last_answer: None,
            well_since: None,
            round_trip: None,
            answers: VecDeque::with_capacity(WINDOW),
        }
    }

    /// Takes in the result of one probe, which may be a late one.
    pub(super) fn take(&mut self, round_trip: Option<Duration>, now: Instant) {
        if self.answers.len() == WINDOW {
            self.answers.pop_front();
        }
        self.answers.push_back(round_trip.is_some());
        if let Some(round_trip) = round_trip {
            self.round_trip = Some(round_trip);
            self.last_answer = Some(now);
            self.well_since.get_or_insert(now);
        }
    }

    /// Nobody was asked for so long until `now`: that time is nobody's silence.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        let later = |at: Instant| (at + pause).min(now);
        self.last_answer = self.last_answer.map(later);
        self.probing_since = later(self.probing_since);
    }

    /// What it is judged by begins now.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.last_answer = self.last_answer.map(|_| now);
        self.probing_since = now;
    }

    /// Whether it answers. Remembers since when.
    pub(super) fn answers(&mut self, probe: &ProbeConfig, now: Instant) -> bool {
        let answers = self
            .last_answer
            .is_some_and(|last| now.duration_since(last) <= patience(probe));
        if !answers {
            self.well_since = None;
        }
        answers
    }

    /// Whether it had time to answer at all.
    pub(super) fn is_known(&self, probe: &ProbeConfig, now: Instant) -> bool {
        self.last_answer.is_some() || now.duration_since(self.probing_since) > patience(probe)
    }

    /// Whether it has answered long enough to be preferred again.
    pub(super) fn has_held(&self, probe: &ProbeConfig, now: Instant) -> bool {
        let hold_down = Duration::from_secs(probe.hold_down_s.into());
        self.well_since
            .is_some_and(|since| now.duration_since(since) >= hold_down)
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Probes without an answer, in hundredths of a percent; `None` before the first result.
    pub(super) fn loss(&self) -> Option<u32> {
        let lost = self.answers.iter().filter(|answered| !**answered).count();
        let lost = u32::try_from(lost).ok()?;
        lost.checked_mul(10_000)?
            .checked_div(u32::try_from(self.answers.len()).ok()?)
    }
}

/// Silence after which a peer is down: the time of as many probes as may be missed.
fn patience(probe: &ProbeConfig) -> Duration {
    Duration::from_millis(u64::from(probe.interval_ms) * u64::from(probe.misses))
}

/// A peer that could have the prefixes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    /// The lowest is preferred.
    pub(super) priority: u8,
    pub(super) answers: bool,
    /// Whether it had time to answer at all.
    pub(super) is_known: bool,
    /// Whether it has answered for the hold-down time.
    pub(super) has_held: bool,
}

/// Why prefixes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverReason {
    /// Who had them does not answer.
    Failed,
    /// A better one has come back.
    Preferred,
    /// Somebody asked for it.
    Requested,
}

/// Who should have the prefixes instead of `active`, and why; `None` to leave them. A peer that was asked for (`is_pinned`)
/// keeps them for as long as it answers.
pub(super) fn choose<'a>(
    candidates: &[Candidate<'a>],
    active: &str,
    is_pinned: bool,
) -> Option<(&'a str, FailoverReason)> {
    let best = |wanted: &dyn Fn(&Candidate<'_>) -> bool| {
        let others = candidates.iter().filter(|one| one.name != active);
        others
            .filter(|one| wanted(one))
            .min_by_key(|one| one.priority)
    };
    let Some(current) = candidates.iter().find(|one| one.name == active) else {
        let other = best(&|_| true)?;
        return Some((other.name, FailoverReason::Failed));
    };
    if !current.answers {
        if !current.is_known {
            return None;
        }
        let other = best(&|one| one.answers)?;
        return Some((other.name, FailoverReason::Failed));
    }
    if is_pinned {
        return None;
    }
    let better = best(&|one| one.answers && one.has_held && one.priority < current.priority)?;
    Some((better.name, FailoverReason::Preferred))
}

/// Whether the preferred one has the prefixes and answers: from then on one that fails has to hold out before it is back.
pub(super) fn is_settled(candidates: &[Candidate<'_>], active: &str) -> bool {
    let preferred = candidates.iter().map(|one| one.priority).min();
    let active = candidates.iter().find(|one| one.name == active);
    active.is_some_and(|active| active.answers && Some(active.priority) == preferred)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: ProbeConfig = ProbeConfig {
        interval_ms: 50,
        misses: 3,
        hold_down_s: 30,
    };
    const ROUND_TRIP: Option<Duration> = Some(Duration::from_millis(1));

    fn candidate(name: &str, priority: u8, answers: bool) -> Candidate<'_> {
        Candidate {
            name,
            priority,
            answers,
            is_known: true,
            has_held: answers,
        }
    }

    #[test]
    fn a_peer_is_down_when_as_many_answers_are_missing_as_may_be() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert!(!health.is_known(&PROBE, start));
        health.take(ROUND_TRIP, start);
        let after = |ms| start + Duration::from_millis(ms);
        assert!(health.answers(&PROBE, after(150)));
        assert!(!health.answers(&PROBE, after(151)));
        // A long way is no loss, as long as answers keep coming.
        health.take(Some(Duration::from_millis(400)), after(200));
        assert!(health.answers(&PROBE, after(350)));
    }

    #[test]
    fn a_time_in_which_nobody_was_asked_is_no_silence() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut health = Health::new(start);
        health.excuse(Duration::from_millis(500), after(500));
        assert!(!health.is_known(&PROBE, after(650)));
        assert!(health.is_known(&PROBE, after(651)));
        health.take(ROUND_TRIP, after(700));
        health.excuse(Duration::from_millis(200), after(1_000));
        assert!(health.answers(&PROBE, after(1_050)));
        assert!(!health.answers(&PROBE, after(1_051)));
        // No answer is later than now.
        health.take(ROUND_TRIP, after(1_100));
        health.excuse(Duration::from_millis(200), after(1_100));
        assert!(!health.answers(&PROBE, after(1_251)));
    }

    #[test]
    fn holding_down_starts_again_with_every_gap() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let after = |s| start + Duration::from_secs(s);
        health.take(ROUND_TRIP, start);
        assert!(!health.answers(&PROBE, after(1)));
        for s in 2..=31 {
            health.take(ROUND_TRIP, after(s));
        }
        assert!(!health.has_held(&PROBE, after(31)));
        health.take(ROUND_TRIP, after(32));
        assert!(health.has_held(&PROBE, after(32)));
    }

    #[test]
    fn loss_is_of_the_last_hundred() {
        let now = Instant::now();
        let mut health = Health::new(now);
        assert_eq!(health.loss(), None);
        health.take(None, now);
        health.take(ROUND_TRIP, now);
        assert_eq!(health.loss(), Some(5_000));
        (0..200).for_each(|_| health.take(ROUND_TRIP, now));
        assert_eq!(health.loss(), Some(0));
    }

    #[test]
    fn prefixes_go_to_the_best_that_answers() {
        let (edge, data_centre) = (candidate("edge", 1, true), candidate("dc", 2, true));
        assert_eq!(choose(&[edge, data_centre], "edge", false), None);
        let dead = candidate("edge", 1, false);
        assert_eq!(
            choose(&[dead, data_centre], "edge", false),
            Some(("dc", FailoverReason::Failed))
        );
        let dead_too = candidate("dc", 2, false);
        assert_eq!(choose(&[dead, dead_too], "edge", false), None);
        assert_eq!(
            choose(&[edge, data_centre], "dc", false),
            Some(("edge", FailoverReason::Preferred))
        );
        let young = Candidate {
            has_held: false,
            ..edge
        };
        assert_eq!(choose(&[young, data_centre], "dc", false), None);
    }

    #[test]
    fn a_choice_is_settled_when_the_preferred_one_answers_and_has_the_prefixes() {
        let (edge, dc) = (candidate("edge", 1, true), candidate("dc", 2, true));
        assert!(is_settled(&[edge, dc], "edge"));
        assert!(!is_settled(&[edge, dc], "dc"));
        assert!(!is_settled(&[candidate("edge", 1, false), dc], "edge"));
        assert!(!is_settled(&[edge], ""));
    }

    #[test]
    fn who_was_asked_for_keeps_the_prefixes_until_it_fails() {
        let edge = candidate("edge", 1, true);
        assert_eq!(choose(&[edge, candidate("dc", 2, true)], "dc", true), None);
        assert_eq!(
            choose(&[edge, candidate("dc", 2, false)], "dc", true),
            Some(("edge", FailoverReason::Failed))
        );
    }

    #[test]
    fn nobody_is_judged_before_it_could_answer() {
        let unknown = Candidate {
            is_known: false,
            ..candidate("edge", 1, false)
        };
        let other = candidate("dc", 2, true);
        assert_eq!(choose(&[unknown, other], "edge", false), None);
    }
}
