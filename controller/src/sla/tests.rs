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
        prb: vec![PrbCorrection {
            cell: RadioId::new("n1", "c1"),
            profile: "a-lte".into(),
            slice: "a".into(),
            direction: Direction::Down,
            min_ratio: 40.0,
        }],
        slices: vec![SliceMeasure {
            slice: "a".into(),
            technology: Technology::Airtime,
            domain: "n1/phy0".into(),
            owed: 30.0,
            measured,
            demand: None,
            target: 30.0,
            state,
        }],
        domains: vec![DomainMeasure {
            technology: Technology::Airtime,
            refused: None,
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
    let (technology, domain): (_, Arc<str>) = (Technology::Airtime, "n1/phy0".into());
    let slice = || "a".into();
    let broken = Verdict::Violated {
        slice: slice(),
        technology,
        domain: domain.clone(),
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
    let kept = Verdict::Cleared {
        slice: slice(),
        technology,
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
    let (slice, domain): (Arc<str>, Arc<str>) = ("a".into(), "n1/phy0".into());
    let technology = Technology::Airtime;
    let events = vec![
        Verdict::Violated {
            slice: slice.clone(),
            technology,
            domain: domain.clone(),
            owed: 30.0,
            measured: 20.0,
        },
        Verdict::Cleared {
            slice: slice.clone(),
            technology,
            domain: domain.clone(),
            measured: 30.0,
        },
        Verdict::OutOfReach {
            slice,
            owed: 40.0,
            possible: 35.5,
        },
        Verdict::Infeasible {
            technology,
            domain,
            radio: RadioId::new("n1", "phy0"),
            asked: 2_000.0,
            slices: vec![],
        },
    ];
    let mut record = Record::new(3);
    let wild = decision(SliceState::Violated, f64::NAN, events);
    let notices = record.take(moment(1), &wild, |_| Some("a".into()));
    assert_eq!(notices.len(), 5);
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
    assert!(state.exists("/tranche-sla:sla/history/period[sequence='1']/prb-correction"));
}

#[test]
fn a_slice_has_one_state_the_worst_of_its_promises() {
    let mut record = Record::new(3);
    let on = |technology, domain: &str, state| SliceMeasure {
        technology,
        domain: domain.into(),
        state,
        ..decision(state, 30.0, vec![]).slices[0].clone()
    };
    let mut take = |sequence, states: [SliceState; 3]| {
        let [air, cell, all] = states;
        let mut decision = decision(air, 30.0, vec![]);
        decision.slices.push(on(Technology::PrbDown, "n1/c1", cell));
        decision.slices.push(on(Technology::Aggregate, "all", all));
        record.take(moment(sequence), &decision, |_| None);
        record.slices()[0].clone()
    };
    use SliceState::{Idle, Met, Unknown, Violated};
    let slice = take(1, [Idle, Met, Idle]);
    assert_eq!(slice["state"], "met");
    let cell = &slice["domain"][1];
    assert_eq!(
        (&cell["technology"], &cell["name"], &cell["corrections"]),
        (&json!("prb-down"), &json!("n1/c1"), &json!("1"))
    );
    assert_eq!(take(2, [Unknown, Met, Met])["state"], "unknown");
    assert_eq!(take(3, [Unknown, Violated, Met])["state"], "violated");
    let slice = take(4, [Violated, Met, Met]);
    assert_eq!(slice["since"], "1970-01-01T00:00:06.000Z");
    assert_eq!(take(5, [Idle, Idle, Idle])["state"], "idle");
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
        technology: Technology::Airtime,
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
