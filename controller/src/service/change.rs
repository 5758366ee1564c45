//! One change at a time: worked out, put on the nodes, kept, published; and the way back.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::OwnedMutexGuard;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::datastore::SERVER;
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::{Content, Datastores, Format, Operation, Proposal, Tree};

use super::allocate::allocated;
use super::apply::{Concern, Consequence};
use super::desired::Desired;
use super::tunnels::Lifecycle;
use super::{Called, Published, Run, Service, Version, blocking, internal, print, rpc_errors};
use crate::store::{History, HistoryError, StoreError};
use crate::users::passwords_to_store;

/// What only the one change at a time may touch.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) datastores: Datastores,
    pub(super) history: History,
}

/// A change that is worked out and permitted.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) proposal: Proposal,
    pub(super) consequence: Consequence,
    /// Access control as it will be.
    nacm: Nacm,
}

/// Who changes what.
#[derive(Debug, Clone)]
pub struct Author {
    /// The user, for access control and history.
    pub user: User,
    /// What it is called in the history.
    pub label: String,
}

impl Service {
    /// Changes the configuration. `propose` works the change out, with what is in force to check conditions against;
    /// it runs when all changes before it are done. A caller that goes away doesn't stop a change halfway.
    ///
    /// # Errors
    /// Whatever refuses it, with nothing changed anywhere.
    pub async fn change<T, E>(
        self: &Arc<Self>,
        author: Author,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E> + Send + 'static,
    ) -> Result<(T, Version), E>
    where
        T: Send + 'static,
        E: From<Vec<RpcError>> + Send + 'static,
    {
        let service = Arc::clone(self);
        let task = self
            .tasks
            .spawn(async move { service.commit(author, propose).await });
        task.await
            .unwrap_or_else(|_| Err(internal("the change was given up").into()))
    }

    async fn commit<T, E>(
        self: Arc<Self>,
        author: Author,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E> + Send + 'static,
    ) -> Result<(T, Version), E>
    where
        T: Send + 'static,
        E: From<Vec<RpcError>> + Send + 'static,
    {
        let asked = SystemTime::now();
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let before = self.published();
        let desired = Arc::clone(&before.desired);
        let (service, user) = (Arc::clone(&self), author.user.clone());
        let (writer, worked_out) = blocking(move || {
            let worked_out = writer.work_out(&service, &before, &user, propose);
            (writer, worked_out)
        })
        .await?;
        let (change, answer) = worked_out?;
        let mut lifecycle = Lifecycle {
            asked: Some(asked),
            compiled: Some(SystemTime::now()),
            ..Lifecycle::default()
        };
        let version = self.carry_out(writer, change, &author).await?;
        lifecycle.committed = Some(SystemTime::now());
        self.note_lifecycle(&desired, &self.published().desired, &lifecycle);
        Ok((answer, version))
    }

    /// Puts a change on the nodes, keeps it and publishes it.
    async fn carry_out(
        self: &Arc<Self>,
        mut writer: OwnedMutexGuard<Writer>,
        change: Change,
        author: &Author,
    ) -> Result<Version, Vec<RpcError>> {
        let before = self.published();
        let Change {
            proposal,
            consequence,
            nacm,
        } = change;
        if proposal.diff().is_empty() {
            writer.refuse(proposal, Vec::new());
            return Ok(before.version.clone());
        }
        let config = print(proposal.new());
        let mut info = None;
        let (history, noted) = (&mut writer.history, &mut info);
        // What was before may be of a factory default, which no commit named.
        let slices = before.desired.intent.slices.keys();
        history.name_slices(slices.chain(consequence.desired.intent.slices.keys()));
        let kept = async {
            let name = &author.user.name;
            let commit = history.commit(name, &author.label, config.into_bytes());
            *noted = Some(commit.await.map_err(|e| not_stored(&e))?);
            Ok(())
        };
        let put = match consequence.plans {
            Some(plans) => self.put(plans, kept).await,
            None => kept.await.map_err(|e: String| internal(&e)),
        };
        let info = match (put, info) {
            (Ok(()), Some(info)) => info,
            (Ok(()), None) => return Err(writer.refuse(proposal, internal("nothing was kept"))),
            (Err(errors), _) => return Err(writer.refuse(proposal, errors)),
        };
        let version = Version::new(&info);
        let service = Arc::clone(self);
        let (desired, next) = (consequence.desired, version.clone());
        let writer = blocking(move || {
            let running = match writer.datastores.accept(proposal) {
                Ok(running) => running,
                Err(error) => {
                    tracing::error!(%error, "the datastores lost their copy");
                    writer.datastores.running()
                }
            };
            service.publish(Published::new(running, nacm, next, desired), info);
            writer
        })
        .await?;
        tracing::info!(
            commit = version.commit,
            author = author.user.name,
            label = author.label,
            "committed"
        );
        drop(writer);
        Ok(version)
    }

