//! Who may wait to authenticate: so many at once, and nobody can hold the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections that have not authenticated.
///
/// A full house turns nobody away: the newcomer takes the place of the oldest connection of the address that has most of
/// them. Silent connections go that way; one that is authenticating is younger than they are.
#[derive(Debug)]
pub(super) struct Admission {
    capacity: usize,
    last: AtomicU64,
    /// Oldest first.
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    evicted: CancellationToken,
    number: u64,
}

/// A place among the waiting; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Ticket {
    admission: Arc<Admission>,
    evicted: CancellationToken,
    number: u64,
}

impl Admission {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: capacity.max(1),
            last: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Lets a connection from `address` in, and another one out if need be.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Ticket {
        let mut waiting = self.waiting();
        if waiting.len() >= self.capacity {
            let victim = victim(&waiting);
            waiting.remove(victim).evicted.cancel();
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let evicted = CancellationToken::new();
        waiting.push(Waiting {
            address,
            evicted: evicted.clone(),
            number,
        });
        Ticket {
            admission: Arc::clone(self),
            evicted,
            number,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of the address that waits most often; there is at least one.
fn victim(waiting: &[Waiting]) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for one in waiting {
        *counts.entry(one.address).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    waiting
        .iter()
        .position(|one| counts.get(&one.address) == Some(&most))
        .unwrap_or(0)
}

impl Ticket {
    /// Cancelled when the connection must give way.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission
            .waiting()
            .retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_oldest_of_the_most_frequent_address_gives_way() {
        let admission = Admission::new(3);
        let b = admission.admit(B);
        let a1 = admission.admit(A);
        let a2 = admission.admit(A);
        let a3 = admission.admit(A);
        assert!(a1.evicted().is_cancelled());
        assert!(!b.evicted().is_cancelled() && !a2.evicted().is_cancelled());
        assert!(!a3.evicted().is_cancelled());
    }

    #[test]
    fn a_ticket_that_is_dropped_makes_room() {
        let admission = Admission::new(2);
        let first = admission.admit(A);
        drop(admission.admit(A));
        let third = admission.admit(A);
        assert!(!first.evicted().is_cancelled());
        drop(first);
        drop(third);
        assert!(admission.waiting().is_empty());
    }
}
