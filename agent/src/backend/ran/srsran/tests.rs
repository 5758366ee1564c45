//! Against a stand-in of the gNB with each of its traps.

use tempfile::TempDir;

mod away;
mod stays;

use super::restart::POLL;
use super::stand_in::StandIn;
use super::*;
use crate::backend::Why;
use crate::backend::ran::sim::scenario::{cell, one_cell, profile, share};
use crate::backend::ran::suite::{self, RanRig};
use crate::backend::ran::{
    AdminState, DefaultAction, PolicyConfig, RanBackend, Rat, ResourceType, Share,
};

struct Rig {
    ran: SrsRan,
    gnb: StandIn,
    config: NodeConfig,
    dir: TempDir,
}

impl Rig {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut SrsRanSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tranche.yml");
        let gnb = StandIn::start(path.clone()).await;
        let mut settings = SrsRanSettings {
            config: path,
            control: gnb.address,
            bind_addr: std::net::Ipv4Addr::LOCALHOST.into(),
            restart_wait: Duration::from_secs(10),
            silence: Duration::from_secs(10),
        };
        change(&mut settings);
        let ran = SrsRan::new(settings);
        Self {
            ran,
            gnb,
            config: NodeConfig::default(),
            dir,
        }
    }

    async fn commit(&mut self, config: NodeConfig) -> Result<(), Refusal> {
        let plan = self.ran.plan(&self.config, &config)?;
        self.ran.objections(&self.config, &config)?;
        self.ran.apply(plan).await?;
        self.config = config;
        Ok(())
    }

    /// Another agent, with the same gNB: the stand-in serves one connection at a time, so the first one ends.
    async fn renew(&mut self, settings: SrsRanSettings) {
        self.ran = SrsRan::new(settings);
        *lock(&self.ran.0.told) = self.config.ran.clone();
        for _ in 0..1_000 {
            if self.ran.profiles().await.unwrap()[0].oper_state == ProfileState::Active {
                return;
            }
            tokio::time::sleep(POLL / 5).await;
        }
        panic!("no gNB");
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("tranche.yml")).unwrap_or_default()
    }

    fn slice(&self, sst: u64) -> stand_in::Ratios {
        let running = self.gnb.running.lock().unwrap();
        running.slices[&(sst, 0xff_ffff)]
    }
}

/// As this gNB has a slice: one core, everybody of the PLMN, an S-NSSAI of its own.
fn plain(mut profile: ProfileConfig, sst: u8) -> ProfileConfig {
    profile.cores.truncate(1);
    profile.access.ranges.clear();
    profile.access.default_action = DefaultAction::Permit;
    profile.sst = Some(sst);
    profile
}

fn two() -> NodeConfig {
    let mut config = one_cell(&[share(20.0, 100.0, 0.0), share(10.0, 50.0, 0.0)]);
    config.ran.node_name = Some("tower-7".to_owned());
    config.ran.gnb_id = Some(411);
    config.ran.cells[0].band = Some(78);
    config.ran.cells[0].bandwidth_prb = 51;
    let profiles = std::mem::take(&mut config.ran.profiles);
    config.ran.profiles = profiles
        .into_iter()
        .zip(1..)
        .map(|(profile, sst)| plain(profile, sst))
        .collect();
    config
}

impl RanRig for Rig {
    fn ran(&mut self) -> &mut dyn RanBackend {
        &mut self.ran
    }

    fn two_slices(&self) -> NodeConfig {
        two()
    }

    fn third_slice(&self) -> ProfileConfig {
        plain(profile(3, share(5.0, 100.0, 0.0)), 3)
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time / 4).await;
    }
}

#[tokio::test]
async fn srsran_passes_the_suite() {
    suite::run(Rig::new).await;
}

#[test]
fn the_file_is_what_it_was() {
    let settings = SrsRanSettings {
        config: PathBuf::new(),
        control: SocketAddr::from(([127, 0, 0, 1], 8001)),
        bind_addr: std::net::Ipv4Addr::new(192, 0, 2, 7).into(),
        restart_wait: Duration::ZERO,
        silence: Duration::ZERO,
    };
    let mut config = two();
    config.ran.cores[1].port = Some(38_413);
    let mut third = plain(profile(3, share(5.0, 90.0, 5.0)), 2);
    third.sd = Some("00000a".to_owned());
    third.cores = vec!["dc".to_owned()];
    config.ran.profiles.push(third);
    check::check(&config.ran).unwrap();
    let text = render(&config.ran, &settings).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/backend/ran/srsran/golden/three-slices.yml"
        );
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, include_str!("golden/three-slices.yml"));
}

