//! The operations on datastores as wholes: edit, copy, delete, lock, validate.

use std::sync::Arc;
use std::time::SystemTime;

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{
    ConfigSource, ConfigTarget, Datastore, EditConfig, Reply, WithDefaults,
};
use tranche_yang::{Diff, Tree};

use super::{Call, Result, one, rule};
use crate::content::{has_clear_passwords, hash_passwords, node_config};
use crate::error::Error;
use crate::journal;
use crate::node::{InForce, Node, data};
use crate::transaction::Origin;

impl Call<'_> {
    pub(super) async fn edit_config(&self, edit: EditConfig) -> Result<Reply> {
        let session = self.session.id;
        match edit.target {
            Datastore::Running => {
                self.node
                    .transactions()
                    .change(
                        self.origin(),
                        Box::new(move |d| d.propose_edit(session, &edit)),
                    )
                    .await?;
            }
            Datastore::Candidate => {
                let (user, nacm) = self.who();
                self.on_node(move |node| {
                    let mut datastores = node.datastores();
                    let edited = datastores
                        .edit_candidate_if(session, &edit, |diff| nacm.write(&user, diff))
                        .map_err(data);
                    // Also after an error: parts of the edit may be in effect.
                    hash_candidate(&mut datastores, session)?;
                    edited
                })
                .await?;
            }
            Datastore::Startup => {
                self.supported(Datastore::Startup)?;
                return Err(rule(
                    ErrorTag::OperationNotSupported,
                    "startup cannot be edited: copy a configuration to it",
                ));
            }
        }
        Ok(Reply::Ok)
    }

    pub(super) async fn copy_config(
        &self,
        target: ConfigTarget,
        source: ConfigSource,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Reply> {
        self.supported_source(&source)?;
        let target = self.supported_target(target)?;
        if with_defaults.is_some_and(|mode| mode != WithDefaults::Explicit) {
            return Err(rule(
                ErrorTag::OperationNotSupported,
                "with-defaults has no effect on a copy between datastores: leave it out",
            ));
        }
        if source == ConfigSource::Datastore(target) {
            return Err(rule(
                ErrorTag::InvalidValue,
                "source and target are the same datastore",
            ));
        }
        let session = self.session.id;
        let (user, nacm) = self.who();
        // RFC 8341 3.2.4: whoever may copy running to startup copies all of it.
        let whole =
            source == ConfigSource::Datastore(Datastore::Running) && target == Datastore::Startup;
        let reader = user.clone();
        let read_nacm = Arc::clone(&nacm);
        let tree = self
            .on_node(move |node| {
                let inline = matches!(source, ConfigSource::Inline(_));
                let tree = node.datastores().source(&source).map_err(data)?;
                let mut copy = tree.duplicate().map_err(one)?;
                drop(tree);
                if inline {
                    hash_passwords(&mut copy)?;
                } else if !whole {
                    copy = read_nacm.prune_read(&reader, copy).map_err(one)?;
                }
                Ok(copy)
            })
            .await?;
        match target {
            Datastore::Running => {
                self.node
                    .transactions()
                    .change(
                        self.origin(),
                        Box::new(move |d| d.propose_replace(session, &tree)),
                    )
                    .await?;
            }
            Datastore::Candidate => {
                self.on_node(move |node| {
                    node.datastores()
                        .copy_to_candidate_if(session, &tree, |diff| nacm.write(&user, diff))
                        .map_err(one)
                })
                .await?;
            }
            Datastore::Startup => {
                self.on_node(move |node| {
                    save_startup(node, session, tree, |diff| match whole {
                        true => Ok(()),
                        false => nacm.write(&user, diff),
                    })
                })
                .await?;
            }
        }
        Ok(Reply::Ok)
    }

    pub(super) async fn delete_config(&self, target: ConfigTarget) -> Result<Reply> {
        match self.supported_target(target)? {
            Datastore::Running => Err(rule(
                ErrorTag::OperationNotSupported,
                "running cannot be deleted",
            )),
            Datastore::Candidate => Err(rule(
                ErrorTag::OperationNotSupported,
                "the candidate cannot be deleted: discard its changes",
            )),
            Datastore::Startup => {
                let session = self.session.id;
                self.on_node(move |node| {
                    let mut datastores = node.datastores();
                    let before = datastores.startup();
                    datastores.delete_startup(session).map_err(one)?;
                    if let Err(error) = node.store().set_startup(None) {
                        if let Some(before) = before {
                            let server = Origin::server().session;
                            datastores.copy_to_startup(server, &before).map_err(data)?;
                        }
                        return Err(vec![error.into()]);
                    }
                    Ok(Reply::Ok)
                })
                .await
            }
        }
    }

    pub(super) async fn lock(&self, datastore: Datastore) -> Result<Reply> {
        self.supported(datastore)?;
        let session = self.session.id;
        self.on_node(move |node| {
            if datastore == Datastore::Running
                && let Some(holder) = node.confirmed_commit().blocks_lock_of(session)
            {
                let error = RpcError::new(
                    ErrorTag::LockDenied,
                    format!("a confirmed commit of session {holder} is open"),
                );
                return Err(vec![Error::Rule(
                    error.with_info("session-id", holder.to_string()),
                )]);
            }
            let mut datastores = node.datastores();
            datastores.lock(session, datastore).map_err(one)?;
            node.lock_times().insert(datastore, SystemTime::now());
            Ok(Reply::Ok)
        })
        .await
    }

    pub(super) async fn unlock(&self, datastore: Datastore) -> Result<Reply> {
        self.supported(datastore)?;
        let session = self.session.id;
        self.on_node(move |node| {
            node.datastores().unlock(session, datastore).map_err(one)?;
            Ok(Reply::Ok)
        })
        .await
    }

    pub(super) async fn discard_changes(&self) -> Result<Reply> {
        let session = self.session.id;
        self.on_node(move |node| {
            node.datastores().discard(session).map_err(one)?;
            Ok(Reply::Ok)
        })
        .await
    }

    pub(super) async fn validate(&self, source: ConfigSource) -> Result<Reply> {
        self.supported_source(&source)?;
        self.on_node(move |node| {
            let tree = node.datastores().source(&source).map_err(data)?;
            let mut copy = tree.duplicate().map_err(one)?;
            drop(tree);
            copy.validate().map_err(data)?;
            hash_passwords(&mut copy)?;
            // Users, access control rules and what the backends support are part of what a commit checks.
            let copy = Arc::new(copy);
            InForce::new(Arc::clone(&copy), None)?;
            let (old, new) = (node_config(&node.in_force().running)?, node_config(&copy)?);
            node.view()
                .plan(&old, &new)
                .and_then(|_| node.view().objections(&old, &new))
                .map_err(|refusal| vec![Error::Refused(refusal)])?;
            Ok(Reply::Ok)
        })
        .await
    }
}

