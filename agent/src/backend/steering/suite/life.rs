//! What is in force over restarts of the agent, changes by hand and refusals.

use super::*;

/// What is in force goes on over a restart, with its counters; what somebody changed is put right; nothing is left at the end.
pub(crate) async fn steering_is_adopted_repaired_and_removed(rig: &mut impl SteeringRig) {
    let mut config = base();
    config.rules.push(RuleConfig {
        forward: to("p1"),
        ..rule("r", "s", of_user(1))
    });
    configure(rig, &config).await;
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    leaves(rig, "p0", &frame).await;
    rig.restart().await;
    leaves(rig, "p0", &frame).await;
    let wanted = node(config.clone());
    let reconciled = rig.steering().reconcile(&wanted).await.unwrap();
    assert_eq!(reconciled.repaired, [], "nothing was wrong");
    assert_eq!(of_rule(&seen(rig).await, "r"), 2);
    let slices = seen(rig).await.counters.unwrap().slices;
    assert_eq!(
        (slices[0].name.as_str(), slices[0].counter.packets),
        ("s", 2)
    );
    rig.disturb();
    let reconciled = rig.steering().reconcile(&wanted).await.unwrap();
    assert_eq!(reconciled.repaired.len(), 1);
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p1");
    change(rig, &config, &SteeringConfig::default())
        .await
        .unwrap();
    assert!(rig.is_untouched());
}

/// A port where steering cannot be put leaves nothing of what was refused, and what is not in force is not shown as if it were.
pub(crate) async fn what_cannot_be_put_in_force_leaves_nothing_and_is_told(
    rig: &mut impl SteeringRig,
) {
    let mut config = base();
    config.rules.push(RuleConfig {
        forward: to("p2"),
        ..rule("r", "s", at("p0"))
    });
    // The first is made, the second cannot be.
    rig.obstruct("p1", true);
    let refused = change(rig, &SteeringConfig::default(), &config).await;
    assert!(refused.is_err());
    assert_eq!(seen(rig).await, SteeringState::default());
    rig.obstruct("p1", false);
    assert!(rig.is_untouched());

    configure(rig, &config).await;
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p2");
    rig.obstruct("p1", true);
    let wanted = node(config.clone());
    assert!(rig.steering().reconcile(&wanted).await.is_err());
    let state = seen(rig).await;
    assert!(state.fault.is_some());
    let states = state.ports.iter().map(|port| port.oper_state);
    assert!(states.into_iter().all(|state| state == OperState::Failed));
    rig.obstruct("p1", false);
    rig.steering().reconcile(&wanted).await.unwrap();
    let state = seen(rig).await;
    assert_eq!(state.fault, None);
    assert_eq!(state.ports[0].oper_state, OperState::Up);
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p2");
}
