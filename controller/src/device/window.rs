//! What a node reported since the scheduler last looked, of either kind of report, and what the numbers of its reports tell.

use std::sync::Arc;

/// Reports kept while nobody looks.
const KEPT: usize = 64;

/// Reports of one node since the scheduler last looked, and what it was told then.
#[derive(Debug)]
pub(super) struct Window<Report, Told> {
    pub(super) fresh: Vec<Report>,
    pub(super) last: Vec<Arc<Told>>,
}

impl<Report, Told> Default for Window<Report, Told> {
    fn default() -> Self {
        Self {
            fresh: Vec::new(),
            last: Vec::new(),
        }
    }
}

impl<Report, Told> Window<Report, Told> {
    pub(super) fn push(&mut self, report: Report) {
        if self.fresh.len() == KEPT {
            self.fresh.remove(0);
        }
        self.fresh.push(report);
    }

    /// Everything is measured anew after a session is made: what came before is not mixed with what comes.
    pub(super) fn restart(&mut self) {
        self.fresh.clear();
    }
}

/// The numbers of a node's reports of one kind in one session, which tell of those that were lost.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u64>,
}

impl Sequence {
    /// Takes in the number of a report; how many were lost before it. An agent that started again counts from the beginning.
    pub(super) fn lost(&mut self, number: u64) -> u64 {
        let last = self.last.replace(number);
        let lost = last.and_then(|last| number.checked_sub(last.saturating_add(1)));
        lost.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_reports_are_counted_and_a_new_beginning_is_none() {
        let mut sequence = Sequence::default();
        let lost: Vec<u64> = [7, 8, 11, 12, 1, 2, 4].map(|n| sequence.lost(n)).into();
        assert_eq!(lost, [0, 0, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn the_newest_are_kept_while_nobody_looks() {
        let mut window = Window::<u64, ()>::default();
        (0..100).for_each(|report| window.push(report));
        assert_eq!(window.fresh, (36..100).collect::<Vec<_>>());
        window.restart();
        assert!(window.fresh.is_empty());
    }
}
