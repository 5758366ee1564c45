//! What becomes of chains whose applications hang: run for the simulator and, in network namespaces, for the kernel.

use std::time::Instant;

use tokio::sync::broadcast;

use super::*;

/// Short enough for a test, and long enough for a machine that is busy.
pub(crate) fn fast(check: HealthCheck) -> HealthCheck {
    HealthCheck {
        interval: 100,
        timeout: 100,
        fall: 2,
        rise: 1,
        ..check
    }
}

/// Packets of user 1 through `a0` and `a1` to `p2`; the application at `a0` is asked like this.
pub(crate) fn config(check: Option<HealthCheck>, on_failure: OnFailure) -> SteeringConfig {
    let mut config = base();
    config.chains.push(chain(on_failure));
    config.chains[0].applications[0].health_check = check.map(fast);
    config.rules.push(RuleConfig {
        chain: Some("local".to_owned()),
        ..rule("r", "s", of_user(1))
    });
    config
}

fn packet() -> Vec<u8> {
    Frame::gtp(1, 255, &user_packet()).bytes()
}

/// Where a packet leaves, among the frames with which applications are asked: those leave at their ports alone.
async fn way(rig: &mut impl SteeringRig) -> Option<String> {
    let (packet, before) = (packet(), of_rule(&seen(rig).await, "r"));
    rig.send("p0", &packet);
    eventually(rig, |state| of_rule(state, "r") == before + 1).await;
    let (ours, others): (Vec<_>, Vec<_>) =
        rig.left().into_iter().partition(|(_, one)| *one == packet);
    assert!(
        others.iter().all(|(port, _)| port.starts_with('a')),
        "{others:?}"
    );
    // What the application at a0 answers goes on in no chain.
    let is_answer = |(port, one): &(String, Vec<u8>)| port != "a0" && one[12..14] != [0x88, 0xb5];
    assert!(!others.iter().any(is_answer), "{others:?}");
    ours.into_iter().next().map(|(port, _)| port)
}

pub(crate) async fn until_it_goes(rig: &mut impl SteeringRig, to: Option<&str>) {
    let start = Instant::now();
    while way(rig).await.as_deref() != to {
        assert!(start.elapsed() < PATIENCE, "packets do not go to {to:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn until_down(rig: &mut impl SteeringRig, index: usize, by: DownBy) -> String {
    let is = |state: &SteeringState| {
        let down = state.chains[0].applications[index].condition.down.clone();
        down.filter(|down| down.down_by == by)
    };
    eventually(rig, |state| is(state).is_some()).await;
    is(&seen(rig).await).map_or_else(String::new, |down| down.reason)
}

/// What is told of an application next.
async fn told(events: &mut broadcast::Receiver<Event>) -> (String, Condition) {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        if let Event::Application {
            application, now, ..
        } = event.unwrap().unwrap()
        {
            return (application, now);
        }
    }
}

/// An application that hangs with its port up is left out or closes its chain, as the chain says, until it does its work again.
pub(crate) async fn an_application_that_hangs_is_bypassed_or_closes_its_chain(
    rig: &mut impl SteeringRig,
) {
    let config = config(Some(rig.run_application("a0")), OnFailure::Bypass);
    configure(rig, &config).await;
    let mut events = rig.steering().events();
    until_it_goes(rig, Some("a0")).await;
    rig.hang("a0", true);
    let (application, now) = told(&mut events).await;
    assert_eq!((application.as_str(), now.is_up), ("at-a0", false));
    until_it_goes(rig, Some("a1")).await;
    let reason = until_down(rig, 0, DownBy::HealthCheck).await;
    assert_eq!(reason, "no answer within 100 ms");
    rig.hang("a0", false);
    let (application, now) = told(&mut events).await;
    assert_eq!((application.as_str(), now.is_up), ("at-a0", true));
    until_it_goes(rig, Some("a0")).await;
    // The link is looked at as before, and said first.
    rig.set_link("a0", false);
    assert_eq!(until_down(rig, 0, DownBy::Port).await, "port a0 is down");
    rig.set_link("a0", true);
    until_it_goes(rig, Some("a0")).await;
    let mut closed = config.clone();
    closed.chains[0].on_failure = OnFailure::Close;
    change(rig, &config, &closed).await.unwrap();
    rig.hang("a0", true);
    until_it_goes(rig, None).await;
    rig.hang("a0", false);
    until_it_goes(rig, Some("a0")).await;
    // Who is asked is not sent what is counted.
    let state = seen(rig).await;
    let [first, second] = [0, 1].map(|index| state.chains[0].applications[index].counter.packets);
    assert!(first + second <= of_rule(&state, "r"));
    assert!(state.chains[0].applications[0].checked_at.is_some());
}

/// An application that is left out stays so when something else is configured, or how often it is asked.
pub(crate) async fn what_is_known_of_an_application_outlives_other_changes(
    rig: &mut impl SteeringRig,
) {
    let config = config(Some(rig.run_application("a0")), OnFailure::Bypass);
    rig.hang("a0", true);
    configure(rig, &config).await;
    until_it_goes(rig, Some("a1")).await;
    let mut more = config.clone();
    more.rules.push(RuleConfig {
        drop: present(),
        ..rule("other", "s", of_user(2))
    });
    // As slow as the first result would be.
    let check = more.chains[0].applications[0].health_check.as_mut();
    check.unwrap().interval = 60_000;
    change(rig, &config, &more).await.unwrap();
    assert_eq!(way(rig).await.as_deref(), Some("a1"));
    // Without a check its port is all there is to go by.
    let mut less = more.clone();
    less.chains[0].applications[0].health_check = None;
    change(rig, &more, &less).await.unwrap();
    assert!(seen(rig).await.chains[0].applications[0].condition.is_up);
}

/// An application that does not answer for long does not keep others from being asked.
pub(crate) async fn who_hangs_holds_up_nobody_else(rig: &mut impl SteeringRig) {
    let mut config = config(Some(rig.run_application("a0")), OnFailure::Bypass);
    let check = config.chains[0].applications[0].health_check.as_mut();
    let check = check.unwrap();
    (check.interval, check.timeout) = (60_000, 60_000);
    config.chains[0].applications[1].health_check = Some(fast(rig.run_application("a1")));
    rig.hang("a0", true);
    configure(rig, &config).await;
    let is_up = |state: &SteeringState| {
        let all = state.chains[0].applications.iter();
        all.map(|one| one.condition.is_up).collect::<Vec<_>>()
    };
    eventually(rig, |state| {
        state.chains[0].applications[1].checked_at.is_some()
    })
    .await;
    rig.hang("a1", true);
    eventually(rig, |state| is_up(state) == [true, false]).await;
    rig.hang("a1", false);
    eventually(rig, |state| is_up(state) == [true, true]).await;
    let state = seen(rig).await;
    assert_eq!(state.chains[0].applications[0].checked_at, None);
}
