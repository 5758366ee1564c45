//! What puts a program in force on one machine.

use std::collections::HashMap;

use super::program::{Interfaces, Program};
use super::state::Counter;
use crate::backend::BoxFuture;

/// A data plane. What it says went wrong is one sentence, lower case, no full stop.
pub(super) trait Plane: Send + Sync {
    /// The interfaces of these names that there are. One may be asked for that is not there.
    fn interfaces<'a>(&'a self, names: &'a [&'a str]) -> BoxFuture<'a, Result<Interfaces, String>>;

    /// Puts a program in force as a whole, in the place of the one there is, and reads it back; takes everything away where there
    /// is none. On an error the former one is in force.
    fn install<'a>(&'a self, program: Option<&'a Program>) -> BoxFuture<'a, Result<(), String>>;

    /// Whether this is in force, everywhere.
    fn is_in_force<'a>(
        &'a self,
        program: Option<&'a Program>,
    ) -> BoxFuture<'a, Result<bool, String>>;

    /// What was counted where when an agent before this one ended, by hash.
    fn recover(&self) -> BoxFuture<'_, Result<HashMap<u64, u32>, String>>;

    /// What is counted at these positions.
    fn counters(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<Vec<Counter>, String>>;

    /// Lets these positions begin at nothing.
    fn clear(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<(), String>>;
}
