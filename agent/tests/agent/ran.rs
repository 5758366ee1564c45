//! Slices of a simulated cell as a controller makes them.

use tranche_netconf::client::Client;
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{
    CreateSubscription, Datastore, EditConfig, Operation, Reply, TestOption,
};

use crate::support::*;

const RAN: &str = "urn:tranche:yang:tranche-ran";

fn ran(content: &str) -> String {
    format!("<ran xmlns=\"{RAN}\" xmlns:nc=\"{NC}\">{content}</ran>")
}

/// A cell and two cores.
pub(crate) fn base() -> String {
    let core = |name: &str, location: &str| {
        format!(
            "<core><name>{name}</name><kind>amf</kind><location>{location}</location>\
             <address>127.0.0.1</address></core>"
        )
    };
    ran(&format!(
        "<cell><name>c1</name><rat>nr</rat><arfcn>632628</arfcn><bandwidth-prb>52</bandwidth-prb>\
         <tac>7</tac></cell>{}{}",
        core("edge", "edge"),
        core("dc", "data-centre")
    ))
}

fn second_cell() -> String {
    ran(
        "<cell><name>c2</name><rat>nr</rat><arfcn>640000</arfcn><bandwidth-prb>52</bandwidth-prb>\
         <tac>7</tac></cell>",
    )
}

/// A slice goes from the first cell to the second.
const OTHER_CELL: &str = "<cell nc:operation=\"delete\">c1</cell><cell>c2</cell>";

/// Slice `number` with a minimum; its subscribers are 1 to 99 of PLMN 001-`number`.
pub(crate) fn profile(number: u8, min: &str) -> String {
    ran(&format!(
        "<slice-profile><name>s{number}</name><slice>tenant-{number}</slice><mcc>001</mcc>\
         <mnc>{number:02}</mnc><sst>1</sst><cell>c1</cell><core>edge</core><core>dc</core>\
         <rrm-policy><resource-type>prb</resource-type><min-ratio>{min}</min-ratio></rrm-policy>\
         <access><imsi-range><first>001{number:02}0000000001</first>\
         <last>001{number:02}0000000099</last></imsi-range></access></slice-profile>"
    ))
}

pub(crate) fn change(number: u8, content: &str) -> String {
    ran(&format!(
        "<slice-profile><name>s{number}</name>{content}</slice-profile>"
    ))
}

fn delete(number: u8) -> String {
    ran(&format!(
        "<slice-profile nc:operation=\"delete\"><name>s{number}</name></slice-profile>"
    ))
}

/// Four UEs of slice `number` that always want more.
pub(crate) fn ues(number: u8) -> String {
    format!(
        "<sim xmlns=\"{SIM}\"><ue-group><name>g{number}</name>\
         <first-imsi>001{number:02}0000000001</first-imsi><count>4</count>\
         <down><model>full-buffer</model></down></ue-group></sim>"
    )
}

fn core_behaves(name: &str, behaviour: &str) -> String {
    format!(
        "<sim xmlns=\"{SIM}\"><core><name>{name}</name><behaviour>{behaviour}</behaviour></core></sim>"
    )
}

async fn state(client: &Client, number: u8) -> String {
    let filter = subtree(&change(number, "<state/>"));
    let data = client.get(Some(filter), None).await.unwrap();
    data.as_str().to_owned()
}

pub(crate) async fn reaches(client: &Client, number: u8, part: &str) {
    eventually(part, || async {
        state(client, number).await.contains(part)
    })
    .await;
}

pub(crate) async fn put(client: &Client, edits: &[String]) {
    for edit in edits {
        edit_candidate(client, edit).await.unwrap();
    }
    commit(client).await.unwrap();
}

async fn call(client: &Client, name: &str, content: &str) -> Result<Reply, tranche_netconf::Error> {
    let operation = Operation::Other {
        namespace: RAN.to_owned(),
        name: name.to_owned(),
        element: fragment(&format!("<{name} xmlns=\"{RAN}\">{content}</{name}>")),
    };
    client.call(operation).await
}

const ACTIVE: &str = "<oper-state>active</oper-state>";

