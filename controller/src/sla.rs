//! The record of promises: what each slice was owed and got, period by period, as `tranche-sla` shows it.
//!
//! Pure: takes the decisions of [`crate::scheduler`] with the time, keeps the last periods in memory, and gives state
//! data and the content of notifications. Nothing of it is ever written to disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tranche_yang::clock::rfc3339;

use crate::scheduler::{
    Correction, Decision, Direction, DomainMeasure, Event as Verdict, PrbCorrection, RadioId,
    SliceMeasure, SliceState, Technology,
};

/// A notification of `tranche-sla`: its name and content (RFC 7951, no prefixes).
pub type Notice = (&'static str, Map<String, Value>);

/// Measures and corrections kept in all periods together: some 20 MB.
const ENTRIES_MAX: usize = 200_000;

/// A promise to a slice: of what, and where.
type Place = (Arc<str>, Technology, Arc<str>);

/// What a period was.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Its number since the controller started.
    pub sequence: u64,
    /// Its end.
    pub time: SystemTime,
    /// Whether corrections were sent.
    pub enabled: bool,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Record {
    capacity: usize,
    /// Each as JSON text, which takes a tenth of the room, with the number of its entries.
    periods: VecDeque<(Arc<str>, usize)>,
    entries: usize,
    promises: BTreeMap<Place, Promise>,
    /// The one state of each slice, and since when.
    states: BTreeMap<Arc<str>, (SliceState, SystemTime)>,
    domains: HashMap<(Technology, Arc<str>), DomainMeasure>,
    /// The domain of every radio.
    of_radio: HashMap<RadioId, Arc<str>>,
}

#[derive(Debug)]
struct Promise {
    last: SliceMeasure,
    since: SystemTime,
    /// When the promise was broken, until it is kept again.
    violated_at: Option<SystemTime>,
    violations: u64,
    corrections: u64,
}

impl Record {
    /// Keeps the last `capacity` periods.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Takes in a period, the corrections that were sent at its end, and who the interfaces belong to. Gives what there
    /// is to tell.
    pub fn take(
        &mut self,
        moment: Moment,
        decision: &Decision,
        slice_of: impl Fn(&Correction) -> Option<Arc<str>>,
    ) -> Vec<Notice> {
        self.domains = decision
            .domains
            .iter()
            .map(|d| ((d.technology, Arc::clone(&d.domain)), d.clone()))
            .collect();
        let radios = |d: &DomainMeasure| {
            let name = Arc::clone(&d.domain);
            let radios = Arc::clone(&d.radios);
            (0..radios.len()).map(move |at| (radios[at].clone(), Arc::clone(&name)))
        };
        self.of_radio = decision.domains.iter().flat_map(radios).collect();
        let mut current = BTreeMap::new();
        for measure in &decision.slices {
            let place = place(&measure.slice, measure.technology, &measure.domain);
            let promise = match self.promises.remove(&place) {
                Some(known) => known.advance(measure, moment.time),
                None => Promise::new(measure, moment.time),
            };
            current.insert(place, promise);
        }
        self.promises = current;
        self.sum_up(moment.time);
        let corrections = self.corrections(decision, slice_of);
        let prb = self.prb_corrections(decision);
        let mut notices = self.verdicts(moment, decision);
        let entries = decision.slices.len() + corrections.len() + prb.len();
        let measures: Vec<Value> = decision.slices.iter().map(measure_json).collect();
        let mut period = Map::new();
        period.insert("sequence".into(), moment.sequence.to_string().into());
        period.insert("scheduler-enabled".into(), moment.enabled.into());
        if !measures.is_empty() {
            period.insert("measure".into(), measures.into());
        }
        if !corrections.is_empty() {
            period.insert("correction".into(), corrections.into());
        }
        if !prb.is_empty() {
            period.insert("prb-correction".into(), prb.into());
        }
        notices.push(("sla-period", period.clone()));
        period.insert("time".into(), rfc3339(moment.time).into());
        self.keep(Value::Object(period).to_string().into(), entries);
        notices
    }

    /// One state for each slice: the worst of its promises.
    fn sum_up(&mut self, now: SystemTime) {
        let mut worst: BTreeMap<Arc<str>, SliceState> = BTreeMap::new();
        for ((slice, ..), promise) in &self.promises {
            let state = promise.last.state;
            let of = worst.entry(Arc::clone(slice)).or_insert(state);
            if rank(state) > rank(*of) {
                *of = state;
            }
        }
        let mut before = std::mem::take(&mut self.states);
        let carry = |(slice, state)| {
            let last = before.remove(&slice).filter(|(last, _)| *last == state);
            (slice, (state, last.map_or(now, |(_, since)| since)))
        };
        self.states = worst.into_iter().map(carry).collect();
    }

    fn keep(&mut self, period: Arc<str>, entries: usize) {
        self.periods.push_back((period, entries));
        self.entries += entries;
        while self.periods.len() > self.capacity.max(1)
            || (self.entries > ENTRIES_MAX && self.periods.len() > 1)
        {
            if let Some((_, entries)) = self.periods.pop_front() {
                self.entries -= entries;
            }
        }
    }

    fn corrections(
        &mut self,
        decision: &Decision,
        slice_of: impl Fn(&Correction) -> Option<Arc<str>>,
    ) -> Vec<Value> {
        let mut list = Vec::with_capacity(decision.corrections.len());
        for correction in &decision.corrections {
            let slice = slice_of(correction);
            if let Some(slice) = &slice {
                let domain = self.of_radio.get(&correction.radio);
                let place = domain.map(|domain| place(slice, Technology::Airtime, domain));
                if let Some(promise) = place.and_then(|place| self.promises.get_mut(&place)) {
                    promise.corrections += 1;
                }
            }
            let mut entry = Map::new();
            entry.insert("node".into(), correction.radio.node.as_ref().into());
            entry.insert("vif".into(), correction.vif.as_ref().into());
            if let Some(slice) = slice {
                entry.insert("slice".into(), slice.as_ref().into());
            }
            entry.insert("min-ratio".into(), percent(correction.min_ratio, 100.0));
            entry.insert("max-ratio".into(), percent(correction.max_ratio, 100.0));
            list.push(entry.into());
        }
        list
    }

    fn prb_corrections(&mut self, decision: &Decision) -> Vec<Value> {
        let entry = |correction: &PrbCorrection| {
            let PrbCorrection {
                cell,
                profile,
                slice,
                direction,
                min_ratio,
            } = correction;
            let technology = match direction {
                Direction::Down => Technology::PrbDown,
                Direction::Up => Technology::PrbUp,
            };
            let place = place(slice, technology, &cell.to_string().into());
            if let Some(promise) = self.promises.get_mut(&place) {
                promise.corrections += 1;
            }
            json!({
                "node": cell.node.as_ref(),
                "cell": cell.radio.as_ref(),
                "slice-profile": profile.as_ref(),
                "direction": direction.as_str(),
                "slice": slice.as_ref(),
                "min-ratio": percent(*min_ratio, 100.0),
            })
        };
        decision.prb.iter().map(entry).collect()
    }

    fn verdicts(&mut self, moment: Moment, decision: &Decision) -> Vec<Notice> {
        let notices = decision.events.iter();
        notices
            .filter_map(|verdict| self.verdict(moment, verdict))
            .collect()
    }

    fn verdict(&mut self, moment: Moment, verdict: &Verdict) -> Option<Notice> {
        match verdict {
            Verdict::Violated {
                slice,
                technology,
                domain,
                ..
            } => {
                let promise = self.promises.get_mut(&place(slice, *technology, domain))?;
                promise.violations += 1;
                promise.violated_at = Some(moment.time);
                Some(("sla-violated", members(measure_json(&promise.last))))
            }
            Verdict::Cleared {
                slice,
                technology,
                domain,
                ..
            } => {
                let promise = self.promises.get_mut(&place(slice, *technology, domain))?;
                let mut content = members(measure_json(&promise.last));
                if let Some(from) = promise.violated_at.take() {
                    let lasted = moment.time.duration_since(from).unwrap_or_default();
                    content.insert("violated-for".into(), whole_seconds(lasted).into());
                }
                Some(("sla-cleared", content))
            }
            Verdict::Infeasible {
                technology,
                domain,
                asked,
                ..
            } => {
                let measure = self.domains.get(&(*technology, Arc::clone(domain)));
                let available = measure.map_or(0.0, |d| d.capacity);
                let content = json!({
                    "technology": technology.as_str(),
                    "domain": domain.as_ref(),
                    "available": percent(available, 100.0),
                    // The verdict is in percent of what is available, the notification in percent of wall time.
                    "owed": percent(asked * available / 100.0, 1000.0),
                });
                Some(("sla-infeasible", members(content)))
            }
            Verdict::OutOfReach {
                slice,
                owed,
                possible,
            } => {
                let content = json!({
                    "technology": Technology::Aggregate.as_str(),
                    "domain": "all",
                    "slice": slice.as_ref(),
                    "available": percent(*possible, 100.0),
                    "owed": percent(*owed, 1000.0),
                });
                Some(("sla-infeasible", members(content)))
            }
            Verdict::Feasible { technology, domain } => {
                let technology = technology.as_str();
                tracing::info!(%domain, technology, "the guarantees can be met again");
                None
            }
            Verdict::InReach { slice } => {
                tracing::info!(%slice, "the aggregate promise can be kept again");
                None
            }
        }
    }

    /// Forgets what was promised to slices that are no more.
    pub fn forget(&mut self, removed: impl Fn(&str) -> bool) {
        self.promises.retain(|(slice, ..), _| !removed(slice));
        self.states.retain(|slice, _| !removed(slice));
    }

    /// State of `sla/slice`: the last period of every slice.
    #[must_use]
    pub fn slices(&self) -> Value {
        let mut domains: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for ((slice, technology, domain), promise) in &self.promises {
            let entry = self.domain_json((*technology, domain), promise);
            domains.entry(slice).or_default().push(entry);
        }
        let list = domains.into_iter().map(|(id, domains)| {
            let mut slice = Map::new();
            slice.insert("id".into(), id.into());
            if let Some((state, since)) = self.states.get(id) {
                slice.insert("state".into(), state_name(*state).into());
                slice.insert("since".into(), rfc3339(*since).into());
            }
            slice.insert("domain".into(), domains.into());
            slice.into()
        });
        Value::Array(list.collect())
    }

    fn domain_json(&self, (technology, name): (Technology, &Arc<str>), promise: &Promise) -> Value {
        let mut entry = Map::new();
        entry.insert("technology".into(), technology.as_str().into());
        entry.insert("name".into(), name.as_ref().into());
        if let Some(domain) = self.domains.get(&(technology, Arc::clone(name))) {
            let radios: Vec<Value> = domain.radios.iter().map(|r| r.to_string().into()).collect();
            if !radios.is_empty() {
                entry.insert("radio".into(), radios.into());
            }
            entry.insert("available".into(), percent(domain.capacity, 100.0));
            if let Some(refused) = &domain.refused {
                entry.insert("refused".into(), refused.as_ref().into());
            }
        }
        let mut measure = members(measure_json(&promise.last));
        for leaf in ["owed", "measured", "backlogged", "state"] {
            if let Some(value) = measure.remove(leaf) {
                entry.insert(leaf.into(), value);
            }
        }
        entry.insert("since".into(), rfc3339(promise.since).into());
        entry.insert("violations".into(), promise.violations.to_string().into());
        entry.insert("corrections".into(), promise.corrections.to_string().into());
        entry.into()
    }

    /// State of `sla/history/period`, oldest first, each as JSON text.
    #[must_use]
    pub fn periods(&self) -> Vec<Arc<str>> {
        let periods = self.periods.iter();
        periods.map(|(period, _)| Arc::clone(period)).collect()
    }

    /// The contention domains of all radios, as the last period saw them.
    pub fn domains(&self) -> impl Iterator<Item = (&RadioId, &Arc<str>)> {
        self.of_radio.iter()
    }
}

impl Promise {
    fn new(measure: &SliceMeasure, now: SystemTime) -> Self {
        Self {
            last: measure.clone(),
            since: now,
            violated_at: None,
            violations: 0,
            corrections: 0,
        }
    }

    fn advance(self, measure: &SliceMeasure, now: SystemTime) -> Self {
        let since = if self.last.state == measure.state {
            self.since
        } else {
            now
        };
        Self {
            last: measure.clone(),
            since,
            ..self
        }
    }
}

fn measure_json(measure: &SliceMeasure) -> Value {
    json!({
        "slice": measure.slice.as_ref(),
        "technology": measure.technology.as_str(),
        "domain": measure.domain.as_ref(),
        "owed": percent(measure.owed, 1000.0),
        "measured": percent(measure.measured, 1000.0),
        "backlogged": measure.demand.is_none(),
        "state": state_name(measure.state),
    })
}

fn place(slice: &Arc<str>, technology: Technology, domain: &Arc<str>) -> Place {
    (Arc::clone(slice), technology, Arc::clone(domain))
}

fn state_name(state: SliceState) -> &'static str {
    match state {
        SliceState::Met => "met",
        SliceState::Violated => "violated",
        SliceState::Idle => "idle",
        SliceState::Unknown => "unknown",
    }
}

/// Which of two states an operator should hear of.
fn rank(state: SliceState) -> u8 {
    match state {
        SliceState::Idle => 0,
        SliceState::Met => 1,
        SliceState::Unknown => 2,
        SliceState::Violated => 3,
    }
}

/// A percentage as a `decimal64` of two digits, within the range of its type.
fn percent(value: f64, max: f64) -> Value {
    let value = if value.is_finite() {
        value.clamp(0.0, max)
    } else {
        0.0
    };
    format!("{value:.2}").into()
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
