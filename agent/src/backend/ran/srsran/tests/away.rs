//! A gNB that is slow, hung or away while something is asked of it, and an agent that is killed meanwhile.

use super::*;
use crate::backend::ran::srsran::stand_in::{Running, Stall};

impl Rig {
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Running) -> bool) {
        for _ in 0..1_000 {
            if is_so(&self.gnb.running.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let running = self.gnb.running.lock().unwrap();
        panic!("never {what}: {running:?}, its file {}", self.file());
    }

    pub(super) async fn until_state(&self, wanted: ProfileState) {
        let mut found = None;
        for _ in 0..1_000 {
            found = Some(self.ran.profiles().await.unwrap()[0].oper_state);
            if found == Some(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {wanted:?}: {found:?}");
    }

    /// Another agent, that waits for the gNB for another time.
    pub(super) async fn with_restarts_of(&mut self, restart_wait: Duration) {
        let settings = self.ran.0.settings.clone();
        let settings = SrsRanSettings {
            restart_wait,
            ..settings
        };
        self.renew(settings).await;
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Running)) {
        change(&mut self.gnb.running.lock().unwrap());
    }

    pub(super) fn starts(&self) -> u32 {
        self.gnb.running.lock().unwrap().starts
    }

    /// What the gNB runs, by SST.
    pub(super) fn slices(&self) -> Vec<u64> {
        let running = self.gnb.running.lock().unwrap();
        running.slices.keys().map(|(sst, _)| *sst).collect()
    }

    /// Applies a change in a task of its own.
    fn begin(&self, old: &NodeConfig, new: &NodeConfig) -> tokio::task::JoinHandle<bool> {
        let mut ran = self.ran.clone();
        let plan = ran.plan(old, new).unwrap();
        tokio::spawn(async move { ran.apply(plan).await.is_ok() })
    }
}

pub(super) fn three() -> NodeConfig {
    let mut config = two();
    let third = profile(3, share(5.0, 100.0, 0.0));
    config.ran.profiles.push(plain(third, 3));
    config
}

pub(super) fn other_ratios() -> NodeConfig {
    let mut config = two();
    config.ran.profiles[0].policies[0].share = share(30.0, 80.0, 0.0);
    config
}

#[tokio::test]
async fn a_restart_by_hand_waits_for_a_commit_and_starts_what_that_committed() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    rig.tell(|gnb| gnb.startup = Duration::from_millis(300));
    let starts = rig.starts();
    let commit = rig.begin(&two(), &three());
    rig.until("starting with three slices", |gnb| gnb.starts > starts)
        .await;
    assert_eq!(rig.ran.initialise(true).await, Ok(0));
    assert!(commit.await.unwrap());
    assert_eq!(rig.slices(), [1, 2, 3]);
    assert!(rig.file().contains("sst: 3"), "{}", rig.file());
    assert_eq!(rig.starts(), starts + 2);
}

#[tokio::test]
async fn a_refused_slice_is_not_put_on_air_by_a_gnb_that_comes_back_too_late() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    rig.with_restarts_of(Duration::from_millis(300)).await;
    let starts = rig.starts();
    rig.tell(|gnb| gnb.startup = Duration::from_millis(900));
    let refusal = rig.commit(three()).await.unwrap_err();
    assert_eq!(refusal.app_tag, Some("no-gnb"));
    assert_eq!(rig.slices(), [1, 2, 3], "it is starting with the third");
    rig.tell(|gnb| gnb.startup = Duration::ZERO);
    rig.until("started with the former file", |gnb| {
        gnb.starts == starts + 2
    })
    .await;
    rig.until_state(ProfileState::Active).await;
    assert_eq!(rig.slices(), [1, 2]);
    assert_eq!(rig.starts(), starts + 2, "it is told to end once");
}

