//! From targets to corrections: integral term, ceilings, minima, and only what moved.

use std::sync::Arc;

use super::integral::Seen;
use super::radio::{Delivery, Radio, Sent, Vif};
use super::target::BEST_EFFORT;
use super::types::{Correction, Period, RadioId};
use super::{Round, Scheduler, Settings};

/// Ceilings stand this factor above what is aimed at.
const CEILING: f64 = 1.03;
/// Lowest ceiling, percent: a vif must be able to show that it wants to send.
const LEAST_CEILING: f64 = 0.1;
/// A row whose targets fill this part of its capacity is congested.
const CONGESTED: f64 = 0.98;
/// Periods without congestion after which ceilings are taken back.
const RELEASE_AFTER: u32 = 5;
/// A minimum is sent anew when it moves by more than this, percent.
const MIN_STEP: f64 = 1.0;
/// A ceiling is sent anew when it moves by more than this, percent...
const MAX_STEP: f64 = 0.5;
/// ... or by more than this part of itself: half a percent of the time is much to a small guarantee.
const MAX_STEP_PART: f64 = 0.01;
/// No ceiling moves by less than this, percent.
const LEAST_STEP: f64 = 0.2;
/// Periods after which a node must show the ceiling it was sent.
const SHOWN_AFTER: u64 = 3;

impl Scheduler {
    /// Decides what to send.
    pub(super) fn control(&mut self, round: &Round<'_>) -> Vec<Correction> {
        if !self.settings.enabled {
            return self.take_back(round.now);
        }
        let steered = self.steer(round);
        let mut corrections = Vec::new();
        let Settings { gain, lifetime, .. } = self.settings;
        let mut aims = Vec::new();
        for (at, radio) in self.radios.iter_mut().enumerate() {
            if radio.is_new {
                let targets = &round.targets.target[round.flows.first[at] as usize..];
                for (vif, &target) in radio.vifs.iter_mut().zip(targets) {
                    let seen = Seen {
                        target,
                        used: vif.used,
                        is_short: vif.is_short(),
                        capacity: round.capacity[at],
                    };
                    vif.integral.advance(seen, gain);
                }
            }
            if !radio.is_fresh(round.now) {
                continue;
            }
            if steered[at] {
                let flows = round.flows.first[at] as usize..;
                let of_vif = |(vif, flow)| aim(vif, flow, round, round.capacity[at]);
                aims.clear();
                aims.extend(radio.vifs.iter().zip(flows).map(of_vif));
                correct(radio, &aims, round.now, lifetime, &mut corrections);
            } else {
                release(radio, round.now, &mut corrections);
            }
        }
        corrections
    }

    /// Back to what is configured, wherever a correction is in force: once, and where that did not arrive, as soon as the radio
    /// is heard of.
    fn take_back(&mut self, now: Period) -> Vec<Correction> {
        let mut corrections = Vec::new();
        for radio in &mut self.radios {
            radio.capped = false;
            radio.relaxed_for = 0;
            let is_fresh = radio.is_fresh(now);
            for vif in &mut radio.vifs {
                vif.integral.reset();
                if vif.sent.take().is_some() || (vif.is_unknown() && is_fresh) {
                    vif.delivery = Delivery::UnderWay;
                    corrections.push(Correction {
                        radio: radio.id.clone(),
                        vif: vif.name.clone(),
                        min_ratio: vif.configured_min,
                        max_ratio: vif.configured_max,
                    });
                }
            }
        }
        corrections
    }

