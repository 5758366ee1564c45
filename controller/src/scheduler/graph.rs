//! Who contends with whom: edges between radios from the access points they hear, with hysteresis.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::Rows;
use super::types::{Bssid, Neighbour, Period, RadioReport};

/// An edge begins when a beacon is heard at this strength (preamble detection, IEEE 802.11 17.3.10.6)...
const ENTER_DBM: i8 = -82;
/// ... and goes on as long as one is heard at this.
const LEAVE_DBM: i8 = -88;
/// Periods an edge lasts without a beacon at `LEAVE_DBM`.
const HOLD: u64 = 5;
/// A beacon older than this says nothing about now.
const STALE_BEACON_MS: u32 = 10_000;

/// One radio hears another.
#[derive(Debug, Clone, Copy)]
struct Link {
    peer: u32,
    /// When it was heard before the newest list.
    before: Period,
    /// Whether it is in the newest list.
    is_current: bool,
}

/// A beacon's origin, looked up once as long as the list of neighbours keeps its order.
#[derive(Debug, Clone, Copy)]
struct Resolved {
    bssid: Bssid,
    peer: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct Ear {
    channel: Option<u16>,
    links: Vec<Link>,
    /// Links that are not in the newest list.
    fading: usize,
    /// When the newest list was heard.
    heard: Period,
    /// The newest list; `None` if it has to be gone through anew.
    last: Option<Arc<[Neighbour]>>,
    resolved: Vec<Resolved>,
    bssids: Vec<Bssid>,
}

/// The conflict graph. Radios are numbered as in the scheduler's list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    ears: Vec<Ear>,
    owners: HashMap<Bssid, u32>,
    rows: Rows,
    /// Connected component of each radio, numbered from 0 in order of their first radio.
    component: Vec<u32>,
    components: usize,
    stale_owners: bool,
    stale_rows: bool,
}

impl Ear {
    /// Whether the report has the very list of the one before, which then has the same effect: what was heard then is heard now.
    fn hears_the_same(&mut self, report: &RadioReport) -> bool {
        let then = std::mem::replace(&mut self.heard, report.ended);
        // Neither list nor links are touched, not even to count who holds them: they are in no cache.
        let last = self.last.as_ref();
        if last.is_some_and(|last| Arc::ptr_eq(last, &report.neighbours)) {
            return true;
        }
        for link in self.links.iter_mut().filter(|link| link.is_current) {
            link.before = then;
            link.is_current = false;
        }
        self.fading = self.links.len();
        self.last = Some(Arc::clone(&report.neighbours));
        false
    }

    /// Drops links that were not heard for a while. Returns whether there were any.
    fn fade(&mut self, now: Period) -> bool {
        if self.fading == 0 && now.since(self.heard) <= HOLD {
            return false;
        }
        let (before, heard) = (self.links.len(), self.heard);
        self.links.retain(|link| {
            let last = if link.is_current { heard } else { link.before };
            now.since(last) <= HOLD
        });
        self.count_fading();
        self.links.len() != before
    }

    fn count_fading(&mut self) {
        self.fading = self.links.iter().filter(|link| !link.is_current).count();
    }
}

impl Graph {
    /// Adds a radio at the end.
    pub(crate) fn push(&mut self) {
        self.ears.push(Ear::default());
        self.stale_rows = true;
    }

    /// Keeps the radios whose new number `renumber` gives.
    pub(crate) fn retain(&mut self, renumber: &[Option<u32>]) {
        let mut keep = renumber.iter();
        self.ears
            .retain(|_| keep.next().is_some_and(Option::is_some));
        for ear in &mut self.ears {
            ear.links.retain_mut(|link| {
                match renumber.get(link.peer as usize).copied().flatten() {
                    Some(peer) => {
                        link.peer = peer;
                        true
                    }
                    None => false,
                }
            });
            ear.count_fading();
        }
        self.stale_owners = true;
        self.stale_rows = true;
    }