#[tokio::test]
async fn ratios_change_while_the_gnb_runs_and_everything_else_restarts_it() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    let starts = rig.gnb.running.lock().unwrap().starts;
    rig.gnb.running.lock().unwrap().ues = 4;
    let mut hot = two();
    hot.ran.profiles[0].policies[0].share = share(30.0, 80.0, 0.0);
    rig.commit(hot.clone()).await.unwrap();
    assert_eq!((rig.slice(1), rig.slice(2)), ((30, 80, 0), (10, 50, 0)));
    assert!(rig.file().contains("max_prb_policy_ratio: 80"));
    assert_eq!(rig.gnb.running.lock().unwrap().starts, starts);
    // Only one of the two ratios is another: both are sent, or the maximum would be back at 100.
    hot.ran.profiles[0].policies[0].share = share(25.0, 80.0, 0.0);
    rig.commit(hot.clone()).await.unwrap();
    assert_eq!(rig.slice(1), (25, 80, 0));

    // The running gNB does not look at a dedicated ratio.
    let mut cold = hot.clone();
    cold.ran.profiles[0].policies[0].share = share(25.0, 80.0, 5.0);
    for _ in 0..200 {
        if attached(&rig.ran.0.control.observed()) == 4 {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let plan = rig.ran.plan(&hot, &cold).unwrap();
    let mut without = hot.clone();
    without.ran.profiles.pop();
    let refusal = rig.ran.objections(&hot, &without).unwrap_err();
    assert_eq!(
        refusal.message,
        "slice profile s2 may have 4 UEs: lock it before it is deleted"
    );
    let last = plan.steps().last().unwrap();
    assert_eq!(last.action, "restart needed: the gNB starts again");
    assert_eq!(plan.stations_dropped(), 4);
    rig.commit(cold).await.unwrap();
    assert_eq!(rig.slice(1), (25, 80, 5));
    assert_eq!(rig.gnb.running.lock().unwrap().starts, starts + 1);
}

#[tokio::test]
async fn what_the_gnb_refuses_is_refused_and_taken_back() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    let before = rig.file();
    rig.gnb.running.lock().unwrap().refuses = Some("out of order");
    let mut hot = two();
    hot.ran.profiles[0].policies[0].share = share(30.0, 80.0, 0.0);
    let refusal = rig.commit(hot).await.unwrap_err();
    assert_eq!(
        refusal.path,
        "/tranche-ran:ran/slice-profile[name='s1']/rrm-policy"
    );
    assert_eq!(refusal.message, "the gNB refuses: out of order");
    assert_eq!(rig.slice(1), (20, 100, 0));
    assert_eq!(rig.file(), before);
}

#[tokio::test]
async fn a_gnb_that_does_not_come_back_is_no_change() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    let before = rig.file();
    rig.gnb.running.lock().unwrap().stays_away = true;
    let settings = SrsRanSettings {
        restart_wait: Duration::from_millis(300),
        ..rig.ran.0.settings.clone()
    };
    rig.renew(settings).await;
    let mut other = rig.ran.clone();
    let mut more = two();
    more.ran
        .profiles
        .push(plain(profile(3, Share::default()), 3));
    let plan = other.plan(&two(), &more).unwrap();
    let refusal = other.apply(plan).await.unwrap_err();
    assert_eq!(refusal.app_tag, Some("no-gnb"));
    assert_eq!(refusal.path, "/tranche-ran:ran/cell[name='c1']");
    assert_eq!(rig.file(), before + OPEN);
    let states = other.profiles().await.unwrap();
    assert_eq!(states.len(), 2);
}