/// Hashes what was just written to the candidate; nobody else has seen it, since its lock is held.
fn hash_candidate(datastores: &mut tranche_yang::Datastores, session: u32) -> Result<()> {
    let candidate = datastores.candidate();
    if !has_clear_passwords(&candidate)? {
        return Ok(());
    }
    let mut copy = candidate.duplicate().map_err(one)?;
    drop(candidate);
    hash_passwords(&mut copy)?;
    datastores.copy_to_candidate(session, &copy).map_err(one)
}

/// Replaces startup, in memory and on disk, if `permit` has nothing against what it changes (RFC 8341 3.2.4).
fn save_startup(
    node: &Node,
    session: u32,
    mut tree: Tree,
    permit: impl FnOnce(&Diff) -> Result<(), tranche_yang::Error>,
) -> Result<()> {
    tree.validate().map_err(data)?;
    let mut datastores = node.datastores();
    let before = datastores.startup();
    let nothing = Tree::empty(node.schema());
    let changes = Diff::between(before.as_deref().unwrap_or(&nothing), &tree).map_err(one)?;
    permit(&changes).map_err(one)?;
    datastores.copy_to_startup(session, &tree).map_err(data)?;
    let saved = datastores.startup().map(|startup| {
        node.store()
            .set_startup(Some(&journal::encode_tree(&startup)))
    });
    if let Some(Err(error)) = saved {
        let server = Origin::server().session;
        match before {
            Some(before) => datastores.copy_to_startup(server, &before).map_err(data)?,
            None => datastores.delete_startup(server).map_err(one)?,
        }
        return Err(vec![error.into()]);
    }
    Ok(())
}
