//! Who shares the air with whom, laid out to be gone through in one pass: the rows of the conflict graph, and the flows in each
//! of them by slice.
//!
//! Both change only when somebody is heard who was not, or a vif comes or goes; what a round reads of them is in order in memory.

use std::ops::{Index, Range};

/// Closed neighbourhoods: row `i` has radio `i` and those it contends with, in ascending order. The relation is symmetric.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// Row `i` is `members[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
    members: Vec<u32>,
}

impl Rows {
    /// One for each radio.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All rows, in the order of their centres.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|row| &self[row])
    }
}

impl Index<usize> for Rows {
    type Output = [u32];

    fn index(&self, row: usize) -> &[u32] {
        &self.members[range(&self.ends, row, |end| *end)]
    }
}

impl Rows {
    /// Of radios numbered below `count` that contend where there is an edge, named once or from both ends.
    pub(crate) fn of_edges(count: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut ends = vec![1; count];
        for (a, b) in edges.clone() {
            ends[a as usize] += 1;
            ends[b as usize] += 1;
        }
        let mut all = 0;
        for end in &mut ends {
            all += std::mem::replace(end, all);
        }
        // Each row's end moves from its beginning to where it belongs.
        let mut members = vec![0; all as usize];
        let mut push = |row: u32, member| {
            let end = &mut ends[row as usize];
            members[*end as usize] = member;
            *end += 1;
        };
        for radio in 0..count as u32 {
            push(radio, radio);
        }
        for (a, b) in edges {
            push(a, b);
            push(b, a);
        }
        let (mut begin, mut kept) = (0, 0);
        for end in &mut ends {
            let row = begin..*end as usize;
            begin = row.end;
            members[row.clone()].sort_unstable();
            let first = kept;
            for at in row {
                if kept == first || members[kept - 1] != members[at] {
                    members[kept] = members[at];
                    kept += 1;
                }
            }
            *end = kept as u32;
        }
        members.truncate(kept);
        Self { ends, members }
    }
}

#[cfg(test)]
impl FromIterator<Vec<u32>> for Rows {
    fn from_iter<I: IntoIterator<Item = Vec<u32>>>(rows: I) -> Self {
        let mut all = Self::default();
        for row in rows {
            all.members.extend(row);
            all.ends.push(all.members.len() as u32);
        }
        all
    }
}

/// A flow that is the only one of its slice in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone {
    pub(crate) flow: u32,
    /// Position in the SLA table.
    pub(crate) slice: u32,
}

/// Several flows of a slice in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// Position in the SLA table.
    pub(crate) slice: u32,
    flows: (u32, u32),
}

/// The flows of every row by slice; those without an SLA are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parties {
    /// Of row `i`: `alone[ends[i - 1].0..ends[i].0]`, and groups likewise.
    ends: Vec<(u32, u32)>,
    alone: Vec<Alone>,
    groups: Vec<Group>,
    /// Of the groups, one after the other.
    flows: Vec<u32>,
    /// What they were laid out for.
    first: Vec<u32>,
    slice: Vec<u32>,
}

