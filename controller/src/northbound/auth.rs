//! Who is asking: HTTP Basic (RFC 7617) against the users of `ietf-system`.
//!
//! Only the `Authorization` header counts: there are no cookies. Owns the check of a password, its cost (a hash on the
//! blocking pool; a success is remembered for a while under a keyed hash) and the pause after failures of one address.
//! What a user may do is up to access control.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Semaphore};
use tranche_netconf::error::ErrorTag;
use tranche_yang::crypt;

use super::restconf::error::Refusal;
use crate::users::Users;

/// How long a checked password is not checked again. A changed password counts at once: the stored hash is part of
/// what is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Checked passwords that are remembered at once.
const REMEMBERED_MAX: usize = 1024;
/// Over which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are counted at once; beyond it the oldest are forgotten.
const ADDRESSES_MAX: usize = 16_384;
/// Password checks that run at once: the rest of the machine is for the network.
const CHECKS_AT_ONCE: usize = 2;
/// Password checks that may wait for their turn.
const CHECKS_WAITING: usize = 64;

/// Checks logins.
pub(crate) struct Authenticator {
    secret: [u8; 32],
    failures_per_minute: u32,
    checks: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    state: std::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    remembered: HashMap<[u8; 32], Instant>,
    /// Logins that are being checked.
    turns: HashMap<[u8; 32], Weak<Mutex<()>>>,
    /// Per address the start of the window and the failures in it.
    failures: HashMap<IpAddr, (Instant, u32)>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Accepts this many failed logins of one address in a minute.
    pub(crate) fn new(failures_per_minute: u32) -> Self {
        Self {
            secret: rand::random(),
            failures_per_minute,
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(CHECKS_AT_ONCE + CHECKS_WAITING)),
            state: std::sync::Mutex::new(State::default()),
        }
    }

    /// The user that these headers prove.
    ///
    /// # Errors
    /// 401 without or with a wrong login, 429 after too many failures, 503 when too many logins wait.
    pub(crate) async fn login(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        users: &Users,
    ) -> Result<String, Refusal> {
        let (user, password) = credentials(headers)?;
        let stored = users.hash(&user).map(str::to_owned);
        let digest = self.digest(&user, &password, stored.as_deref());
        if stored.is_some() && self.is_remembered(&digest) {
            return Ok(user);
        }
        // Requests that come at once with one login are checked once: the others wait, and find it remembered.
        let turn = self.turn(digest);
        let _turn = turn.lock().await;
        if stored.is_some() && self.is_remembered(&digest) {
            return Ok(user);
        }
        let address = network(peer);
        self.count(address)?;
        let Ok(_place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            self.forgive(address);
            return Err(Refusal::with_status(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorTag::InUse,
                "too many logins are being checked; try again",
            ));
        };
        let accepted = self.check(password, stored).await;
        if !accepted {
            tracing::warn!(user, %peer, "login refused");
            return Err(unauthorized("the user name or the password is wrong"));
        }
        self.forgive(address);
        self.remember(digest);
        Ok(user)
    }

    async fn check(&self, password: String, stored: Option<String>) -> bool {
        let Ok(_turn) = Arc::clone(&self.checks).acquire_owned().await else {
            return false;
        };
        tokio::task::spawn_blocking(move || crypt::verify(&password, stored.as_deref()))
            .await
            .unwrap_or(false)
    }

    fn digest(&self, user: &str, password: &str, stored: Option<&str>) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in [user, password, stored.unwrap_or_default()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What requests with one login take turns by.
    fn turn(&self, digest: [u8; 32]) -> Arc<Mutex<()>> {
        let mut state = self.state();
        if let Some(turn) = state.turns.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        state.turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Mutex::new(()));
        state.turns.insert(digest, Arc::downgrade(&turn));
        turn
    }

    fn is_remembered(&self, digest: &[u8; 32]) -> bool {
        self.state()
            .remembered
            .get(digest)
            .is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut state = self.state();
        if state.remembered.len() >= REMEMBERED_MAX {
            state
                .remembered
                .retain(|_, since| since.elapsed() < REMEMBERED);
        }
        if state.remembered.len() >= REMEMBERED_MAX {
            state.remembered.clear();
        }
        state.remembered.insert(digest, Instant::now());
    }

    /// Counts an attempt as failed until [`Self::forgive`] takes it back, so that attempts at once can't slip through.
    fn count(&self, address: IpAddr) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.failures.len() >= ADDRESSES_MAX {
            state
                .failures
                .retain(|_, (start, _)| start.elapsed() < WINDOW);
        }
        if state.failures.len() >= ADDRESSES_MAX {
            let oldest = state.failures.iter().min_by_key(|(_, (start, _))| *start);
            if let Some(address) = oldest.map(|(address, _)| *address) {
                state.failures.remove(&address);
            }
        }
        let (start, failures) = state.failures.entry(address).or_insert((Instant::now(), 0));
        if start.elapsed() >= WINDOW {
            (*start, *failures) = (Instant::now(), 0);
        }
        if *failures >= self.failures_per_minute {
            let wait = WINDOW.saturating_sub(start.elapsed()).as_secs() + 1;
            return Err(Refusal {
                retry_after: Some(wait),
                ..Refusal::with_status(
                    StatusCode::TOO_MANY_REQUESTS,
                    ErrorTag::AccessDenied,
                    format!("too many failed logins from this address; try again in {wait} s"),
                )
            });
        }
        *failures += 1;
        Ok(())
    }

    fn forgive(&self, address: IpAddr) {
        if let Some((_, failures)) = self.state().failures.get_mut(&address) {
            *failures = failures.saturating_sub(1);
        }
    }
}