#[tokio::test]
async fn a_slice_profile_is_created_changed_and_deleted() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), profile(2, "30")]).await;
    reaches(&admin, 1, ACTIVE).await;
    reaches(&admin, 2, "<active-core>edge</active-core>").await;
    put(
        &admin,
        &[change(
            1,
            "<rrm-policy><resource-type>prb</resource-type><min-ratio>45.5</min-ratio></rrm-policy>",
        )],
    )
    .await;
    let seen = state(&admin, 1).await;
    assert!(
        seen.contains("<effective-min-ratio>45.5</effective-min-ratio>"),
        "{seen}"
    );
    put(&admin, &[delete(2)]).await;
    let gone = state(&admin, 2).await;
    assert!(!gone.contains("<name>"), "{gone}");
    assert!(state(&admin, 1).await.contains(ACTIVE));
}

#[tokio::test]
async fn shares_are_measured_and_reported() {
    let (bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), profile(2, "60")]).await;
    put(&admin, &[ues(1), ues(2)]).await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let telemetry = CreateSubscription {
        stream: "telemetry".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(telemetry).await.unwrap();
    // What nobody is owed is lent in equal parts: 20 + 10 and 60 + 10 percent.
    let shares = ["<used-ratio>30.0", "<used-ratio>70.0"];
    loop {
        let report = notified(&mut events, "prb-report").await;
        let text = report.as_str();
        if shares.iter().all(|share| text.contains(share)) {
            for part in [
                "<slice>tenant-1</slice>",
                "<backlogged>true</backlogged>",
                "<used-down>100.0</used-down>",
                "<ues>8</ues>",
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
            break;
        }
    }
    reaches(&admin, 1, "<ues>4</ues>").await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_path_and_changes_nothing() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), profile(2, "30")]).await;
    let bad = ErrorTag::InvalidValue;
    let policy = |ratios: &str| {
        change(
            2,
            &format!("<rrm-policy><resource-type>prb</resource-type>{ratios}</rrm-policy>"),
        )
    };
    let range = |range: &str| {
        change(
            2,
            &format!("<access><imsi-range>{range}</imsi-range></access>"),
        )
    };
    let s2 = "/tranche-ran:ran/slice-profile[name='s2']";
    let failed = ErrorTag::OperationFailed;
    for (what, xml, tag, app_tag, path) in [
        (
            "an upper-case sd",
            change(2, "<sd>00AB12</sd>"),
            bad,
            "sd-not-canonical",
            "/sd",
        ),
        (
            "sd none",
            change(2, "<sd>ffffff</sd>"),
            bad,
            "sd-not-canonical",
            "/sd",
        ),
        (
            "minima that exceed the cell",
            policy("<min-ratio>80.5</min-ratio>"),
            bad,
            "ratio-sum",
            "/rrm-policy[resource-type='prb']/min-ratio",
        ),
        (
            "a ceiling below the minimum",
            policy("<max-ratio>10</max-ratio>"),
            failed,
            "ratio-order",
            "/rrm-policy[resource-type='prb']/max-ratio",
        ),
        (
            "more dedicated than guaranteed",
            policy("<dedicated-ratio>31</dedicated-ratio>"),
            failed,
            "ratio-order",
            "/rrm-policy[resource-type='prb']/dedicated-ratio",
        ),
        (
            "a ceiling of nothing",
            policy("<min-ratio>0</min-ratio><max-ratio>0</max-ratio>"),
            failed,
            "starved",
            "/rrm-policy[resource-type='prb']/max-ratio",
        ),
        (
            "overlapping subscribers",
            range(
                "<first>001010000000050</first><last>001010000000150</last><roaming>true</roaming>",
            ),
            bad,
            "imsi-overlap",
            "/access/imsi-range[first='001010000000050']",
        ),
        (
            "a foreign subscriber",
            range("<first>001010000000500</first><last>001010000000500</last>"),
            failed,
            "foreign-imsi",
            "/access/imsi-range[first='001010000000500']/first",
        ),
        (
            "a range that ends before it begins",
            range("<first>001020000000500</first><last>001020000000400</last>"),
            failed,
            "range-order",
            "/access/imsi-range[first='001020000000500']/last",
        ),
        (
            "the slice of another profile",
            change(2, "<mnc>01</mnc><access nc:operation=\"remove\"/>"),
            bad,
            "duplicate-slice",
            "",
        ),
        (
            "no sst on NR",
            change(2, "<sst nc:operation=\"delete\"/>"),
            bad,
            "rat-mismatch",
            "/cell[.='c1']",
        ),
    ] {
        let error = refused(edit_running(&admin, &xml).await);
        assert_eq!(error.tag, tag, "{what}: {error:?}");
        assert_eq!(error.app_tag.as_deref(), Some(app_tag), "{what}: {error:?}");
        assert_eq!(error.path, Some(format!("{s2}{path}")), "{what}");
    }
    let error = refused(edit_running(&admin, &change(2, "<core>moon</core>")).await);
    assert_eq!(error.app_tag.as_deref(), Some("instance-required"));
    let seen = config(&admin, Datastore::Running, &change(2, "")).await;
    assert!(seen.contains("<min-ratio>30.0</min-ratio>"), "{seen}");
    assert!(seen.contains("<mnc>02</mnc>"), "{seen}");
}

