//! Corrections that do not arrive.

use super::*;

impl Loop {
    /// What was decided for a node does not arrive.
    fn lose(&mut self, node: &str) {
        let corrections = &mut self.decision.corrections;
        corrections.retain(|correction| &*correction.radio.node != node);
        self.scheduler.undelivered(node);
    }

    /// What the newest step decided for a node: minimum and ceiling.
    fn decided(&self, node: &str) -> Vec<(f64, f64)> {
        let corrections = self.decision.corrections.iter();
        let of_node = corrections.filter(|correction| &*correction.radio.node == node);
        of_node.map(|c| (c.min_ratio, c.max_ratio)).collect()
    }

    /// Goes on until something is decided for a node that `wanted` is looking for.
    fn run_until(&mut self, node: &str, wanted: impl Fn(f64, f64) -> bool) {
        for _ in 0..60 {
            self.step();
            let decided = self.decided(node);
            if decided.iter().any(|&(min, max)| wanted(min, max)) {
                return;
            }
        }
        panic!("nothing of the kind was decided for {node}");
    }
}

#[test]
fn what_did_not_arrive_is_sent_until_it_does_and_no_more() {
    let mut looped = figure_21();
    looped.run_until("node-0", |_, max| max < 100.0);
    for _ in 0..3 {
        let decided = looped.decided("node-0");
        looped.lose("node-0");
        looped.step();
        let again = looped.decided("node-0");
        assert_eq!(
            (decided.len(), again.len()),
            (1, 1),
            "{decided:?} {again:?}"
        );
    }
    looped.run(30);
    let mut lost = looped.fork();
    looped.run_until("node-0", |_, max| max < 100.0);
    lost.run_until("node-0", |_, max| max < 100.0);
    lost.lose("node-0");
    looped.run(3);
    lost.run(3);
    assert_eq!(looped.plant.ceiling(0, 0), lost.plant.ceiling(0, 0));
    assert!(
        lost.sent <= looped.sent + 2,
        "{} {}",
        lost.sent,
        looped.sent
    );
}

#[test]
fn a_ceiling_whose_taking_back_did_not_arrive_is_taken_back_again() {
    let mut looped = figure_21();
    looped.run(10);
    looped.plant.each("a", |vif| vif.wants = 0.05);
    looped.plant.each("b", |vif| vif.wants = 0.05);
    looped.run_until("node-0", |_, max| max == 100.0);
    looped.lose("node-0");
    looped.step();
    assert!(looped.plant.ceiling(0, 0) < 100.0, "it is still in force");
    looped.step();
    assert_eq!(looped.plant.ceiling(0, 0), 100.0);
    looped.run(5);
    assert_eq!(looped.decided("node-0"), []);
}

#[test]
fn a_minimum_that_is_as_configured_is_sent_where_another_may_be_in_force() {
    // Slices of one radio: only minima steer them.
    let table = |a, b, c| [("a", sla(a)), ("b", sla(b)), ("c", sla(c))];
    let mut looped = Loop::new(Plant::new(&[&["a", "b", "c"]]), &table(10.0, 20.0, 65.0));
    looped.run(20);
    assert!(looped.plant.minimum(0, 2) > 60.0);
    // A third each is what is configured.
    looped.table = table(32.0, 32.0, 32.0).into_iter().collect();
    let is_third = |min: f64| (min - 100.0 / 3.0).abs() < 1.0;
    looped.run_until("node-0", |min, _| is_third(min));
    looped.lose("node-0");
    looped.step();
    assert!(looped.plant.minimum(0, 2) > 60.0, "it is still in force");
    looped.step();
    let minimum = looped.plant.minimum(0, 2);
    assert!(is_third(minimum), "{minimum}");
}

#[test]
fn switching_off_is_told_again_to_a_node_it_did_not_reach_once_that_is_heard_of() {
    let mut looped = figure_21();
    looped.run(10);
    looped.scheduler.set_enabled(false);
    looped.step();
    assert_eq!(looped.decided("node-0").len(), 1);
    looped.lose("node-0");
    looped.plant.silent = vec![0];
    for _ in 0..2 {
        looped.step();
        assert_eq!(looped.decided("node-0").len(), 1);
        looped.lose("node-0");
    }
    for _ in 0..4 {
        looped.step();
        assert_eq!(looped.decided("node-0"), [], "nobody is there");
    }
    assert!(looped.plant.ceiling(0, 0) < 40.0);
    looped.plant.silent.clear();
    looped.run(3);
    assert_eq!(looped.plant.ceiling(0, 0), 100.0);
    assert!(looped.decision.corrections.is_empty());
}
