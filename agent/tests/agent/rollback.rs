//! The transaction itself, with backends that can be told to refuse.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;
use tranche_agent::Error;
use tranche_agent::backend::absent::{AbsentBackhaul, AbsentSteering};
use tranche_agent::backend::airtime::{
    AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState,
};
use tranche_agent::backend::ran::absent::AbsentRan;
use tranche_agent::backend::wifi::{RadioState, VifState, WifiBackend};
use tranche_agent::backend::{
    Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal, Registry,
};
use tranche_agent::content::node_config;
use tranche_agent::node::{InForce, Node, Parts};
use tranche_agent::schema;
use tranche_agent::store::Store;
use tranche_agent::transaction::{Committer, Done, Origin, Transactions};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Datastore;
use tranche_netconf::server::Sessions;
use tranche_yang::{Content, Datastores, Format, Tree};

use crate::support::*;

/// What was done, and which of it is refused.
#[derive(Clone, Default)]
struct Script {
    done: Arc<Mutex<Vec<String>>>,
    refuse: &'static [&'static str],
}

impl Script {
    fn step(&self, step: String) -> Result<(), Refusal> {
        let refused = self.refuse.contains(&step.as_str());
        self.done.lock().unwrap().push(step.clone());
        if refused {
            Err(Refusal::new("/tranche-wifi:wifi", format!("no {step}")))
        } else {
            Ok(())
        }
    }
}

struct Fake {
    domain: &'static str,
    script: Script,
}

impl Backend for Fake {
    fn domain(&self) -> &'static str {
        self.domain
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        self.script.step(format!("plan {}", self.domain))?;
        Ok(Plan::new(self.domain, Vec::new(), old, new))
    }

    fn apply(&mut self, _plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            self.script.step(format!("apply {}", self.domain))?;
            Ok(Applied::new(self.domain, ()))
        })
    }

    fn undo(&mut self, _applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.script.step(format!("undo {}", self.domain)) })
    }

    fn reconcile(&mut self, _wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        Box::pin(async { Ok(Reconciled::default()) })
    }
}

impl WifiBackend for Fake {
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl AirtimeBackend for Fake {
    fn correct(
        &self,
        _corrections: &[Correction],
        _lifetime: std::time::Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        Box::pin(async { Err(Refusal::new("/", "nothing is measured here")) })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn registry(script: &Script) -> Registry {
    let fake = |domain| {
        Box::new(Fake {
            domain,
            script: script.clone(),
        })
    };
    let no_tunnels = Box::new(AbsentBackhaul::new("there are no tunnels here"));
    let no_ran = Box::new(AbsentRan::new("this machine runs no RAN"));
    let no_steering = Box::new(AbsentSteering::new("nothing is steered here"));
    Registry::new(
        fake("wifi"),
        fake("airtime"),
        no_ran,
        no_tunnels,
        no_steering,
    )
}

/// What a change of the country does when these steps are refused: the answer, the steps, the country afterwards and
/// what the journal has.
async fn change(refuse: &'static [&'static str]) -> (Done, Vec<String>, String, usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let schema = schema::build(&[], false, true).unwrap();
    let text = std::fs::read_to_string(data("factory.json")).unwrap();
    let text = text.replace("$0$", "$5$saltstring$");
    let text = text.replace(
        "admin secret",
        "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    );
    let text = text.replace(
        "reader secret",
        "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    );
    let running = Tree::parse(schema, Format::Json, &text, Content::Config).unwrap();
    store.snapshot(b"{}").unwrap();
    let datastores = Datastores::new(schema, running, None).unwrap();
    let config = node_config(&datastores.running()).unwrap();
    let script = Script {
        refuse,
        ..Script::default()
    };
    let (transactions, requests) = Transactions::channel();
    let node = Arc::new(Node::new(Parts {
        name: "node-1".to_owned(),
        schema,
        in_force: InForce::new(datastores.running(), None).unwrap(),
        datastores,
        store,
        view: registry(&script),
        has_startup: false,
        transactions,
        sessions: Sessions::new(),
    }));
    let stop = CancellationToken::new();
    let committer = Committer::new(Arc::clone(&node), registry(&script), config);
    let task = tokio::spawn(committer.run(requests, stop.clone()));
    let request = edit(Datastore::Running, &set_country("FR"));
    let server = Origin::server();
    let id = server.session;
    let done = node
        .transactions()
        .change(
            server,
            Box::new(move |datastores| datastores.propose_edit(id, &request)),
        )
        .await;
    stop.cancel();
    task.await.unwrap();
    let country = node
        .in_force()
        .running
        .value("/tranche-wifi:wifi/country")
        .unwrap();
    assert_eq!(
        node.datastores()
            .candidate()
            .value("/tranche-wifi:wifi/country")
            .unwrap(),
        country
    );
    let journal = node.store().load().unwrap().unwrap().journal.len();
    let steps = script.done.lock().unwrap().clone();
    (done, steps, country, journal)
}

#[tokio::test]
async fn every_backend_plans_before_any_applies() {
    let (done, steps, country, journal) = change(&[]).await;
    done.unwrap();
    assert_eq!(
        steps,
        ["plan wifi", "plan airtime", "apply wifi", "apply airtime"]
    );
    assert_eq!((country.as_str(), journal), ("FR", 1));
}

#[tokio::test]
async fn a_refused_plan_touches_no_backend() {
    let (done, steps, country, journal) = change(&["plan airtime"]).await;
    let error = done.unwrap_err().swap_remove(0).to_rpc_error();
    assert_eq!(error.tag, ErrorTag::OperationFailed);
    assert_eq!(message(&error), "no plan airtime");
    assert_eq!(error.path.as_deref(), Some("/tranche-wifi:wifi"));
    assert_eq!(steps, ["plan wifi", "plan airtime"]);
    assert_eq!((country.as_str(), journal), ("DE", 0));
}

#[tokio::test]
async fn what_was_applied_is_undone_when_a_later_backend_refuses() {
    let (done, steps, country, journal) = change(&["apply airtime"]).await;
    let error = done.unwrap_err().swap_remove(0);
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert_eq!(message(&error.to_rpc_error()), "no apply airtime");
    assert_eq!(steps[2..], ["apply wifi", "apply airtime", "undo wifi"]);
    assert_eq!((country.as_str(), journal), ("DE", 0));
}

#[tokio::test]
async fn an_undo_that_fails_is_rollback_failed_and_says_both() {
    let (done, steps, country, journal) = change(&["apply airtime", "undo wifi"]).await;
    let error = done.unwrap_err().swap_remove(0).to_rpc_error();
    assert_eq!(error.tag, ErrorTag::RollbackFailed);
    let words = message(&error);
    assert!(
        words.contains("no apply airtime") && words.contains("no undo wifi"),
        "{words}"
    );
    assert_eq!(steps.last().unwrap(), "undo wifi");
    assert_eq!((country.as_str(), journal), ("DE", 0));
}
