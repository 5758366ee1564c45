use std::sync::atomic::Ordering;

use super::*;
use crate::scheduler::{Direction, RadioId};
use crate::toy::{Fault, ToyNode, eventually, quick};
use tranche_netconf::transport::ssh::HostKey;

async fn state(fleet: &Fleet, node: &str, wanted: DeviceState) -> Status {
    eventually(&format!("{node} is {wanted:?}"), || {
        let status = fleet.device(node)?.status();
        (status.state == wanted).then_some(status)
    })
    .await
}

const VIF: &str = "<name>a-radio0</name><radio>radio0</radio><slice>a</slice>\
    <access-point><ssid>a</ssid><security><mode>open</mode></security></access-point>\
    <airtime><min-ratio>30.0</min-ratio></airtime>";

#[tokio::test]
async fn a_node_is_connected_read_and_listened_to() {
    let node = ToyNode::start("n1").await;
    node.toy.put("a-radio0", VIF);
    let fleet = Fleet::new(quick());
    fleet.configure([node.config.clone()]);
    let status = state(&fleet, "n1", DeviceState::Connected).await;
    let observed = status.observed.expect("it was read");
    assert_eq!(observed.radios["radio0"].max_vifs, Some(8));
    assert!(observed.vifs.contains_key("a-radio0") && status.last_read.is_some());

    let report = "<airtime-report xmlns='urn:tranche:yang:tranche-wifi'><sequence>1</sequence><interval>1000</interval>\
        <radio><name>radio0</name><channel>36</channel><busy>80.0</busy><vif><name>a-radio0</name><slice>a</slice>\
        <used-ratio>40.0</used-ratio><backlogged>true</backlogged></vif></radio></airtime-report>";
    assert!(node.toy.notify(report) > 0);
    let radio = eventually("the report arrives", || {
        fleet.report(Period(3)).radios.first().cloned()
    })
    .await;
    assert_eq!((radio.ended, radio.busy), (Period(3), 80.0));
    assert_eq!(
        (radio.vifs[0].used, radio.vifs[0].configured_min),
        (40.0, 30.0)
    );
    assert_eq!(
        fleet.report(Period(9)).radios[0].ended,
        Period(3),
        "nothing new since"
    );

    fleet.shutdown().await;
    eventually("the sessions end", || {
        (node.toy.sessions() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_hears_that_a_node_was_read_finds_its_session_in_place() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    let mut events = fleet.events();
    fleet.configure([node.config.clone()]);
    while events.recv().await.unwrap() != (DeviceEvent::Read { node: "n1".into() }) {}
    fleet.device("n1").unwrap().read().await.unwrap();
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_lost_session_is_made_again() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    let mut events = fleet.events();
    fleet.configure([node.config.clone()]);
    let first = state(&fleet, "n1", DeviceState::Connected).await;
    node.toy.drop_sessions();
    let again = eventually("another session", || {
        let status = fleet.device("n1")?.status();
        (status.state == DeviceState::Connected && status.session_id != first.session_id)
            .then_some(status)
    })
    .await;
    assert!(again.since >= first.since);
    let mut states = 0;
    while let Ok(event) = events.try_recv() {
        states += usize::from(event == DeviceEvent::State { node: "n1".into() });
    }
    assert_eq!(states, 3, "connected, lost, connected");
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_is_away_is_unreachable_and_found_when_it_comes() {
    let node = ToyNode::start("n1").await;
    let port = node.config.port;
    let node = node.stop().await;
    let fleet = Fleet::new(quick());
    fleet.configure([node.config.clone()]);
    let status = state(&fleet, "n1", DeviceState::Unreachable).await;
    let why = status.last_error.expect("says why");
    assert!(why.contains(&port.to_string()), "{why}");
    assert_eq!(status.observed, None);
    assert!(
        fleet
            .device("n1")
            .unwrap()
            .read()
            .await
            .unwrap_err()
            .to_string()
            .contains("node n1 is away")
    );
    let node = node.start().await;
    state(&fleet, "n1", DeviceState::Connected).await;
    fleet.shutdown().await;
    drop(node);
}

#[tokio::test]
async fn a_wrong_host_key_and_a_refused_login_are_told_apart_from_a_node_that_is_away() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    let other = HostKey::generate().unwrap().fingerprint();
    fleet.configure([DeviceConfig {
        host_key: other.clone(),
        ..node.config.clone()
    }]);
    let status = state(&fleet, "n1", DeviceState::Refused).await;
    let why = status.last_error.unwrap();
    assert!(
        why.contains(&other) && why.contains(&node.host_key.fingerprint()),
        "{why}"
    );
    assert_eq!(node.toy.sessions(), 0);

    node.toy.refuses_login.store(true, Ordering::SeqCst);
    fleet.configure([node.config.clone()]);
    let why = eventually("the login is refused", || {
        let status = fleet.device("n1")?.status();
        status
            .last_error
            .filter(|why| why.contains("refuses user tranche"))
    })
    .await;
    assert!(!why.contains("host key"), "{why}");
    assert_eq!(
        fleet.device("n1").unwrap().status().state,
        DeviceState::Refused
    );

    node.toy.refuses_login.store(false, Ordering::SeqCst);
    state(&fleet, "n1", DeviceState::Connected).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_silent_node_delays_nobody() {
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = ToyNode::start("n1").await;
    let mute = DeviceConfig {
        node: "mute".into(),
        port: silent.local_addr().unwrap().port(),
        ..node.config.clone()
    };
    let fleet = Fleet::new(quick());
    let start = std::time::Instant::now();
    fleet.configure([mute, node.config.clone()]);
    state(&fleet, "n1", DeviceState::Connected).await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    let status = state(&fleet, "mute", DeviceState::Unreachable).await;
    assert!(status.last_error.unwrap().contains("took more than 2s"));
    fleet.shutdown().await;
}

fn correction(node: &str) -> Correction {
    Correction {
        radio: RadioId::new(node, "radio0"),
        vif: "a-radio0".into(),
        min_ratio: 30.0,
        max_ratio: 30.9,
    }
}

#[tokio::test]
async fn corrections_reach_their_nodes_and_those_that_do_not_take_them_are_named() {
    let (good, bad, slow) = (
        ToyNode::start("good").await,
        ToyNode::start("bad").await,
        ToyNode::start("slow").await,
    );
    bad.toy
        .break_on("correct-airtime", Fault::Refuse("no such vif"));
    slow.toy
        .break_on("correct-airtime", Fault::Slow(Duration::from_secs(1)));
    let fleet = Fleet::new(quick());
    fleet.configure([good.config.clone(), bad.config.clone(), slow.config.clone()]);
    for node in ["good", "bad", "slow"] {
        state(&fleet, node, DeviceState::Connected).await;
    }
    let corrections = ["good", "bad", "slow", "gone"].map(correction);
    let mut failed = fleet
        .correct(
            Duration::from_secs(30),
            Duration::from_millis(300),
            &corrections,
        )
        .await;
    failed.sort_by(|a, b| a.0.cmp(&b.0));
    let told: Vec<String> = failed.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(
        told,
        [
            "node bad: no such vif (at /tranche-wifi:wifi)",
            "node gone is away",
            "node slow: the reply to correct-airtime took more than 300ms",
        ]
    );
    assert_eq!(good.toy.count("correct-airtime"), 1);
    fleet.shutdown().await;
}

#[test]
fn a_correction_is_written_as_the_model_says() {
    assert_eq!(
        correct_airtime(Duration::from_millis(29_500), &[correction("n1")]).as_str(),
        "<correct-airtime xmlns=\"urn:tranche:yang:tranche-wifi\"><lifetime>30</lifetime><vif><name>a-radio0</name>\
         <min-ratio>30.00</min-ratio><max-ratio>30.90</max-ratio></vif></correct-airtime>"
    );
}

#[tokio::test]
async fn a_node_that_is_configured_again_unchanged_keeps_its_session() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    fleet.configure([node.config.clone()]);
    let before = state(&fleet, "n1", DeviceState::Connected).await.session_id;
    fleet.configure([node.config.clone()]);
    assert_eq!(fleet.device("n1").unwrap().status().session_id, before);
    fleet.configure([]);
    assert!(fleet.device("n1").is_none());
    eventually("its sessions end", || {
        (node.toy.sessions() == 0).then_some(())
    })
    .await;
    fleet.shutdown().await;
}

fn cell_correction(direction: Direction, min_ratio: f64) -> PrbCorrection {
    PrbCorrection {
        cell: RadioId::new("n1", "c1"),
        profile: "a-nr".into(),
        slice: "a".into(),
        direction,
        min_ratio,
    }
}

#[test]
fn a_correction_of_a_cell_is_written_as_the_model_says() {
    let corrections = [
        cell_correction(Direction::Down, 42.0),
        cell_correction(Direction::Up, 7.25),
    ];
    assert_eq!(
        prb::correct_prb(30, &corrections).as_str(),
        "<correct-prb xmlns=\"urn:tranche:yang:tranche-ran\"><lifetime>30</lifetime>\
         <slice-profile><name>a-nr</name><cell>c1</cell><direction>down</direction><min-ratio>42.00</min-ratio></slice-profile>\
         <slice-profile><name>a-nr</name><cell>c1</cell><direction>up</direction><min-ratio>7.25</min-ratio></slice-profile>\
         </correct-prb>"
    );
}

#[tokio::test]
async fn cells_are_listened_to_lost_reports_counted_and_a_node_that_corrects_none_is_told_apart() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    fleet.configure([node.config.clone()]);
    state(&fleet, "n1", DeviceState::Connected).await;
    let report = |sequence: u64| {
        format!(
            "<prb-report xmlns='urn:tranche:yang:tranche-ran'><sequence>{sequence}</sequence><interval>1000</interval>\
             <cell><name>c1</name><ues>2</ues><slice-profile><name>a-nr</name><slice>a</slice>\
             <down><used-ratio>40.00</used-ratio></down></slice-profile></cell></prb-report>"
        )
    };
    assert!(node.toy.notify(&report(5)) > 0 && node.toy.notify(&report(8)) > 0);
    let status = eventually("both reports", || {
        let status = fleet.device("n1")?.status();
        (status.lost_reports > 0).then_some(status)
    })
    .await;
    assert_eq!(status.lost_reports, 2);
    let cells = fleet.report(Period(3)).cells;
    let [cell] = &cells[..] else {
        panic!("{cells:?}")
    };
    assert_eq!(
        (cell.ended, cell.sequence, cell.ues),
        (Period(3), 8, Some(2))
    );
    assert_eq!(cell.profiles[0].down.used, Some(40.0));
    assert_eq!(fleet.report(Period(9)).cells[0].ended, Period(3));

    let limits = (Duration::from_secs(30), Duration::from_secs(30));
    let corrections = [cell_correction(Direction::Down, 42.0)];
    let failed = fleet.correct_prb(limits.0, limits.1, &corrections).await;
    assert!(failed[0].1.is_unsupported(), "{failed:?}");
    assert_eq!(failed[0].1.without_node(), "correct-prb is not supported");
    node.toy
        .break_on("correct-prb", Fault::Refuse("not on the cell"));
    let failed = fleet.correct_prb(limits.0, limits.1, &corrections).await;
    assert!(!failed[0].1.is_unsupported(), "{failed:?}");
    fleet.shutdown().await;
}

#[tokio::test]
async fn reports_of_steering_are_taken_in_and_after_a_lost_one_the_node_is_read_again() {
    let node = ToyNode::start("n1").await;
    let fleet = Fleet::new(quick());
    fleet.configure([node.config.clone()]);
    state(&fleet, "n1", DeviceState::Connected).await;
    let report = |sequence: u64| {
        format!(
            "<steering-report xmlns='urn:tranche:yang:tranche-steering'><sequence>{sequence}</sequence>\
             <interval>1000</interval><rule><name>r</name><packets>3</packets></rule></steering-report>"
        )
    };
    let reads = node.toy.count("get");
    assert!(node.toy.notify(&report(1)) > 0);
    eventually("the first report", || {
        fleet.device("n1")?.status().steering_told
    })
    .await;
    assert_eq!(node.toy.count("get"), reads);
    assert!(node.toy.notify(&report(4)) > 0);
    eventually("another reading", || {
        (node.toy.count("get") > reads).then_some(())
    })
    .await;
    assert_eq!(fleet.device("n1").unwrap().status().lost_reports, 2);
    fleet.shutdown().await;
}