#[tokio::test]
async fn an_lte_cell_takes_six_plmns_and_no_seventh() {
    let (_bench, admin) = Bench::with_admin().await;
    let lte = base()
        .replace("<rat>nr", "<rat>lte")
        .replace("<bandwidth-prb>52", "<bandwidth-prb>50")
        .replace("<kind>amf", "<kind>mme");
    let lte_profile = |number| profile(number, "5").replace("<sst>1</sst>", "");
    let mut edits = vec![lte];
    edits.extend((1..=6).map(lte_profile));
    put(&admin, &edits).await;
    for number in 1..=6 {
        reaches(&admin, number, ACTIVE).await;
    }
    let error = refused(edit_running(&admin, &lte_profile(7)).await);
    assert_eq!(error.tag, ErrorTag::ResourceDenied);
    assert_eq!(error.app_tag.as_deref(), Some("too-many-plmns"));
    assert_eq!(
        error.path.as_deref(),
        Some("/tranche-ran:ran/slice-profile[name='s7']/cell[.='c1']")
    );
}

#[tokio::test]
async fn a_slice_with_ues_is_deleted_only_when_it_was_locked_before() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), second_cell(), profile(1, "20"), ues(1)]).await;
    reaches(&admin, 1, "<ues>4</ues>").await;
    let path = Some("/tranche-ran:ran/slice-profile[name='s1']");
    let locked = "<admin-state>locked</admin-state>";
    let other_plmn = "<mnc>09</mnc><access nc:operation=\"remove\"/>";
    for xml in [
        delete(1),
        change(1, other_plmn),
        change(1, &format!("{locked}{other_plmn}")),
        change(1, OTHER_CELL),
        change(1, &format!("{locked}{OTHER_CELL}")),
    ] {
        let dry_run = EditConfig {
            test_option: TestOption::TestOnly,
            ..edit(Datastore::Running, &xml)
        };
        for answer in [
            admin.edit_config(&dry_run).await,
            edit_running(&admin, &xml).await,
        ] {
            let error = refused(answer);
            assert_eq!(
                (error.tag, error.app_tag.as_deref(), error.path.as_deref()),
                (ErrorTag::OperationFailed, Some("has-ues"), path),
                "{error:?}"
            );
        }
    }
    let error = refused(edit_running(&admin, &change(1, "<max-ues>3</max-ues>")).await);
    assert_eq!(error.app_tag.as_deref(), Some("max-ues-below-attached"));
    put(&admin, &[change(1, locked)]).await;
    reaches(&admin, 1, "<oper-state>disabled</oper-state>").await;
    put(&admin, &[change(1, OTHER_CELL)]).await;
    put(&admin, &[delete(1)]).await;
}

#[tokio::test]
async fn a_creation_that_is_not_confirmed_is_taken_back_though_ues_have_come() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), ues(1)]).await;
    edit_candidate(&admin, &profile(1, "20")).await.unwrap();
    admin.commit(&on_trial(2)).await.unwrap();
    reaches(&admin, 1, "<ues>4</ues>").await;
    eventually("the commit lapses", || async {
        !state(&admin, 1).await.contains("<name>")
    })
    .await;
}

#[tokio::test]
async fn a_move_to_another_cell_that_is_not_confirmed_is_taken_back_though_ues_are_there() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), second_cell(), profile(1, "20")]).await;
    let on_the_second = ues(1).replace("<down>", "<cell>c2</cell><down>");
    put(&admin, &[on_the_second]).await;
    edit_candidate(&admin, &change(1, OTHER_CELL))
        .await
        .unwrap();
    admin.commit(&on_trial(2)).await.unwrap();
    reaches(&admin, 1, "<ues>4</ues>").await;
    reaches(&admin, 1, "<name>c1</name>").await;
    reaches(&admin, 1, "<ues>0</ues>").await;
}

