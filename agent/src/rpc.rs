//! The operations: what each one means on this node, one function for each.
//!
//! Owns the order of the checks: may the user execute it, is it supported, then what it does. Leaves changes of running to
//! [`crate::transaction`] and reading to [`crate::read`]. Whatever may take long runs on the blocking pool.

mod config;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{
    ConfigSource, ConfigTarget, CreateSubscription, Datastore, Filter, Operation, Outcome, Reply,
    Rpc, WithDefaults,
};
use tranche_netconf::server::{Credential, Handler, Notifier, SessionEnd, SessionInfo};
use tranche_netconf::xml::Fragment;
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::{Tree, filter};

use crate::backend::airtime::Correction;
use crate::backhaul::{self, Action};
use crate::error::Error;
use crate::node::{InForce, Node, data};
use crate::notification;
use crate::plan::{self, Change};
use crate::ran;
use crate::read::{Touched, touched_part};
use crate::store::Startup;
use crate::streams::{Stream, Streams};
use crate::transaction::{Origin, blocking};

/// Passwords that are checked at once; more wait, so that logging in cannot use up the blocking pool.
const CONCURRENT_PASSWORD_CHECKS: usize = 4;
/// A subtree filter up to here has few elements to look for.
const SHORT_FILTER_BYTES: usize = 1 << 10;
/// How long `kill-session` waits for the killed session to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

type Result<T, E = Vec<Error>> = std::result::Result<T, E>;

/// The server's side of one node.
#[derive(Debug)]
pub struct Service {
    node: Arc<Node>,
    password_checks: Semaphore,
}

impl Service {
    /// A service for a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            password_checks: Semaphore::new(CONCURRENT_PASSWORD_CHECKS),
        }
    }

    async fn check_password(&self, user: &str, password: &str) -> bool {
        let Ok(_permit) = self.password_checks.acquire().await else {
            return false;
        };
        let users = Arc::clone(&self.node.in_force().users);
        let (user, password) = (user.to_owned(), password.to_owned());
        blocking(move || users.accepts_password(&user, &password))
            .await
            .unwrap_or(false)
    }
}

impl Handler for Service {
    fn capabilities(&self) -> Vec<String> {
        self.node.capabilities().to_vec()
    }

    async fn authenticate(&self, user: &str, credential: Credential<'_>, peer: SocketAddr) -> bool {
        let (method, accepted) = match credential {
            Credential::Password(password) => {
                ("password", self.check_password(user, password).await)
            }
            Credential::PublicKey { algorithm, blob } => (
                "publickey",
                self.node
                    .in_force()
                    .users
                    .accepts_key(user, algorithm, blob),
            ),
        };
        if accepted {
            tracing::debug!(user, %peer, method, "credential accepted");
        } else {
            tracing::info!(user, %peer, method, "credential refused");
        }
        accepted
    }

    async fn session_started(&self, session: &SessionInfo, notifier: Notifier) {
        self.node.notifiers().insert(session.id, notifier);
        if self.node.streams().has_subscribers(Stream::Netconf) {
            self.announce(notification::session_start(session)).await;
        }
    }

    async fn session_ended(&self, session: &SessionInfo, end: SessionEnd) {
        self.node.notifiers().remove(&session.id);
        self.node.streams().unsubscribe(session.id);
        // Its requests are done, so that what it leaves behind is known. Most leave nothing, and need no other thread to end.
        if self.node.confirmed_commit().ends_with(session.id) {
            let origin = Origin::from(session);
            // A failure is logged where it happens; the session that would hear of it is gone.
            drop(self.node.transactions().session_ended(origin).await);
        }
        if self.node.may_hold_locks(session.id) {
            let (node, id) = (Arc::clone(&self.node), session.id);
            let released = blocking(move || node.datastores().release_session(id)).await;
            if let Ok(Err(error)) = released {
                tracing::warn!(%error, session_id = id, "the candidate of a session could not be reset");
            }
        }
        if self.node.streams().has_subscribers(Stream::Netconf) {
            self.announce(notification::session_end(session, &end))
                .await;
        }
    }