    /// Takes note of the addresses a radio sends beacons from; to be called for all radios before [`Self::hear`].
    pub(crate) fn beacons(&mut self, radio: u32, report: &RadioReport) {
        let ear = &mut self.ears[radio as usize];
        if ear.channel != report.channel {
            ear.channel = report.channel;
            self.stale_rows = true;
        }
        let bssids = report.vifs.iter().filter_map(|vif| vif.bssid);
        if !bssids.clone().eq(ear.bssids.iter().copied()) {
            ear.bssids = bssids.collect();
            self.stale_owners = true;
        }
    }

    /// Takes note of what a radio hears in a fresh report.
    pub(crate) fn hear(&mut self, radio: u32, report: &RadioReport) {
        self.refresh_owners();
        let ear = &mut self.ears[radio as usize];
        if ear.hears_the_same(report) {
            return;
        }
        ear.resolved.truncate(report.neighbours.len());
        // The vifs of one radio stand together in most reports.
        let mut heard = None;
        for (at, neighbour) in report.neighbours.iter().enumerate() {
            let peer = match ear.resolved.get(at) {
                Some(known) if known.bssid == neighbour.bssid => known.peer,
                known => {
                    let peer = self.owners.get(&neighbour.bssid).copied();
                    let entry = Resolved {
                        bssid: neighbour.bssid,
                        peer,
                    };
                    if known.is_some() {
                        ear.resolved[at] = entry;
                    } else {
                        ear.resolved.push(entry);
                    }
                    peer
                }
            };
            let Some(peer) = peer.filter(|&peer| peer != radio) else {
                continue;
            };
            let signal = neighbour.signal_dbm.unwrap_or(0);
            if neighbour.age_ms > STALE_BEACON_MS || signal < LEAVE_DBM {
                continue;
            }
            if heard == Some(peer) {
                continue;
            }
            match ear.links.iter_mut().find(|link| link.peer == peer) {
                Some(link) => {
                    ear.fading -= usize::from(!link.is_current);
                    link.is_current = true;
                    heard = Some(peer);
                }
                None if signal >= ENTER_DBM => {
                    ear.links.push(Link {
                        peer,
                        before: report.ended,
                        is_current: true,
                    });
                    self.stale_rows = true;
                }
                None => {}
            }
        }
    }

    /// Drops edges that nobody has heard for a while and brings rows and components up to date. Returns whether they changed.
    pub(crate) fn settle(&mut self, now: Period) -> bool {
        for ear in &mut self.ears {
            self.stale_rows |= ear.fade(now);
        }
        let changed = std::mem::take(&mut self.stale_rows);
        if changed {
            self.rebuild_rows();
            self.rebuild_components();
        }
        changed
    }

    /// Closed neighbourhoods.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Component of each radio.
    pub(crate) fn component(&self) -> &[u32] {
        &self.component
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.components
    }

    fn refresh_owners(&mut self) {
        if !self.stale_owners {
            return;
        }
        self.owners.clear();
        for (radio, ear) in self.ears.iter_mut().enumerate() {
            ear.resolved.clear();
            ear.last = None;
            for bssid in &ear.bssids {
                self.owners.insert(*bssid, radio as u32);
            }
        }
        self.stale_owners = false;
    }

    fn rebuild_rows(&mut self) {
        let ears = &self.ears;
        let apart = |a: u32, b: u32| {
            let channel = |radio: u32| ears[radio as usize].channel;
            matches!((channel(a), channel(b)), (Some(a), Some(b)) if a != b)
        };
        let edges = (0..).zip(ears).flat_map(|(radio, ear)| {
            let peers = ear.links.iter().map(|link| link.peer);
            peers
                .filter(move |&peer| !apart(radio, peer))
                .map(move |peer| (radio, peer))
        });
        self.rows = Rows::of_edges(ears.len(), edges);
    }

    fn rebuild_components(&mut self) {
        const NONE: u32 = u32::MAX;
        let mut component = vec![NONE; self.rows.len()];
        let mut count = 0;
        let mut stack = Vec::new();
        for start in 0..self.rows.len() {
            if component[start] != NONE {
                continue;
            }
            component[start] = count;
            stack.push(start);
            while let Some(radio) = stack.pop() {
                for &peer in &self.rows[radio] {
                    if component[peer as usize] == NONE {
                        component[peer as usize] = count;
                        stack.push(peer as usize);
                    }
                }
            }
            count += 1;
        }
        self.component = component;
        self.components = count as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Neighbour, RadioId, VifReport};
    use super::*;