    /// Carries out an operation that access control permits, or says what it would do.
    ///
    /// # Errors
    /// What the operation refuses, and a dry run of one that does not end in a change of the configuration.
    pub async fn call(
        self: &Arc<Self>,
        user: User,
        operation: Operation,
        run: Run,
    ) -> Result<Called, Vec<RpcError>> {
        match (operation.module(), operation.name()) {
            ("tranche-commits", "rollback") => self.rollback(user, &operation, run).await,
            ("tranche-mec", "onboard") => self.onboard(user, &operation, run).await,
            ("tranche-slice", _) => self.call_slice(user, operation, run).await,
            (module, name) => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("the operation {module}:{name} is not supported"),
            )]),
        }
    }

    /// Goes back to the configuration after a commit.
    async fn rollback(
        self: &Arc<Self>,
        user: User,
        operation: &Operation,
        run: Run,
    ) -> Result<Called, Vec<RpcError>> {
        let input = operation.data();
        let to = input
            .get("to")
            .and_then(|to| to.parse::<u64>().ok())
            .ok_or_else(|| {
                vec![
                    RpcError::new(ErrorTag::MissingElement, "to is missing")
                        .with_info("bad-element", "to"),
                ]
            })?;
        let label = input
            .get("label")
            .map_or_else(|| format!("rollback to {to}"), str::to_owned);
        let record = self.writer.lock().await.history.get(to).await;
        let record = record
            .map_err(|e| internal(&not_read(to, &e)))?
            .ok_or_else(|| {
                let message = format!("commit {to} is not among those that are kept");
                vec![
                    RpcError::new(ErrorTag::InvalidValue, message)
                        .at("/tranche-commits:rollback/to"),
                ]
            })?;
        let schema = self.schema;
        let author = Author { user, label };
        let propose = move |before: &Published, datastores: &mut Datastores| {
            let text = String::from_utf8_lossy(&record.config);
            let tree = Tree::parse(schema, Format::Json, &text, Content::ConfigUnvalidated);
            let tree = tree.map_err(rpc_errors)?;
            let proposal = datastores
                .propose_replace(SERVER, &tree)
                .map_err(rpc_errors)?;
            Ok::<_, Vec<RpcError>>((proposal, before.version.commit))
        };
        if run == Run::Dry {
            return self.dry_run(author.user, propose).await.map(Called::Told);
        }
        let (before, version) = self.change(author, propose).await?;
        let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
        let mut output = schema
            .new_output("/tranche-commits:rollback")
            .map_err(one)?;
        if version.commit != before {
            output
                .set("id", version.commit.to_string().as_str())
                .map_err(one)?;
        }
        Ok(Called::Done(Some(output)))
    }
}

impl Writer {
    /// Works a change out: proposed, permitted, passwords hashed, compiled.
    pub(super) fn work_out<T, E: From<Vec<RpcError>>>(
        &mut self,
        service: &Service,
        before: &Published,
        user: &User,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E>,
    ) -> Result<(Change, T), E> {
        let (proposal, answer) = propose(before, &mut self.datastores)?;
        if let Err(error) = before.nacm.write(user, proposal.diff()) {
            return Err(self.refuse(proposal, vec![error.to_rpc_error()]).into());
        }
        let proposal = self.hash_passwords(proposal)?;
        let proposal = self.give_addresses(service, &before.desired, proposal)?;
        let concern = Concern::of(proposal.diff());
        let worked_out = service
            .consequence(&before.desired, proposal.new(), concern)
            .and_then(|consequence| {
                let nacm = before.nacm.reload(proposal.new());
                Ok((consequence, nacm.map_err(|e| vec![e.to_rpc_error()])?))
            });
        match worked_out {
            Ok((consequence, nacm)) => Ok((
                Change {
                    proposal,
                    consequence,
                    nacm,
                },
                answer,
            )),
            Err(errors) => Err(self.refuse(proposal, errors).into()),
        }
    }

    /// Replaces a proposal that sets passwords in clear text by one that sets their hashes.
    fn hash_passwords(&mut self, proposal: Proposal) -> Result<Proposal, Vec<RpcError>> {
        let hashed = match passwords_to_store(proposal.diff()) {
            Ok(hashed) if hashed.is_empty() => return Ok(proposal),
            Ok(hashed) => hashed,
            Err(errors) => return Err(self.refuse(proposal, errors)),
        };
        let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
        let replaced = proposal.new().duplicate().and_then(|mut tree| {
            for (path, hash) in &hashed {
                tree.set(path, hash.as_str())?;
            }
            Ok(tree)
        });
        let tree = match replaced {
            Ok(tree) => tree,
            Err(error) => return Err(self.refuse(proposal, one(error))),
        };
        self.datastores.reject(proposal).map_err(one)?;
        self.datastores
            .propose_replace(SERVER, &tree)
            .map_err(rpc_errors)
    }

    /// Replaces a proposal in which ends of a backhaul lack what they need by one in which they have it.
    fn give_addresses(
        &mut self,
        service: &Service,
        before: &Desired,
        proposal: Proposal,
    ) -> Result<Proposal, Vec<RpcError>> {
        if Concern::of(proposal.diff()) != Concern::Nodes {
            return Ok(proposal);
        }
        let observe = |desired: &Desired| service.observed(desired);
        let tree = match allocated(proposal.new(), before, observe) {
            Ok(None) => return Ok(proposal),
            Ok(Some(tree)) => tree,
            Err(errors) => return Err(self.refuse(proposal, errors)),
        };
        let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
        self.datastores.reject(proposal).map_err(one)?;
        self.datastores
            .propose_replace(SERVER, &tree)
            .map_err(rpc_errors)
    }

    fn refuse(&mut self, proposal: Proposal, errors: Vec<RpcError>) -> Vec<RpcError> {
        if let Err(error) = self.datastores.reject(proposal) {
            tracing::error!(%error, "the datastores lost their copy");
        }
        errors
    }
}

/// What a peer is told of a change that could not be stored; what is ours alone goes to the log.
fn not_stored(error: &HistoryError) -> String {
    match error {
        HistoryError::Store(StoreError::Conflict { .. }) => {
            "another controller changed the store meanwhile".to_owned()
        }
        _ => {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, "a change could not be stored");
            "the change could not be stored".to_owned()
        }
    }
}

/// The same of a commit that could not be read.
fn not_read(commit: u64, error: &HistoryError) -> String {
    let error: &dyn std::error::Error = error;
    tracing::error!(commit, error, "a commit could not be read");
    format!("commit {commit} could not be read")
}