    async fn call(&self, session: &SessionInfo, rpc: Rpc) -> Outcome {
        let call = Call {
            node: &self.node,
            session,
            user: User::new(session.user.as_str()),
            in_force: self.node.in_force(),
        };
        // The server's span around this has the session, the message and the operation.
        let outcome = call.dispatch(rpc.operation).await;
        if let Err(errors) = &outcome {
            for error in errors {
                tracing::debug!(%error, "refused");
            }
        }
        let schema = self.node.schema();
        let namespace_of = |module: &str| schema.module(module).map(|m| m.namespace.clone());
        let declared = |error: &Error| error.to_rpc_error().with_path_namespaces(namespace_of);
        outcome.map_err(|errors| errors.iter().map(declared).collect())
    }
}

impl Service {
    async fn announce(&self, event: serde_json::Value) {
        let node = Arc::clone(&self.node);
        // A fault is logged where it happens.
        drop(blocking(move || node.announce(Stream::Netconf, &event)).await);
    }
}

/// Whether a filter takes no time over a small tree: an XPath may take long over anything.
fn is_quick(filter: Option<&Filter>) -> bool {
    match filter {
        None => true,
        Some(Filter::Subtree(fragment)) => fragment.as_str().len() <= SHORT_FILTER_BYTES,
        Some(Filter::XPath { .. }) => false,
    }
}

/// Module and name of an operation, as access control knows them. Operations of modules are asked for once parsed.
fn name_of(operation: &Operation) -> (&'static str, &str) {
    let base = |name| ("ietf-netconf", name);
    match operation {
        Operation::Get { .. } => base("get"),
        Operation::GetConfig { .. } => base("get-config"),
        Operation::EditConfig(_) => base("edit-config"),
        Operation::CopyConfig { .. } => base("copy-config"),
        Operation::DeleteConfig { .. } => base("delete-config"),
        Operation::Lock(_) => base("lock"),
        Operation::Unlock(_) => base("unlock"),
        Operation::Commit(_) => base("commit"),
        Operation::CancelCommit { .. } => base("cancel-commit"),
        Operation::DiscardChanges => base("discard-changes"),
        Operation::Validate(_) => base("validate"),
        Operation::KillSession(_) => base("kill-session"),
        Operation::CloseSession => base("close-session"),
        Operation::GetSchema { .. } => ("ietf-netconf-monitoring", "get-schema"),
        Operation::CreateSubscription(_) => ("notifications", "create-subscription"),
        Operation::Other { name, .. } => ("", name),
        _ => ("", ""),
    }
}

/// One request of one session.
struct Call<'s> {
    node: &'s Arc<Node>,
    session: &'s SessionInfo,
    user: User,
    in_force: Arc<InForce>,
}

