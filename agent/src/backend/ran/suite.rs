//! What every RAN backend must do, whichever technology it is.

use std::time::Duration;

use super::sim::scenario::{profile, share};
use super::{AdminState, CellOperState, ProfileConfig, ProfileState, ProfileStatus, RanBackend};
use crate::backend::{Applied, NodeConfig, Refusal};

/// A backend under test.
pub(crate) trait RanRig {
    /// The backend.
    fn ran(&mut self) -> &mut dyn RanBackend;

    /// A NR cell c1 that it can carry, with cores edge and dc, slice s1 of 20 to 100 % and slice s2 of 10 to 50 %.
    fn two_slices(&self) -> NodeConfig;

    /// A slice s3 that fits beside s1.
    fn third_slice(&self) -> ProfileConfig {
        profile(3, share(5.0, 100.0, 0.0))
    }

    /// Lets time pass.
    async fn pass(&mut self, time: Duration);
}

/// Runs all of it, each on a rig of its own.
pub(crate) async fn run<R: RanRig>(make: impl AsyncFn() -> R) {
    slices_come_and_go(make().await).await;
    shares_are_changed_in_place(make().await).await;
    what_is_undone_is_as_before(make().await).await;
    a_second_reconciliation_finds_nothing_to_do(make().await).await;
    locked_is_disabled(make().await).await;
}

async fn apply(
    rig: &mut impl RanRig,
    old: &NodeConfig,
    new: &NodeConfig,
) -> Result<Applied, Refusal> {
    let plan = rig.ran().plan(old, new)?;
    rig.ran().apply(plan).await
}

async fn state(rig: &mut impl RanRig, name: &str) -> Option<ProfileStatus> {
    let states = rig.ran().profiles().await.unwrap();
    states.into_iter().find(|one| one.name == name)
}

/// Time passes until a slice profile is in a state, ten seconds at most.
async fn reaches(rig: &mut impl RanRig, name: &str, wanted: ProfileState) {
    for _ in 0..100 {
        if state(rig, name).await.unwrap().oper_state == wanted {
            return;
        }
        rig.pass(Duration::from_millis(100)).await;
    }
    let found = state(rig, name).await;
    panic!("{name} never was {wanted:?}: {found:?}");
}

async fn slices_come_and_go(mut rig: impl RanRig) {
    let both = rig.two_slices();
    let nothing = NodeConfig::default();
    apply(&mut rig, &nothing, &both).await.unwrap();
    let at_once = state(&mut rig, "s1").await.unwrap().oper_state;
    let expected = [ProfileState::Pending, ProfileState::Active];
    assert!(expected.contains(&at_once), "{at_once:?}");
    for name in ["s1", "s2"] {
        reaches(&mut rig, name, ProfileState::Active).await;
        let core = state(&mut rig, name).await.unwrap().active_core;
        assert_eq!(core.as_deref(), Some("edge"));
    }
    let cells = rig.ran().cells().await.unwrap();
    assert_eq!(cells[0].oper_state, CellOperState::Up);
    let mut one = both.clone();
    one.ran.profiles.pop();
    apply(&mut rig, &both, &one).await.unwrap();
    assert_eq!(state(&mut rig, "s2").await, None);
    reaches(&mut rig, "s1", ProfileState::Active).await;
    apply(&mut rig, &one, &both).await.unwrap();
    reaches(&mut rig, "s2", ProfileState::Active).await;
    apply(&mut rig, &both, &nothing).await.unwrap();
    assert_eq!(rig.ran().profiles().await.unwrap(), []);
}

async fn shares_are_changed_in_place(mut rig: impl RanRig) {
    let before = rig.two_slices();
    apply(&mut rig, &NodeConfig::default(), &before)
        .await
        .unwrap();
    reaches(&mut rig, "s1", ProfileState::Active).await;
    let mut after = before.clone();
    after.ran.profiles[0].policies[0].share = share(35.0, 60.0, 0.0);
    let plan = rig.ran().plan(&before, &after).unwrap();
    assert_eq!(plan.steps().len(), 1);
    assert_eq!(plan.steps()[0].action, "change slice profile s1");
    assert_eq!(plan.stations_dropped(), 0);
    rig.ran().apply(plan).await.unwrap();
    let down = state(&mut rig, "s1").await.unwrap().cells[0].down;
    let owed = (down.effective_min_ratio, down.effective_max_ratio);
    let wanted = after.ran.profiles[0].policies[0].share;
    assert_eq!(owed, (wanted.min, wanted.max));
}

async fn what_is_undone_is_as_before(mut rig: impl RanRig) {
    let before = rig.two_slices();
    apply(&mut rig, &NodeConfig::default(), &before)
        .await
        .unwrap();
    reaches(&mut rig, "s1", ProfileState::Active).await;
    let mut after = before.clone();
    after.ran.profiles[0].policies[0].share = share(35.0, 60.0, 0.0);
    after.ran.profiles.pop();
    after.ran.profiles.push(rig.third_slice());
    let applied = apply(&mut rig, &before, &after).await.unwrap();
    assert!(state(&mut rig, "s3").await.is_some());
    rig.ran().undo(applied).await.unwrap();
    assert_eq!(state(&mut rig, "s3").await, None);
    reaches(&mut rig, "s2", ProfileState::Active).await;
    let down = state(&mut rig, "s1").await.unwrap().cells[0].down;
    let wanted = before.ran.profiles[0].policies[0].share;
    assert_eq!(down.effective_min_ratio, wanted.min);
}

async fn a_second_reconciliation_finds_nothing_to_do(mut rig: impl RanRig) {
    let wanted = rig.two_slices();
    let done = rig.ran().reconcile(&wanted).await.unwrap();
    assert!(!done.repaired.is_empty());
    reaches(&mut rig, "s2", ProfileState::Active).await;
    let again = rig.ran().reconcile(&wanted).await.unwrap();
    assert_eq!(again.repaired, []);
}

async fn locked_is_disabled(mut rig: impl RanRig) {
    let before = rig.two_slices();
    apply(&mut rig, &NodeConfig::default(), &before)
        .await
        .unwrap();
    reaches(&mut rig, "s2", ProfileState::Active).await;
    let mut locked = before.clone();
    locked.ran.profiles[1].admin_state = AdminState::Locked;
    apply(&mut rig, &before, &locked).await.unwrap();
    reaches(&mut rig, "s2", ProfileState::Disabled).await;
    reaches(&mut rig, "s1", ProfileState::Active).await;
}
