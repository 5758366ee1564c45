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
    Correction, Decision, DomainMeasure, Event as Verdict, RadioId, SliceMeasure, SliceState,
};

/// A notification of `tranche-sla`: its name and content (RFC 7951, no prefixes).
pub type Notice = (&'static str, Map<String, Value>);

/// Measures and corrections kept in all periods together: some 20 MB.
const ENTRIES_MAX: usize = 200_000;

/// A slice in a contention domain.
type Place = (Arc<str>, Arc<str>);

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
    domains: HashMap<Arc<str>, DomainMeasure>,
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
            .map(|d| (Arc::clone(&d.domain), d.clone()))
            .collect();
        let radios = |d: &DomainMeasure| {
            let name = Arc::clone(&d.domain);
            let radios = Arc::clone(&d.radios);
            (0..radios.len()).map(move |at| (radios[at].clone(), Arc::clone(&name)))
        };
        self.of_radio = decision.domains.iter().flat_map(radios).collect();
        let mut current = BTreeMap::new();
        for measure in &decision.slices {
            let place = (Arc::clone(&measure.slice), Arc::clone(&measure.domain));
            let promise = match self.promises.remove(&place) {
                Some(known) => known.advance(measure, moment.time),
                None => Promise::new(measure, moment.time),
            };
            current.insert(place, promise);
        }
        self.promises = current;
        let corrections = self.corrections(decision, slice_of);
        let mut notices = self.verdicts(moment, decision);
        let entries = decision.slices.len() + corrections.len();
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
        notices.push(("sla-period", period.clone()));
        period.insert("time".into(), rfc3339(moment.time).into());
        self.keep(Value::Object(period).to_string().into(), entries);
        notices
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
                let place = domain.map(|domain| (Arc::clone(slice), Arc::clone(domain)));
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

    fn verdicts(&mut self, moment: Moment, decision: &Decision) -> Vec<Notice> {
        let mut notices = Vec::new();
        for verdict in &decision.events {
            match verdict {
                Verdict::Violated { slice, domain, .. } => {
                    let place = (Arc::clone(slice), Arc::clone(domain));
                    if let Some(promise) = self.promises.get_mut(&place) {
                        promise.violations += 1;
                        promise.violated_at = Some(moment.time);
                        notices.push(("sla-violated", members(measure_json(&promise.last))));
                    }
                }
                Verdict::Cleared { slice, domain, .. } => {
                    let place = (Arc::clone(slice), Arc::clone(domain));
                    if let Some(promise) = self.promises.get_mut(&place) {
                        let mut content = members(measure_json(&promise.last));
                        if let Some(from) = promise.violated_at.take() {
                            let lasted = moment.time.duration_since(from).unwrap_or_default();
                            content.insert("violated-for".into(), whole_seconds(lasted).into());
                        }
                        notices.push(("sla-cleared", content));
                    }
                }
                Verdict::Infeasible { domain, asked, .. } => {
                    let available = self.domains.get(domain).map_or(0.0, |d| d.capacity);
                    let content = json!({
                        "domain": domain.as_ref(),
                        "available": percent(available, 100.0),
                        // The verdict is in percent of what is available, the notification in percent of wall time.
                        "owed": percent(asked * available / 100.0, 1000.0),
                    });
                    notices.push(("sla-infeasible", members(content)));
                }
                Verdict::Feasible { domain } => {
                    tracing::info!(%domain, "the guarantees of the domain can be met again");
                }
            }
        }
        notices
    }

    /// Forgets what was promised to slices that are no more.
    pub fn forget(&mut self, removed: impl Fn(&str) -> bool) {
        self.promises.retain(|(slice, _), _| !removed(slice));
    }

    /// State of `sla/slice`: the last period of every slice.
    #[must_use]
    pub fn slices(&self) -> Value {
        let mut slices: Vec<(&str, Vec<Value>)> = Vec::new();
        for ((slice, domain), promise) in &self.promises {
            let entry = self.domain_json(domain, promise);
            match slices.last_mut() {
                Some((id, domains)) if *id == slice.as_ref() => domains.push(entry),
                _ => slices.push((slice, vec![entry])),
            }
        }
        let list = slices
            .into_iter()
            .map(|(id, domains)| json!({ "id": id, "domain": domains }));
        Value::Array(list.collect())
    }

    fn domain_json(&self, name: &Arc<str>, promise: &Promise) -> Value {
        let mut entry = Map::new();
        entry.insert("name".into(), name.as_ref().into());
        if let Some(domain) = self.domains.get(name) {
            let radios: Vec<Value> = domain.radios.iter().map(|r| r.to_string().into()).collect();
            entry.insert("radio".into(), radios.into());
            entry.insert("available".into(), percent(domain.capacity, 100.0));
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
    pub fn domains(&self) -> impl Iterator<Item = (&RadioId, &str)> {
        self.of_radio
            .iter()
            .map(|(radio, domain)| (radio, domain.as_ref()))
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
        "domain": measure.domain.as_ref(),
        "owed": percent(measure.owed, 1000.0),
        "measured": percent(measure.measured, 1000.0),
        "backlogged": measure.demand.is_none(),
        "state": match measure.state {
            SliceState::Met => "met",
            SliceState::Violated => "violated",
            SliceState::Idle => "idle",
            SliceState::Unknown => "unknown",
        },
    })
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
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn periods(record: &Record) -> Vec<Value> {
        let texts = record.periods();
        let read = |text: &Arc<str>| serde_json::from_str(text).unwrap();
        texts.iter().map(read).collect()
    }

    fn decision(state: SliceState, measured: f64, events: Vec<Verdict>) -> Decision {
        let radio = RadioId::new("n1", "phy0");
        Decision {
            corrections: vec![Correction {
                radio: radio.clone(),
                vif: "v".into(),
                min_ratio: 71.256,
                max_ratio: 80.0,
            }],
            slices: vec![SliceMeasure {
                slice: "a".into(),
                domain: "n1/phy0".into(),
                owed: 30.0,
                measured,
                demand: None,
                target: 30.0,
                state,
            }],
            domains: vec![DomainMeasure {
                domain: "n1/phy0".into(),
                radios: [radio].into(),
                capacity: 80.0,
                external: 3.0,
                corrected: true,
            }],
            events,
        }
    }

    fn moment(sequence: u64) -> Moment {
        let time = UNIX_EPOCH + Duration::from_secs(sequence * 2);
        Moment {
            sequence,
            time,
            enabled: true,
        }
    }

    #[test]
    fn a_violation_is_told_counted_and_timed() {
        let mut record = Record::new(2);
        let slice_of = |_: &Correction| Some("a".into());
        let place = || ("a".into(), "n1/phy0".into());
        let (slice, domain): Place = place();
        let broken = Verdict::Violated {
            slice,
            domain,
            owed: 30.0,
            measured: 20.0,
        };
        let notices = record.take(
            moment(1),
            &decision(SliceState::Violated, 20.0, vec![broken]),
            slice_of,
        );
        assert_eq!(
            notices.iter().map(|n| n.0).collect::<Vec<_>>(),
            ["sla-violated", "sla-period"]
        );
        assert_eq!(notices[0].1["measured"], "20.00");
        let (slice, domain): Place = place();
        let kept = Verdict::Cleared {
            slice,
            domain,
            measured: 30.0,
        };
        let notices = record.take(
            moment(4),
            &decision(SliceState::Met, 30.0, vec![kept]),
            slice_of,
        );
        assert_eq!(notices[0].0, "sla-cleared");
        assert_eq!(notices[0].1["violated-for"], 6);
        let entry = &record.slices()[0]["domain"][0];
        assert_eq!(entry["violations"], "1");
        assert_eq!(entry["corrections"], "2");
        assert_eq!(entry["state"], "met");
        assert_eq!(entry["since"], "1970-01-01T00:00:08.000Z");
        assert_eq!(entry["available"], "80.00");
        assert_eq!(periods(&record)[0]["correction"][0]["min-ratio"], "71.26");
    }

    #[test]
    fn notifications_and_state_are_what_the_model_says() {
        use crate::event::Event;
        use tranche_netconf::xml::Fragment;
        use tranche_yang::{Content, Format, Part, Tree};

        let schema = crate::service::schema::build().unwrap();
        let namespace = &schema.module("tranche-sla").unwrap().namespace;
        let (slice, domain): Place = ("a".into(), "n1/phy0".into());
        let events = vec![
            Verdict::Violated {
                slice: slice.clone(),
                domain: domain.clone(),
                owed: 30.0,
                measured: 20.0,
            },
            Verdict::Cleared {
                slice,
                domain: domain.clone(),
                measured: 30.0,
            },
            Verdict::Infeasible {
                domain,
                radio: RadioId::new("n1", "phy0"),
                asked: 2_000.0,
                slices: vec![],
            },
        ];
        let mut record = Record::new(3);
        let wild = decision(SliceState::Violated, f64::NAN, events);
        let notices = record.take(moment(1), &wild, |_| Some("a".into()));
        assert_eq!(notices.len(), 4);
        for (name, content) in notices {
            let json = json!({ (format!("tranche-sla:{name}")): content }).to_string();
            let parsed = schema.parse_operation(Format::Json, &json, Part::Notification, None);
            assert_eq!(parsed.unwrap().name(), name);
            let event = Event::new(
                "tranche-sla",
                namespace,
                name,
                "2026-01-01T00:00:00Z",
                content,
            );
            let content = Fragment::parse(&event.xml).unwrap().content().unwrap();
            let content = content.as_str().split_once("</eventTime>").unwrap().1;
            let parsed = schema.parse_notification(&Fragment::parse(content).unwrap());
            assert_eq!(parsed.unwrap().name(), name);
        }
        let state = json!({ "tranche-sla:sla": {
            "slice": record.slices(), "history": { "period": periods(&record) }
        } });
        let state = Tree::parse(schema, Format::Json, &state.to_string(), Content::State).unwrap();
        assert!(state.exists("/tranche-sla:sla/history/period[sequence='1']/correction"));
    }

    #[test]
    fn history_is_bounded_and_oldest_first() {
        let mut record = Record::new(3);
        for sequence in 1..=5 {
            record.take(
                moment(sequence),
                &decision(SliceState::Met, 30.0, vec![]),
                |_| None,
            );
        }
        let periods = periods(&record);
        let kept: Vec<&Value> = periods.iter().map(|p| &p["sequence"]).collect();
        assert_eq!(kept, ["3", "4", "5"]);
    }

    #[test]
    fn history_of_a_large_network_is_shorter() {
        let mut record = Record::new(1_000);
        let mut large = decision(SliceState::Met, 30.0, vec![]);
        large.slices = vec![large.slices[0].clone(); ENTRIES_MAX / 4];
        for sequence in 1..=10 {
            record.take(moment(sequence), &large, |_| None);
        }
        assert_eq!(record.periods.len(), 3);
        assert_eq!(periods(&record)[2]["sequence"], "10");
    }

    #[test]
    fn a_slice_that_is_no_more_is_forgotten() {
        let mut record = Record::new(3);
        record.take(moment(1), &decision(SliceState::Met, 30.0, vec![]), |_| {
            None
        });
        record.forget(|slice| slice == "a");
        assert_eq!(record.slices(), json!([]));
    }

    #[test]
    fn an_infeasible_domain_is_told_in_wall_time() {
        let mut record = Record::new(3);
        let verdict = Verdict::Infeasible {
            domain: "n1/phy0".into(),
            radio: RadioId::new("n1", "phy0"),
            asked: 120.0,
            slices: vec!["a".into()],
        };
        let notices = record.take(
            moment(1),
            &decision(SliceState::Met, 30.0, vec![verdict]),
            |_| None,
        );
        assert_eq!(notices[0].0, "sla-infeasible");
        assert_eq!(
            (&notices[0].1["available"], &notices[0].1["owed"]),
            (&json!("80.00"), &json!("96.00"))
        );
    }
}