impl Call<'_> {
    async fn dispatch(&self, operation: Operation) -> Result<Reply> {
        let (module, name) = name_of(&operation);
        if !module.is_empty() {
            self.in_force
                .nacm
                .operation(&self.user, module, name)
                .map_err(one)?;
        }
        match operation {
            Operation::Get {
                filter,
                with_defaults,
            } => self.get(filter, with_defaults).await,
            Operation::GetConfig {
                source,
                filter,
                with_defaults,
            } => self.get_config(source, filter, with_defaults).await,
            Operation::EditConfig(edit) => self.edit_config(edit).await,
            Operation::CopyConfig {
                target,
                source,
                with_defaults,
            } => self.copy_config(target, source, with_defaults).await,
            Operation::DeleteConfig { target } => self.delete_config(target).await,
            Operation::Lock(datastore) => self.lock(datastore).await,
            Operation::Unlock(datastore) => self.unlock(datastore).await,
            Operation::Commit(commit) => self
                .node
                .transactions()
                .commit(self.origin(), commit)
                .await
                .map(|()| Reply::Ok),
            Operation::CancelCommit { persist_id } => self
                .node
                .transactions()
                .cancel(self.origin(), persist_id)
                .await
                .map(|()| Reply::Ok),
            Operation::DiscardChanges => self.discard_changes().await,
            Operation::Validate(source) => self.validate(source).await,
            Operation::KillSession(id) => self.kill_session(id).await,
            // The server answers it; nothing is left to do here.
            Operation::CloseSession => Ok(Reply::Ok),
            Operation::GetSchema {
                identifier,
                version,
                format,
            } => self.get_schema(identifier, version, format).await,
            Operation::CreateSubscription(request) => self.subscribe(request).await,
            Operation::Other { element, .. } => self.other(element).await,
            _ => Err(rule(
                ErrorTag::OperationNotSupported,
                "this operation is not supported",
            )),
        }
    }

    fn origin(&self) -> Origin {
        Origin::from(self.session)
    }

    /// Runs what blocks with the node.
    async fn on_node<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = Arc::clone(self.node);
        blocking(move || work(&node)).await?
    }

    async fn get(
        &self,
        filter: Option<Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Reply> {
        let touched = Touched::by(self.node.schema(), filter.as_ref());
        let live = self.node.live_state(&touched).await?;
        let user = self.user.clone();
        self.on_node(move |node| {
            node.get(
                &user,
                &touched,
                live.as_ref(),
                filter.as_ref(),
                with_defaults,
            )
        })
        .await
        .map(Reply::Data)
    }

    async fn get_config(
        &self,
        source: ConfigSource,
        filter: Option<Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Reply> {
        self.supported_source(&source)?;
        // Another thread costs more than reading so little. Other datastores wait for locks.
        let running = matches!(source, ConfigSource::Datastore(Datastore::Running));
        if running && self.in_force.small && is_quick(filter.as_ref()) {
            return self
                .node
                .get_config(&self.user, &source, filter.as_ref(), with_defaults)
                .map(Reply::Data);
        }
        let user = self.user.clone();
        self.on_node(move |node| node.get_config(&user, &source, filter.as_ref(), with_defaults))
            .await
            .map(Reply::Data)
    }

    async fn kill_session(&self, id: u32) -> Result<Reply> {
        if id == self.session.id {
            return Err(rule(
                ErrorTag::InvalidValue,
                "a session ends itself with close-session",
            ));
        }
        if !self.node.sessions().kill(id, self.session.id) {
            return Err(rule(
                ErrorTag::InvalidValue,
                format!("there is no session {id}"),
            ));
        }
        let gone = tokio::time::timeout(KILL_WAIT, self.node.sessions().ended(id)).await;
        if gone.is_err() {
            tracing::warn!(
                session_id = id,
                "a killed session still finishes its last request"
            );
        }
        Ok(Reply::Ok)
    }

    async fn get_schema(
        &self,
        identifier: String,
        version: Option<String>,
        format: Option<String>,
    ) -> Result<Reply> {
        self.on_node(move |node| {
            let format = format.as_deref().unwrap_or("yang");
            node.schema()
                .source(&identifier, version.as_deref(), format)
                .map(Reply::Schema)
                .map_err(one)
        })
        .await
    }

    async fn subscribe(&self, request: CreateSubscription) -> Result<Reply> {
        let stream = Streams::check(&request).map_err(|error| vec![Error::Rule(error)])?;
        let notifier = self.node.notifiers().get(&self.session.id).cloned();
        let notifier = notifier.ok_or_else(|| vec![Error::Stopping])?;
        let (id, user) = (self.session.id, self.session.user.clone());
        self.on_node(move |node| {
            let filter = request.filter;
            filter::select(&Tree::empty(node.schema()), filter.as_ref()).map_err(one)?;
            node.streams()
                .subscribe(id, &user, stream, filter, notifier)
                .map_err(|error| vec![Error::Rule(error)])?;
            Ok(Reply::Ok)
        })
        .await
    }

    /// An operation of a module.
    async fn other(&self, element: Fragment) -> Result<Reply> {
        let (user, nacm) = self.who();
        let wanted = self
            .on_node(move |node| {
                let schema = node.schema();
                let parsed = schema.parse_rpc(&element, None).map_err(data)?;
                nacm.execute(&user, &parsed).map_err(one)?;
                let module = parsed.module();
                if module == "tranche-plan" {
                    return Change::of(&parsed, &element).map(Wanted::Plan);
                }
                if !matches!(module, "tranche-wifi" | "tranche-backhaul" | "tranche-ran") {
                    return Err(not_supported(&parsed));
                }
                let touched = Touched::Modules([module.to_owned()].into());
                let part = touched_part(&node.in_force().running, schema, &touched)?;
                let parsed = schema.parse_rpc(&element, Some(&part)).map_err(data)?;
                match (module, parsed.name()) {
                    ("tranche-wifi", "correct-airtime") => {
                        corrections(&parsed).map(|(all, lifetime)| Wanted::Correct(all, lifetime))
                    }
                    ("tranche-backhaul", _) => match Action::of(&parsed) {
                        Some(action) => action.map(Wanted::Tunnel),
                        None => Err(not_supported(&parsed)),
                    },
                    ("tranche-ran", _) => match ran::Request::of(&parsed) {
                        Some(request) => request.map(Wanted::Ran),
                        None => Err(not_supported(&parsed)),
                    },
                    _ => Err(not_supported(&parsed)),
                }
            })
            .await?;
        let view = self.node.view();
        let refused = |refusal| vec![Error::Refused(refusal)];
        match wanted {
            Wanted::Correct(corrections, lifetime) => {
                let corrected = view.airtime().correct(&corrections, lifetime).await;
                corrected.map_err(refused).map(|()| Reply::Ok)
            }
            Wanted::Tunnel(action) => {
                let path = action.path();
                let output = action.carry_out(view.backhaul()).await.map_err(refused)?;
                self.on_node(move |node| backhaul::reply(node.schema(), &path, &output))
                    .await
            }
            Wanted::Plan(change) => {
                let (session, origin) = (self.session.id, self.origin());
                let propose = change.propose(session);
                let forecast = self.node.transactions().forecast(origin, propose).await?;
                self.on_node(move |node| plan::reply(node.schema(), &forecast))
                    .await
            }
            Wanted::Ran(request) => {
                let path = request.path();
                let output = request.carry_out(view.ran()).await.map_err(refused)?;
                self.on_node(move |node| backhaul::reply(node.schema(), path, &output))
                    .await
            }
        }
    }

    fn who(&self) -> (User, Arc<Nacm>) {
        (self.user.clone(), Arc::clone(&self.in_force.nacm))
    }

    fn supported(&self, datastore: Datastore) -> Result<()> {
        if datastore == Datastore::Startup && !self.node.has_startup() {
            return Err(rule(
                ErrorTag::OperationNotSupported,
                "there is no startup datastore: every change of running is durable",
            ));
        }
        Ok(())
    }

    fn supported_source(&self, source: &ConfigSource) -> Result<()> {
        match source {
            ConfigSource::Datastore(datastore) => self.supported(*datastore),
            ConfigSource::Inline(_) => Ok(()),
            ConfigSource::Url(_) => Err(no_url()),
        }
    }

    fn supported_target(&self, target: ConfigTarget) -> Result<Datastore> {
        match target {
            ConfigTarget::Datastore(datastore) => self.supported(datastore).map(|()| datastore),
            ConfigTarget::Url(_) => Err(no_url()),
        }
    }
}

/// What an operation of a module asks for.
enum Wanted {
    Correct(Vec<Correction>, Duration),
    Tunnel(Action),
    Ran(ran::Request),
    Plan(Change),
}

fn not_supported(operation: &tranche_yang::Operation) -> Vec<Error> {
    rule(
        ErrorTag::OperationNotSupported,
        format!("the operation {} is not supported", operation.name()),
    )
}

fn one(error: tranche_yang::Error) -> Vec<Error> {
    vec![Error::Data(error)]
}

fn rule(tag: ErrorTag, message: impl Into<String>) -> Vec<Error> {
    vec![Error::Rule(RpcError::new(tag, message))]
}

fn no_url() -> Vec<Error> {
    rule(
        ErrorTag::OperationNotSupported,
        "configurations at a URL are not supported",
    )
}

/// Whether startup is there, for a node that has one.
pub(crate) fn startup_bytes(startup: Startup) -> Option<Vec<u8>> {
    match startup {
        Startup::Stored(bytes) => Some(bytes),
        Startup::Never | Startup::Deleted => None,
    }
}

/// The content of a valid `correct-airtime`.
fn corrections(operation: &tranche_yang::Operation) -> Result<(Vec<Correction>, Duration)> {
    let input = operation.data();
    let bad = |what: &str| {
        rule(
            ErrorTag::InvalidValue,
            format!("{what} is missing or no number"),
        )
    };
    let lifetime = input
        .get("lifetime")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs)
        .ok_or_else(|| bad("lifetime"))?;
    let ratio = |vif: tranche_yang::Node<'_>, leaf: &str| {
        vif.get(leaf)
            .map(|text| text.parse().map_err(|_| bad(leaf)))
            .transpose()
    };
    let corrections = input
        .list("vif")
        .map(|vif| {
            Ok(Correction {
                vif: vif.get("name").unwrap_or_default().to_owned(),
                min_ratio: ratio(vif, "min-ratio")?,
                max_ratio: ratio(vif, "max-ratio")?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((corrections, lifetime))
}