    /// Which radios are corrected at all, and (in `capped`) which of those have ceilings.
    ///
    /// A congested row with a guarantee at stake is steered; ceilings help only where several radios want to send,
    /// because within one radio the local scheduler's minima do.
    fn steer(&mut self, round: &Round<'_>) -> Vec<bool> {
        let rows = self.graph.rows();
        let flows = &round.flows;
        let own = |radio: usize| flows.first[radio] as usize..flows.first[radio + 1] as usize;
        let mut steered = vec![false; rows.len()];
        let mut capped = vec![false; rows.len()];
        let loads: Vec<Load> = (0..rows.len())
            .map(|radio| {
                let mut sum = Load::default();
                for flow in own(radio) {
                    sum.load += round.targets.target[flow];
                    let wants = flows.demand[flow] > 0.0;
                    sum.sends |= wants;
                    sum.guarantee |= wants
                        && flows.slice[flow] != BEST_EFFORT
                        && (round.targets.entitled[flow] > 0.0 || round.targets.lent(flow) > 0.0);
                }
                sum
            })
            .collect();
        for (row, members) in rows.iter().enumerate() {
            let of_row = || members.iter().map(|&member| loads[member as usize]);
            let load: f64 = of_row().map(|of| of.load).sum();
            let guarantee = of_row().any(|of| of.guarantee);
            let senders = of_row().filter(|of| of.sends).count();
            if guarantee && load >= CONGESTED * round.capacity[row] {
                for &member in members {
                    steered[member as usize] = true;
                    capped[member as usize] |= senders > 1;
                }
            }
        }
        for ((radio, steered), capped) in self.radios.iter_mut().zip(&mut steered).zip(capped) {
            if capped {
                radio.capped = true;
                radio.relaxed_for = 0;
            } else if radio.capped {
                radio.relaxed_for += 1;
                radio.capped = radio.relaxed_for < RELEASE_AFTER;
            }
            *steered |= radio.capped;
        }
        steered
    }
}

/// What a radio adds to a row.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    load: f64,
    sends: bool,
    guarantee: bool,
}

/// What a vif is steered to: its target corrected by its history, or the room kept open for it while it is quiet.
fn aim(vif: &Vif, flow: usize, round: &Round<'_>, capacity: f64) -> f64 {
    let aim = (round.targets.target[flow] + vif.integral.value()).clamp(0.0, capacity);
    if vif.demand().is_infinite() {
        aim
    } else {
        aim.max(round.targets.entitled[flow])
    }
}

fn correct(radio: &mut Radio, aims: &[f64], now: Period, lifetime: u64, out: &mut Vec<Correction>) {
    let sum: f64 = aims.iter().sum();
    let share = (1.0 - radio.reserved_min).max(0.0) * 100.0;
    for (vif, aim) in radio.vifs.iter_mut().zip(aims) {
        let max = if radio.capped {
            let least = LEAST_CEILING.min(vif.configured_max);
            round_2(100.0 * CEILING * aim).clamp(least, vif.configured_max)
        } else {
            vif.configured_max
        };
        let min = if sum > 0.0 {
            floor_2(share * aim / sum).min(max)
        } else {
            0.0
        };
        let old_min = vif.sent.map_or(vif.configured_min, |sent| sent.min);
        let old_max = vif.ceiling();
        let renew = vif.sent.is_some_and(|sent| {
            let age = now.since(sent.at);
            let lost = |shown: f64| age >= SHOWN_AFTER && (shown - sent.max).abs() > MAX_STEP;
            radio.capped && (age * 2 >= lifetime || vif.effective_max.is_some_and(lost))
        });
        let step = (MAX_STEP_PART * old_max).clamp(LEAST_STEP, MAX_STEP);
        let moved = (min - old_min).abs() > MIN_STEP || (max - old_max).abs() > step;
        if moved || renew || vif.is_unknown() {
            out.push(decide(&radio.id, vif, (min, max), now));
        }
    }
}

/// Takes ceilings back; the last good minima stay.
fn release(radio: &mut Radio, now: Period, out: &mut Vec<Correction>) {
    for vif in &mut radio.vifs {
        let max = vif.configured_max;
        if vif.ceiling() >= max && !vif.is_unknown() {
            continue;
        }
        let min = vif
            .sent
            .map_or(vif.configured_min, |sent| sent.min)
            .min(max);
        out.push(decide(&radio.id, vif, (min, max), now));
    }
}

/// A correction from now on, under way.
fn decide(radio: &RadioId, vif: &mut Vif, (min, max): (f64, f64), now: Period) -> Correction {
    let before = vif.ceiling();
    vif.delivery = Delivery::UnderWay;
    vif.sent = Some(Sent {
        min,
        max,
        at: now,
        before: (before, now),
    });
    Correction {
        radio: radio.clone(),
        vif: Arc::clone(&vif.name),
        min_ratio: min,
        max_ratio: max,
    }
}

fn round_2(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

fn floor_2(percent: f64) -> f64 {
    (percent * 100.0 + 1e-6).floor() / 100.0
}