impl Parties {
    /// Lays them out anew, unless rows (as the caller knows), flows and their slices are as before.
    ///
    /// `first` as in [`super::fill::Topology`], `slice` one for each flow, `slices` the length of the SLA table.
    pub(crate) fn refresh(
        &mut self,
        (rows, changed): (&Rows, bool),
        first: &[u32],
        slice: &[u32],
        slices: usize,
    ) {
        if !changed && self.first == first && self.slice == slice {
            return;
        }
        *self = Self {
            first: first.to_vec(),
            slice: slice.to_vec(),
            ..Self::default()
        };
        // The flows of each slice in the row at hand, and the slices in the order in which they appear.
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); slices];
        let mut present = Vec::new();
        for row in rows.iter() {
            let flows = row
                .iter()
                .flat_map(|&radio| first[radio as usize]..first[radio as usize + 1]);
            for flow in flows {
                let slice = slice[flow as usize];
                if let Some(members) = members.get_mut(slice as usize) {
                    if members.is_empty() {
                        present.push(slice);
                    }
                    members.push(flow);
                }
            }
            for slice in present.drain(..) {
                let members = &mut members[slice as usize];
                if let &[flow] = &members[..] {
                    self.alone.push(Alone { flow, slice });
                } else {
                    let begin = self.flows.len() as u32;
                    self.flows.extend_from_slice(members);
                    let flows = (begin, self.flows.len() as u32);
                    self.groups.push(Group { slice, flows });
                }
                members.clear();
            }
            let ends = (self.alone.len() as u32, self.groups.len() as u32);
            self.ends.push(ends);
        }
    }

    /// The flows of a row that are alone of their slice.
    pub(crate) fn alone(&self, row: usize) -> &[Alone] {
        &self.alone[range(&self.ends, row, |ends| ends.0)]
    }

    /// The slices of a row with several flows.
    pub(crate) fn groups(&self, row: usize) -> &[Group] {
        &self.groups[range(&self.ends, row, |ends| ends.1)]
    }

    /// The flows of a group, in ascending order.
    pub(crate) fn flows(&self, group: &Group) -> &[u32] {
        &self.flows[group.flows.0 as usize..group.flows.1 as usize]
    }

    /// All slices of a row with their flows.
    pub(crate) fn all(&self, row: usize) -> impl Iterator<Item = (u32, &[u32])> {
        let alone = self.alone(row).iter();
        let groups = self.groups(row).iter();
        alone
            .map(|alone| (alone.slice, std::slice::from_ref(&alone.flow)))
            .chain(groups.map(|group| (group.slice, self.flows(group))))
    }
}

fn range<T>(ends: &[T], at: usize, end: impl Fn(&T) -> u32) -> Range<usize> {
    let begin = at.checked_sub(1).map_or(0, |before| end(&ends[before]));
    begin as usize..end(&ends[at]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parties: &Parties, row: usize) -> Vec<(u32, &[u32])> {
        parties.all(row).collect()
    }

    #[test]
    fn an_edge_counts_both_ways_and_once() {
        let rows = Rows::of_edges(4, [(0, 2), (2, 0), (3, 2)].into_iter());
        let rows: Vec<&[u32]> = rows.iter().collect();
        assert_eq!(rows, [&[0, 2][..], &[1], &[0, 2, 3], &[2, 3]]);
    }

    #[test]
    fn the_flows_of_a_row_stand_by_slice_and_those_without_sla_nowhere() {
        let rows = Rows::from_iter([vec![0, 1], vec![0, 1], vec![2]]);
        let mut parties = Parties::default();
        parties.refresh((&rows, true), &[0, 2, 4, 5], &[1, 0, 1, 9, 0], 2);
        for row in [0, 1] {
            assert_eq!(of(&parties, row), [(0, &[1][..]), (1, &[0, 2][..])]);
        }
        assert_eq!(of(&parties, 2), [(0, &[4][..])]);
    }

    #[test]
    fn they_are_laid_out_anew_when_rows_or_slices_change_and_not_else() {
        let mut parties = Parties::default();
        let first = [0, 1, 2];
        let together = Rows::from_iter([vec![0, 1], vec![0, 1]]);
        parties.refresh((&together, true), &first, &[0, 0], 1);
        assert_eq!(of(&parties, 0), [(0, &[0, 1][..])]);
        let apart = Rows::from_iter([vec![0], vec![1]]);
        parties.refresh((&apart, false), &first, &[0, 0], 1);
        assert_eq!(of(&parties, 0), [(0, &[0, 1][..])], "nobody said so");
        parties.refresh((&apart, true), &first, &[0, 0], 1);
        assert_eq!(of(&parties, 0), [(0, &[0][..])]);
        parties.refresh((&apart, false), &first, &[0, 1], 2);
        assert_eq!(of(&parties, 1), [(1, &[1][..])]);
    }
}
