//! Rows of the table that the tests on the real radio stack print: what was owed, and what the medium's ledger says.

use std::fmt;

/// Part of the time in which the medium may have been late in a measurement that is judged. A machine that is late has slow
/// timers, too: its scheduler sends late, and what it completes comes late. With two processors to itself it is late for 0.2 to
/// 0.7 % of the time, and now and then, without a scheduler and with TCP, for much longer.
const LATE: f64 = 0.05;

/// A row. `.ci/test-vm` knows its form, and prints titles above the rows of all tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub case: String,
    /// What each tenant is owed, in percent; none where that is no question of shares.
    pub owed: Option<Vec<f64>>,
    /// What each got of what all got, in percent.
    pub got: Vec<f64>,
    /// Part of the time in which somebody sent.
    pub busy: f64,
    /// Part of the time in which the medium was late, because the machine was too slow.
    pub late: f64,
}

/// Whether a measurement says something, by the part of the time in which the medium was late.
#[must_use]
pub fn is_sound(late: f64) -> bool {
    late < LATE
}

impl Row {
    /// How far the tenant is off that is furthest off, in points.
    #[must_use]
    pub fn error(&self) -> Option<f64> {
        let pairs = self.got.iter().zip(self.owed.as_ref()?);
        pairs.map(|(got, owed)| (got - owed).abs()).reduce(f64::max)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[f64]| {
            let values: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
            values.join(" / ")
        };
        let owed = self.owed.as_deref().map_or_else(|| "-".to_owned(), list);
        let error = match self.error() {
            _ if !is_sound(self.late) => "machine too slow: not judged".to_owned(),
            Some(error) => format!("{error:.2}"),
            None => "-".to_owned(),
        };
        write!(
            f,
            "| {} | {owed} | {} | {error} | {:.1} | {:.1} |",
            self.case,
            list(&self.got),
            100.0 * self.busy,
            100.0 * self.late
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_machine_that_was_too_slow_says_so() {
        let mut row = Row {
            case: "30/70".to_owned(),
            owed: Some(vec![30.0, 70.0]),
            got: vec![30.5, 69.5],
            busy: 0.9,
            late: 0.0,
        };
        assert_eq!(
            row.to_string(),
            "| 30/70 | 30.0 / 70.0 | 30.5 / 69.5 | 0.50 | 90.0 | 0.0 |"
        );
        row.late = 0.1;
        assert!(row.to_string().contains("not judged"), "{row}");
    }
}
