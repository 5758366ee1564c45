//! A gNB that is told to end and refuses to.

use super::away::{other_ratios, three};
use super::*;

const NOT_NOW: &str = "told to end and start again, the gNB refuses: not now";

/// With two slices, and a gNB that does not end: its file, and how often it has started.
async fn with_a_gnb_that_stays() -> (Rig, (String, u32)) {
    let mut rig = Rig::new().await;
    rig.commit(two()).await.unwrap();
    rig.tell(|gnb| gnb.stays = Some("not now"));
    let before = (rig.file(), rig.starts());
    (rig, before)
}

/// It runs as it did, and its file is the former one.
async fn is_as_before(rig: &mut Rig, before: &(String, u32)) {
    assert_eq!((rig.file(), rig.starts()), *before);
    assert_eq!(rig.slices(), [1, 2]);
    rig.until_state(ProfileState::Active).await;
    assert_eq!(rig.ran.profiles().await.unwrap().len(), 2);
    assert_eq!(rig.ran.reconcile(&two()).await.unwrap().repaired, []);
}

fn is_refused(refusal: &Refusal) {
    assert_eq!(
        (&*refusal.path, &*refusal.message, refusal.app_tag),
        (ROOT, NOT_NOW, Some("gnb-refuses"))
    );
}

#[tokio::test]
async fn a_change_that_needs_a_start_is_refused_and_others_go_on() {
    let (mut rig, before) = with_a_gnb_that_stays().await;
    is_refused(&rig.commit(three()).await.unwrap_err());
    is_as_before(&mut rig, &before).await;
    rig.commit(other_ratios()).await.unwrap();
    assert_eq!(rig.slice(1), (30, 80, 0));
    rig.commit(two()).await.unwrap();
    // It is asked again by the next one.
    is_refused(&rig.commit(three()).await.unwrap_err());
    is_as_before(&mut rig, &before).await;
    rig.tell(|gnb| gnb.stays = None);
    rig.commit(three()).await.unwrap();
    assert_eq!((rig.slices(), rig.starts()), (vec![1, 2, 3], before.1 + 1));
}

#[tokio::test]
async fn the_last_slice_stays_and_so_does_its_file() {
    let (mut rig, before) = with_a_gnb_that_stays().await;
    let mut none = two();
    none.ran.profiles.clear();
    is_refused(&rig.commit(none).await.unwrap_err());
    is_as_before(&mut rig, &before).await;
}

#[tokio::test]
async fn a_restart_by_hand_is_refused_and_changes_nothing() {
    let (mut rig, before) = with_a_gnb_that_stays().await;
    is_refused(&rig.ran.initialise(true).await.unwrap_err());
    is_as_before(&mut rig, &before).await;
    rig.commit(other_ratios()).await.unwrap();
}

/// It came back too late with what was refused, and does not end: nobody says that it runs as was committed, until it does.
#[tokio::test]
async fn a_gnb_that_runs_with_what_was_refused_is_not_taken_for_one_that_runs_as_before() {
    let (mut rig, (file, starts)) = with_a_gnb_that_stays().await;
    rig.tell(|gnb| {
        gnb.stays = None;
        gnb.startup = Duration::from_millis(900);
    });
    rig.with_restarts_of(Duration::from_millis(300)).await;
    rig.commit(three()).await.unwrap_err();
    rig.tell(|gnb| gnb.stays = Some("not now"));
    rig.until("up with three slices", |gnb| {
        gnb.is_up && gnb.starts == starts + 1
    })
    .await;
    assert_eq!(rig.slices(), [1, 2, 3]);
    let refused = async |rig: &mut Rig| {
        for _ in 0..1_000 {
            let refusal = rig.ran.reconcile(&two()).await.unwrap_err();
            if refusal.app_tag == Some("gnb-refuses") {
                return is_refused(&refusal);
            }
        }
        panic!("the refusal is not told");
    };
    refused(&mut rig).await;
    let refusal = rig.commit(other_ratios()).await.unwrap_err();
    assert_eq!(refusal.message, "the gNB refuses: not now");
    let refusal = rig.commit(three()).await.unwrap_err();
    assert!(
        refusal
            .message
            .contains("the former state could not be restored"),
        "{refusal:?}"
    );
    assert_eq!(rig.file(), file.clone() + OPEN);
    rig.tell(|gnb| {
        gnb.stays = None;
        gnb.startup = Duration::ZERO;
    });
    // Somebody restarts it.
    drop(rig.ran.0.control.send(&json!({ "cmd": "quit" })).await);
    rig.until("started with the former file", |gnb| {
        gnb.starts == starts + 2
    })
    .await;
    while rig.ran.reconcile(&two()).await.is_err() {}
    assert_eq!((rig.slices(), rig.file()), (vec![1, 2], file));
    rig.commit(other_ratios()).await.unwrap();
}