/// What failures are counted by: an IPv4 address, or the /64 that one IPv6 host usually has to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::with_status(StatusCode::UNAUTHORIZED, ErrorTag::AccessDenied, message)
}

fn credentials(headers: &HeaderMap) -> Result<(String, String), Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthorized("log in with HTTP Basic authentication"));
    };
    let decoded = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, token)| STANDARD.decode(token.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) =
        pair.ok_or_else(|| unauthorized("the Authorization header is not HTTP Basic"))?;
    Ok((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn basic(user: &str, password: &str) -> HeaderMap {
        let token = STANDARD.encode(format!("{user}:{password}"));
        [(AUTHORIZATION, format!("Basic {token}").parse().unwrap())]
            .into_iter()
            .collect()
    }

    fn users(password: &str) -> Users {
        Users::new([("alice".to_owned(), crypt::hash(password).unwrap())])
    }

    #[tokio::test]
    async fn a_user_with_the_right_password_gets_in() {
        let auth = Authenticator::new(10);
        let users = users("wonder:land");
        let login = auth
            .login(&basic("alice", "wonder:land"), PEER, &users)
            .await;
        assert_eq!(login, Ok("alice".to_owned()));
        for (user, password) in [("alice", "x"), ("bob", "wonder:land"), ("alice", "")] {
            let refusal = auth
                .login(&basic(user, password), PEER, &users)
                .await
                .unwrap_err();
            assert_eq!(refusal.status, 401);
        }
    }

    #[tokio::test]
    async fn a_changed_password_counts_at_once_though_the_old_one_is_remembered() {
        let auth = Authenticator::new(10);
        let old = users("old");
        assert!(auth.login(&basic("alice", "old"), PEER, &old).await.is_ok());
        let new = users("new");
        assert!(
            auth.login(&basic("alice", "old"), PEER, &new)
                .await
                .is_err()
        );
        assert!(auth.login(&basic("alice", "new"), PEER, &new).await.is_ok());
        assert!(
            auth.login(&basic("alice", "new"), PEER, &Users::default())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn an_address_that_fails_too_often_waits_while_who_is_in_stays_in() {
        let auth = Authenticator::new(2);
        let users = users("right");
        assert!(
            auth.login(&basic("alice", "right"), PEER, &users)
                .await
                .is_ok()
        );
        for _ in 0..2 {
            let refusal = auth
                .login(&basic("alice", "wrong"), PEER, &users)
                .await
                .unwrap_err();
            assert_eq!(refusal.status, 401);
        }
        let refusal = auth
            .login(&basic("alice", "wrong"), PEER, &users)
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.status.as_u16(), refusal.retry_after.is_some()),
            (429, true)
        );
        assert!(
            auth.login(&basic("alice", "right"), PEER, &users)
                .await
                .is_ok()
        );
        let other = IpAddr::from([192, 0, 2, 1]);
        let refusal = auth
            .login(&basic("alice", "wrong"), other, &users)
            .await
            .unwrap_err();
        assert_eq!(refusal.status, 401);
    }

    #[tokio::test]
    async fn many_requests_at_once_with_one_login_are_one_attempt() {
        let auth = Authenticator::new(2);
        let users = users("right");
        let headers = basic("alice", "right");
        let logins = (0..50).map(|_| auth.login(&headers, PEER, &users));
        let outcomes = futures_util::future::join_all(logins).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert!(
            auth.state()
                .turns
                .values()
                .all(|turn| turn.strong_count() == 0)
        );
    }

    #[test]
    fn only_one_basic_header_is_a_login() {
        let mut twice = basic("a", "b");
        twice.append(AUTHORIZATION, "Basic YTpi".parse().unwrap());
        assert!(credentials(&twice).is_err());
        for bad in [
            "Bearer YTpi",
            "Basic !",
            "Basic YWI=",
            "Basic",
            "Basic /w==",
        ] {
            let headers = [(AUTHORIZATION, bad.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(credentials(&headers).unwrap_err().status, 401, "{bad}");
        }
        assert_eq!(credentials(&basic("a", "b:c")).unwrap().1, "b:c");
    }
}