#[tokio::test]
async fn slices_that_are_removed_while_the_gnb_starts_do_not_come_on_air() {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    rig.tell(|gnb| gnb.startup = Duration::from_millis(600));
    let (starts, quits) = (rig.starts(), rig.gnb.running.lock().unwrap().quits);
    // Somebody restarts it.
    drop(rig.ran.0.control.send(&json!({ "cmd": "quit" })).await);
    rig.until("starting", |gnb| gnb.starts > starts).await;
    let mut none = two();
    none.ran.profiles.clear();
    rig.commit(none).await.unwrap();
    rig.until("told to end", |gnb| gnb.quits == quits + 2 && !gnb.is_up)
        .await;
    assert_eq!((rig.starts(), rig.file()), (starts + 1, String::new()));
}

#[tokio::test]
async fn a_gnb_that_hangs_has_failed_until_it_goes_on() {
    let mut rig = Rig::with(|settings| settings.silence = Duration::from_millis(150)).await;
    rig.commit(two()).await.unwrap();
    rig.until_state(ProfileState::Active).await;
    let starts = rig.starts();
    rig.tell(|gnb| gnb.hangs = true);
    rig.until_state(ProfileState::Failed).await;
    rig.tell(|gnb| gnb.hangs = false);
    rig.until_state(ProfileState::Active).await;
    assert_eq!(rig.starts(), starts);
    // It answers, but its cell is heard of no more.
    rig.tell(|gnb| gnb.is_mute = true);
    rig.until_state(ProfileState::Pending).await;
    rig.tell(|gnb| gnb.is_mute = false);
    rig.until_state(ProfileState::Active).await;
    assert_eq!(rig.starts(), starts);
}

#[tokio::test]
async fn a_gnb_without_metrics_is_there_as_long_as_it_answers() {
    let rig = Rig::with(|settings| settings.silence = Duration::from_millis(150)).await;
    rig.tell(|gnb| gnb.is_mute = true);
    std::fs::write(rig.dir.path().join("tranche.yml"), "cell_cfg:\n  pci: 1\n").unwrap();
    let observed = || rig.ran.0.control.observed();
    rig.until("connected", |_| observed().is_connected).await;
    let connections = observed().connections;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(observed().is_connected && observed().cells.is_none());
    assert_eq!(observed().connections, connections);
}

#[tokio::test]
async fn a_hung_gnb_that_was_told_to_end_ends_when_it_goes_on() {
    let mut rig = Rig::with(|settings| settings.silence = Duration::from_millis(150)).await;
    rig.commit(two()).await.unwrap();
    rig.with_restarts_of(Duration::from_millis(400)).await;
    let starts = rig.starts();
    rig.tell(|gnb| gnb.hangs = true);
    rig.commit(three()).await.unwrap_err();
    rig.tell(|gnb| gnb.hangs = false);
    rig.until("started again", |gnb| gnb.starts > starts).await;
    rig.until_state(ProfileState::Active).await;
    assert_eq!(rig.slices(), [1, 2]);
}

/// What was committed is in force again after a start of the agent, whether ratios were being changed or changed back.
#[tokio::test]
async fn ratios_that_an_agent_left_half_changed_are_put_right_when_it_starts() {
    for (from, to, stall) in [
        (two(), other_ratios(), Stall::After),
        (other_ratios(), two(), Stall::Before),
    ] {
        let mut rig = Rig::new().await;
        rig.commit(two()).await.unwrap();
        rig.commit(from.clone()).await.unwrap();
        rig.until_state(ProfileState::Active).await;
        rig.tell(|gnb| gnb.stalls = Some(stall));
        let asked = |gnb: &Running| gnb.asked;
        let before = asked(&rig.gnb.running.lock().unwrap());
        let change = rig.begin(&from, &to);
        rig.until("asked", |gnb| asked(gnb) > before).await;
        let settings = rig.ran.0.settings.clone();
        change.abort();
        assert!(change.await.unwrap_err().is_cancelled());
        rig.tell(|gnb| gnb.stalls = None);
        rig.ran = SrsRan::new(settings);
        rig.ran.reconcile(&two()).await.unwrap();
        assert_eq!(rig.slice(1), (20, 100, 0));
        assert_eq!(rig.ran.reconcile(&two()).await.unwrap().repaired, []);
    }
}