#[tokio::test]
async fn a_change_that_the_ran_refuses_leaves_everything_as_it_was() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20")]).await;
    let fault = format!("<sim xmlns=\"{SIM}\"><ran-refuse>no licence</ran-refuse></sim>");
    edit_running(&admin, &fault).await.unwrap();
    edit_candidate(&admin, &profile(2, "30")).await.unwrap();
    let error = refused(commit(&admin).await);
    assert_eq!(error.tag, ErrorTag::OperationFailed);
    assert_eq!(
        (message(&error), error.path.as_deref()),
        ("no licence", Some("/tranche-ran:ran"))
    );
    assert!(!state(&admin, 2).await.contains("<name>"));
    reaches(&admin, 1, ACTIVE).await;
}

#[tokio::test]
async fn slices_are_back_after_a_restart() {
    let (bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), ues(1)]).await;
    reaches(&admin, 1, "<ues>4</ues>").await;
    drop(admin);
    let bench = bench.restart().await;
    let admin = bench.admin().await;
    reaches(&admin, 1, ACTIVE).await;
    reaches(&admin, 1, "<ues>4</ues>").await;
}

#[tokio::test]
async fn a_slice_moves_to_the_data_centre_when_the_edge_is_gone_and_says_so() {
    let (bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20")]).await;
    reaches(&admin, 1, "<active-core>edge</active-core>").await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let netconf = CreateSubscription {
        stream: "NETCONF".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(netconf).await.unwrap();
    edit_running(&admin, &core_behaves("edge", "vanish"))
        .await
        .unwrap();
    let event = notified(&mut events, "core-failover").await;
    for part in ["<from>edge</from>", "<to>dc</to>", "<name>s1</name>"] {
        assert!(event.contains(part), "{part} in {event}");
    }
    reaches(&admin, 1, "<active-core>dc</active-core>").await;
    edit_running(&admin, &core_behaves("dc", "reject"))
        .await
        .unwrap();
    let event = notified(&mut events, "profile-state-change").await;
    assert!(event.contains("<to>degraded</to>"), "{event}");
    assert!(event.contains("unknown-PLMN-or-SNPN"), "{event}");
}

#[tokio::test]
async fn the_ran_is_corrected_and_started_again_from_outside() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), ues(1)]).await;
    reaches(&admin, 1, "<ues>4</ues>").await;
    let correct = |name: &str, ratios: &str| {
        format!(
            "<lifetime>60</lifetime><slice-profile><name>{name}</name><cell>c1</cell>\
             <direction>down</direction>{ratios}</slice-profile>"
        )
    };
    let good = correct(
        "s1",
        "<min-ratio>33.33</min-ratio><max-ratio>44</max-ratio>",
    );
    call(&admin, "correct-prb", &good).await.unwrap();
    let seen = state(&admin, 1).await;
    for part in [
        "<effective-min-ratio>33.33</effective-min-ratio>",
        "<effective-max-ratio>44.0</effective-max-ratio>",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let starved = correct("s1", "<max-ratio>0</max-ratio>");
    let error = refused(call(&admin, "correct-prb", &starved).await);
    assert_eq!(
        (error.tag, error.app_tag.as_deref()),
        (ErrorTag::InvalidValue, Some("starved"))
    );
    let unknown = correct("s9", "");
    let error = refused(call(&admin, "correct-prb", &unknown).await);
    assert_eq!(error.app_tag.as_deref(), Some("instance-required"));

    let error = refused(call(&admin, "initialise", "").await);
    assert_eq!(
        (error.tag, error.path.as_deref()),
        (
            ErrorTag::OperationFailed,
            Some("/tranche-ran:initialise/force")
        )
    );
    let reply = call(&admin, "initialise", "<force>true</force>").await;
    let Reply::Output(output) = reply.unwrap() else {
        panic!("no output")
    };
    assert!(output.as_str().contains(">4</ues-dropped>"), "{output:?}");
    reaches(&admin, 1, "<ues>4</ues>").await;
}