    fn report(at: u64, own: u8, channel: u16, heard: &[(u8, i8, u32)]) -> RadioReport {
        RadioReport {
            id: RadioId::new("node", "radio"),
            ended: Period(at),
            channel: Some(channel),
            busy: 0.0,
            vifs: vec![VifReport {
                name: "v".into(),
                slice: None,
                bssid: Some(Bssid([own; 6])),
                used: 0.0,
                received: 0.0,
                backlogged: false,
                configured_min: 0.0,
                configured_max: 100.0,
                effective_max: None,
            }],
            neighbours: heard
                .iter()
                .map(|&(bssid, signal_dbm, age)| Neighbour {
                    bssid: Bssid([bssid; 6]),
                    signal_dbm: Some(signal_dbm),
                    age_ms: 1000 * age,
                })
                .collect(),
        }
    }

    fn step(graph: &mut Graph, now: u64, reports: &[RadioReport]) {
        for (radio, report) in reports.iter().enumerate() {
            graph.beacons(radio as u32, report);
        }
        for (radio, report) in reports.iter().enumerate() {
            graph.hear(radio as u32, report);
        }
        graph.settle(Period(now));
    }

    fn two() -> Graph {
        let mut graph = Graph::default();
        graph.push();
        graph.push();
        graph
    }

    #[test]
    fn hearing_one_way_makes_an_edge_both_ways() {
        let mut graph = two();
        step(
            &mut graph,
            0,
            &[
                report(0, 1, 36, &[(2, -70, 0), (9, -40, 0)]),
                report(0, 2, 36, &[]),
            ],
        );
        assert!(graph.rows().iter().eq([[0, 1]; 2]), "{:?}", graph.rows());
        assert_eq!((graph.component(), graph.components()), (&[0, 0][..], 1));
    }

    #[test]
    fn an_edge_needs_a_strong_beacon_to_begin_and_a_weak_one_to_go_on() {
        let mut graph = two();
        let heard = |at, signal| [report(at, 1, 36, &[(2, signal, 0)]), report(at, 2, 36, &[])];
        step(&mut graph, 0, &heard(0, -85));
        assert_eq!(graph.components(), 2);
        step(&mut graph, 1, &heard(1, -82));
        assert_eq!(graph.components(), 1);
        for at in 2..20 {
            step(&mut graph, at, &heard(at, -87));
            assert_eq!(graph.components(), 1, "period {at}");
        }
        for at in 20..=24 {
            step(&mut graph, at, &heard(at, -90));
            assert_eq!(graph.components(), 1, "period {at} is within the hold time");
        }
        step(&mut graph, 25, &heard(25, -90));
        assert_eq!(graph.components(), 2);
    }

    #[test]
    fn an_old_beacon_and_another_channel_make_no_edge() {
        let mut graph = two();
        step(
            &mut graph,
            0,
            &[report(0, 1, 36, &[(2, -60, 11)]), report(0, 2, 36, &[])],
        );
        assert_eq!(graph.components(), 2);
        step(
            &mut graph,
            1,
            &[report(1, 1, 36, &[(2, -60, 1)]), report(1, 2, 40, &[])],
        );
        assert_eq!(graph.components(), 2);
        step(
            &mut graph,
            2,
            &[report(2, 1, 36, &[]), report(2, 2, 36, &[])],
        );
        assert_eq!(
            graph.components(),
            1,
            "both on one channel again, within the hold time"
        );
    }

    #[test]
    fn radios_that_leave_take_their_edges_with_them() {
        let mut graph = two();
        graph.push();
        let reports = [
            report(0, 1, 36, &[(2, -60, 0)]),
            report(0, 2, 36, &[(3, -60, 0)]),
            report(0, 3, 36, &[]),
        ];
        step(&mut graph, 0, &reports);
        assert_eq!(graph.components(), 1);
        graph.retain(&[None, Some(0), Some(1)]);
        graph.settle(Period(1));
        assert!(graph.rows().iter().eq([[0, 1]; 2]), "{:?}", graph.rows());
    }
}