#[tokio::test]
async fn without_an_amf_a_slice_is_degraded_and_without_a_gnb_it_has_failed() {
    let mut rig = Rig::new().await;
    rig.gnb.running.lock().unwrap().has_no_amf = true;
    rig.commit(two()).await.unwrap();
    let wanted = [ProfileState::Degraded, ProfileState::Failed];
    for (index, wanted) in wanted.into_iter().enumerate() {
        if index == 1 {
            rig.gnb.running.lock().unwrap().stays_away = true;
            drop(rig.ran.0.control.send(&json!({ "cmd": "quit" })).await);
        }
        let mut found = ProfileState::Pending;
        for _ in 0..200 {
            found = rig.ran.profiles().await.unwrap()[0].oper_state;
            if found == wanted {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        assert_eq!(found, wanted);
    }
}

#[test]
fn what_the_gnb_would_ignore_is_refused() {
    let s2 = "/tranche-ran:ran/slice-profile[name='s2']";
    let refuse = |change: &dyn Fn(&mut RanConfig), path: &str, message: &str| {
        let mut ran = two().ran;
        assert_eq!(check::check(&ran), Ok(()));
        change(&mut ran);
        let refusal = check::check(&ran).unwrap_err();
        assert_eq!(refusal.to_string(), format!("{path}: {message}"));
        assert_eq!(
            (refusal.why, refusal.app_tag),
            (Why::Unsupported, Some("not-on-srsran"))
        );
    };
    let of = |leaf: &str| format!("{s2}{leaf}");
    let policy = "/rrm-policy[resource-type='prb']";
    refuse(
        &|ran| ran.profiles[1].admin_state = AdminState::ShuttingDown,
        &of("/admin-state"),
        "srsRAN cannot keep UEs out of a slice that it has",
    );
    refuse(
        &|ran| ran.profiles[1].max_ues = Some(9),
        &of("/max-ues"),
        "srsRAN does not limit the UEs of a slice",
    );
    refuse(
        &|ran| ran.profiles[1].dnns.push("ims".to_owned()),
        &of("/dnn"),
        "srsRAN leaves data networks to the core",
    );
    refuse(
        &|ran| ran.profiles[1].access.default_action = DefaultAction::Deny,
        &of("/access/default-action"),
        "srsRAN leaves subscribers to the core: set it to permit",
    );
    refuse(
        &|ran| ran.profiles[1].access = profile(2, Share::default()).access,
        &of("/access/imsi-range[first='001020000000001']"),
        "srsRAN leaves subscribers to the core",
    );
    refuse(
        &|ran| ran.profiles[1].cores.push("dc".to_owned()),
        &of("/core[.='dc']"),
        "srsRAN keeps a PLMN under one AMF",
    );
    refuse(
        &|ran| {
            ran.profiles[1].mnc = "01".to_owned();
            ran.profiles[1].cores = vec!["dc".to_owned()];
        },
        &of("/core"),
        "PLMN 001-01 is under another AMF already, by slice profile s1",
    );
    refuse(
        &|ran| ran.profiles[1].sst = Some(1),
        &of("/rrm-policy"),
        "srsRAN has one policy for an S-NSSAI in all PLMNs, and slice profile s1 has another",
    );
    refuse(
        &|ran| ran.profiles[1].policies[0].share = share(10.5, 50.0, 0.0),
        &of(&format!("{policy}/min-ratio")),
        "srsRAN takes whole percents",
    );
    refuse(
        &|ran| {
            ran.profiles[1].policies.push(PolicyConfig {
                resource_type: ResourceType::PrbUp,
                share: Share::default(),
            });
        },
        &of("/rrm-policy[resource-type='prb-up']"),
        "srsRAN has one policy for both directions",
    );
    let c1 = "/tranche-ran:ran/cell[name='c1']";
    refuse(
        &|ran| ran.cells[0].rat = Rat::Lte,
        &format!("{c1}/rat"),
        "srsRAN carries NR cells only",
    );
    refuse(
        &|ran| ran.cells[0].band = None,
        &format!("{c1}/band"),
        "srsRAN needs the band to know the channel",
    );
    refuse(
        &|ran| ran.cells[0].bandwidth_prb = 52,
        &format!("{c1}/bandwidth-prb"),
        "no channel of this band has 52 PRB",
    );
    refuse(
        &|ran| ran.cells.push(cell("c2", Rat::Nr)),
        "/tranche-ran:ran/cell[name='c2']",
        "one gNB of this kind has one cell here",
    );
}

#[tokio::test]
async fn corrections_are_refused_and_a_restart_by_hand_counts_ues() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    let starts = rig.gnb.running.lock().unwrap().starts;
    let refusal = rig.ran.correct(&[], Duration::ZERO).await.unwrap_err();
    assert_eq!(
        (refusal.path.as_str(), refusal.app_tag),
        ("/tranche-ran:correct-prb", Some("not-on-srsran"))
    );
    assert_eq!(rig.ran.initialise(false).await, Ok(0));
    assert_eq!(rig.gnb.running.lock().unwrap().starts, starts + 1);
    let report = rig.ran.report().await.unwrap();
    assert_eq!(report.cells[0].profiles.len(), 2);
    assert_eq!(report.cells[0].profiles[0].on_cell.down.used_ratio, None);
}
