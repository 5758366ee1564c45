//! What puts a program in force on one machine.

use std::collections::HashMap;

use super::program::{Interfaces, Program};
use super::state::{Counter, ResolverState};
use crate::backend::BoxFuture;
use tranche_steering::{ApplicationConfig, HealthCheck, ResolverConfig};

/// A resolver that does not run.
#[derive(Debug)]
pub(super) struct Unserved {
    /// Whose; none where it is about all.
    pub(super) slice: Option<String>,
    pub(super) message: String,
}

/// A data plane. What it says went wrong is one sentence, lower case, no full stop.
pub(super) trait Plane: Send + Sync {
    /// The interfaces of these names that there are. One may be asked for that is not there. The other end is looked up of `ends`.
    fn interfaces<'a>(
        &'a self,
        names: &'a [&'a str],
        ends: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Interfaces, String>>;

    /// Lets resolvers run as these say, and no others; what was done. Those that are as they should be go on undisturbed. One that
    /// cannot run holds up no other; the error is that of the first.
    fn serve<'a>(
        &'a self,
        resolvers: &'a [ResolverConfig],
    ) -> BoxFuture<'a, Result<Vec<String>, Unserved>>;

    /// What is seen of the resolvers.
    fn resolvers(&self) -> BoxFuture<'_, Vec<ResolverState>>;

    /// Sends one probe to an application and waits for what has to come back, for as long as it is let. Why it failed, or could not
    /// be sent.
    fn probe<'a>(
        &'a self,
        application: &'a ApplicationConfig,
        check: &'a HealthCheck,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Puts a program in force as a whole, in the place of the one there is, and reads it back; takes everything away where there
    /// is none. On an error a part of it may be there: who wants the former one back has it installed.
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
