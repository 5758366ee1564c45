//! A node for tests: a real NETCONF server whose configuration is a list of vifs, with faults on demand.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{Commit, Datastore, Notification, Operation, Outcome, Reply, Rpc};
use tranche_netconf::server::{
    Credential, Handler, Limits, Notifier, Server, ServerConfig, ServerHandle, SessionEnd,
    SessionInfo, Sessions,
};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::{Element, Fragment};

use crate::device::{DeviceConfig, DeviceSettings};

const WIFI: &str = "urn:tranche:yang:tranche-wifi";

/// What goes wrong when an operation is asked for. `confirm` is the commit that confirms.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Refused in these words.
    Refuse(&'static str),
    /// Answered after that time.
    Slow(Duration),
    /// Carried out, and then the node is gone: no answer, no session, no login.
    DieAfter,
    /// Gone before it is carried out.
    Die,
}

type Vifs = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Data {
    running: Vifs,
    candidate: Vifs,
    locks: HashMap<Datastore, u32>,
    /// Token and what was in force before.
    unconfirmed: Option<(String, Vifs)>,
}

/// The node. Its one radio is `radio0` on channel 36.
#[derive(Default)]
pub(crate) struct Toy {
    data: Mutex<Data>,
    faults: Mutex<HashMap<&'static str, Fault>>,
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) refuses_login: AtomicBool,
    dead: AtomicBool,
    sessions: Sessions,
    subscribers: Mutex<Vec<Notifier>>,
    started: Mutex<Vec<Notifier>>,
}

pub(crate) struct ToyNode {
    pub(crate) toy: Arc<Toy>,
    pub(crate) server: ServerHandle,
    pub(crate) host_key: HostKey,
    pub(crate) config: DeviceConfig,
    _dir: tempfile::TempDir,
}

impl ToyNode {
    pub(crate) async fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("key");
        HostKey::load_or_generate(&key_file).unwrap();
        let host_key = HostKey::generate().unwrap();
        let toy = Arc::new(Toy::default());
        let server = serve(&toy, &host_key, "127.0.0.1:0".parse().unwrap()).await;
        let addr = server.local_addr();
        let config = DeviceConfig {
            node: name.into(),
            address: addr.ip().to_string(),
            port: addr.port(),
            user: "tranche".into(),
            key_file,
            host_key: host_key.fingerprint(),
        };
        Self {
            toy,
            server,
            host_key,
            config,
            _dir: dir,
        }
    }

    /// Takes it away.
    pub(crate) async fn stop(self) -> StoppedNode {
        let Self {
            toy,
            server,
            host_key,
            config,
            _dir,
        } = self;
        server.shutdown().await;
        StoppedNode {
            toy,
            host_key,
            config,
            _dir,
        }
    }
}

/// A node that is away.
pub(crate) struct StoppedNode {
    pub(crate) toy: Arc<Toy>,
    host_key: HostKey,
    pub(crate) config: DeviceConfig,
    _dir: tempfile::TempDir,
}

impl StoppedNode {
    /// Brings it back, at the address where it was and with the configuration it had.
    pub(crate) async fn start(self) -> ToyNode {
        let Self {
            toy,
            host_key,
            config,
            _dir,
        } = self;
        toy.dead.store(false, Ordering::SeqCst);
        let listen = SocketAddr::new(config.address.parse().unwrap(), config.port);
        let server = serve(&toy, &host_key, listen).await;
        ToyNode {
            toy,
            server,
            host_key,
            config,
            _dir,
        }
    }
}

async fn serve(toy: &Arc<Toy>, host_key: &HostKey, listen: SocketAddr) -> ServerHandle {
    let limits = Limits {
        auth_failure_delay: Duration::from_millis(10),
        ..Limits::default()
    };
    let config = ServerConfig {
        listen,
        host_key: host_key.clone(),
        limits,
        sessions: toy.sessions.clone(),
    };
    Server::bind(config, Arc::clone(toy)).await.unwrap()
}

/// Times short enough for tests.
pub(crate) fn quick() -> DeviceSettings {
    DeviceSettings {
        connect_timeout: Duration::from_secs(2),
        rpc_timeout: Duration::from_secs(2),
        check_interval: Duration::from_secs(3600),
        min_pause: Duration::from_millis(20),
        max_pause: Duration::from_millis(50),
        refused_pause: Duration::from_millis(50),
        ..DeviceSettings::default()
    }
}

/// Waits until something is there; fails the test after ten seconds.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

impl Toy {
    pub(crate) fn break_on(&self, operation: &'static str, fault: Fault) {
        self.faults.lock().unwrap().insert(operation, fault);
    }

    pub(crate) fn repair(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Names of the vifs in force.
    pub(crate) fn running(&self) -> Vec<String> {
        self.data.lock().unwrap().running.keys().cloned().collect()
    }

    pub(crate) fn put(&self, name: &str, xml: &str) {
        let mut data = self.data.lock().unwrap();
        data.running.insert(name.into(), xml.into());
        data.candidate = data.running.clone();
    }

    /// Content of a vif in force.
    pub(crate) fn vif(&self, name: &str) -> String {
        self.data.lock().unwrap().running[name].clone()
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut data = self.data.lock().unwrap();
        data.running.remove(name);
        data.candidate = data.running.clone();
    }

    pub(crate) fn is_locked(&self) -> bool {
        !self.data.lock().unwrap().locks.is_empty()
    }

    pub(crate) fn lock_by_other(&self, datastore: Datastore) {
        self.data.lock().unwrap().locks.insert(datastore, 999);
    }

    pub(crate) fn candidate_differs(&self) -> bool {
        let data = self.data.lock().unwrap();
        data.running != data.candidate
    }

    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.data.lock().unwrap().unconfirmed.is_some()
    }

    /// The confirm timeout passes.
    pub(crate) fn expire(&self) {
        self.data.lock().unwrap().cancel();
    }

    pub(crate) fn count(&self, operation: &str) -> usize {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| *line == operation)
            .count()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.list().len()
    }

    /// Ends every session.
    pub(crate) fn drop_sessions(&self) {
        for session in self.sessions.list() {
            // It may have ended meanwhile.
            let _ended = self.sessions.kill(session.info.id, 0);
        }
    }

    pub(crate) fn notify(&self, content: &str) -> usize {
        let notification = Notification {
            event_time: "2026-01-01T00:00:00Z".into(),
            content: Fragment::parse(content).unwrap(),
        };
        let subscribers = self.subscribers.lock().unwrap();
        subscribers
            .iter()
            .filter(|one| one.try_send(&notification).is_ok())
            .count()
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    async fn die(&self) -> Outcome {
        self.dead.store(true, Ordering::SeqCst);
        self.drop_sessions();
        // Longer than anybody waits for the answer.
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok(Reply::Ok)
    }

    fn carry_out(&self, session: u32, operation: &Operation) -> Outcome {
        let mut data = self.data.lock().unwrap();
        match operation {
            Operation::Get { .. } => Ok(Reply::Data(data.show())),
            Operation::Lock(datastore) => match data.locks.get(datastore) {
                Some(holder) => Err(vec![
                    RpcError::new(
                        ErrorTag::LockDenied,
                        format!("session {holder} has the lock"),
                    )
                    .with_info("session-id", holder.to_string()),
                ]),
                None => {
                    data.locks.insert(*datastore, session);
                    Ok(Reply::Ok)
                }
            },
            Operation::Unlock(datastore) => {
                data.locks.remove(datastore);
                Ok(Reply::Ok)
            }
            Operation::EditConfig(edit) => data.edit(session, &edit.config),
            Operation::Validate(_) => Ok(Reply::Ok),
            Operation::Commit(commit) => data.commit(commit),
            Operation::CancelCommit { persist_id } => {
                let known = data.unconfirmed.as_ref().map(|(token, _)| token.clone());
                if known.is_none() || known != *persist_id {
                    return Err(vec![RpcError::new(
                        ErrorTag::InvalidValue,
                        "no such confirmed commit",
                    )]);
                }
                data.cancel();
                Ok(Reply::Ok)
            }
            Operation::DiscardChanges => {
                data.candidate = data.running.clone();
                Ok(Reply::Ok)
            }
            Operation::Other { name, .. } if name == "correct-airtime" => Ok(Reply::Ok),
            Operation::Other { name, element, .. } if name == "plan" => {
                Ok(Reply::Output(plan(element)))
            }
            other => {
                let message = format!("{} is not supported", other.name());
                Err(vec![RpcError::new(
                    ErrorTag::OperationNotSupported,
                    message,
                )])
            }
        }
    }
}

impl Data {
    fn edit(&mut self, session: u32, config: &Fragment) -> Outcome {
        assert_eq!(
            self.locks.get(&Datastore::Candidate),
            Some(&session),
            "edited without the lock"
        );
        let elements = config.elements().unwrap();
        for vif in elements[0].children("vif") {
            let name = vif.child_text("name").unwrap().to_owned();
            match vif.attribute("operation") {
                Some("remove") => drop(self.candidate.remove(&name)),
                Some("replace") => drop(self.candidate.insert(name, inner_xml(vif))),
                other => panic!("operation {other:?}"),
            }
        }
        Ok(Reply::Ok)
    }

    fn commit(&mut self, commit: &Commit) -> Outcome {
        if let Some(token) = &commit.persist_id {
            return match self.unconfirmed.take() {
                Some((known, _)) if known == *token => Ok(Reply::Ok),
                other => {
                    self.unconfirmed = other;
                    Err(vec![RpcError::new(
                        ErrorTag::InvalidValue,
                        "no such confirmed commit",
                    )])
                }
            };
        }
        let before = std::mem::replace(&mut self.running, self.candidate.clone());
        if commit.confirmed {
            self.unconfirmed = Some((commit.persist.clone().unwrap(), before));
        }
        Ok(Reply::Ok)
    }

    fn cancel(&mut self) {
        if let Some((_, before)) = self.unconfirmed.take() {
            self.running = before;
            self.candidate = self.running.clone();
        }
    }

    fn show(&self) -> Fragment {
        let vifs: String = self
            .running
            .values()
            .map(|vif| format!("<vif>{vif}</vif>"))
            .collect();
        Fragment::from_trusted(format!(
            "<wifi xmlns=\"{WIFI}\"><radio><name>radio0</name><band>5GHz</band><channel>36</channel>\
             <state><max-vifs>8</max-vifs></state></radio>{vifs}</wifi>"
        ))
    }
}

/// What an edit would do: each vif is put or removed.
fn plan(element: &Fragment) -> Fragment {
    let namespace = "urn:tranche:yang:tranche-plan";
    let edit = element.content_of(namespace, "config").unwrap().unwrap();
    let elements = edit.elements().unwrap();
    let vifs = elements[0].children("vif");
    let step = |(number, vif): (usize, &Element)| {
        let name = vif.child_text("name").unwrap();
        let operation = vif.attribute("operation").unwrap();
        format!(
            "<step xmlns=\"{namespace}\"><number>{number}</number><domain>wifi</domain>\
             <path>/tranche-wifi:wifi/vif[name='{name}']</path><action>{operation} {name}</action></step>"
        )
    };
    let steps: Vec<String> = (1..).zip(vifs).map(step).collect();
    Fragment::from_trusted(format!(
        "<changes xmlns=\"{namespace}\">{}</changes><users-dropped xmlns=\"{namespace}\">0</users-dropped>{}",
        steps.len(),
        steps.concat()
    ))
}

fn inner_xml(element: &Element) -> String {
    if element.children.is_empty() {
        return element.text.replace('&', "&amp;").replace('<', "&lt;");
    }
    let child = |child: &Element| format!("<{0}>{1}</{0}>", child.name, inner_xml(child));
    element.children.iter().map(child).collect()
}

impl Handler for Toy {
    fn capabilities(&self) -> Vec<String> {
        vec!["urn:ietf:params:netconf:capability:candidate:1.0".into()]
    }

    async fn authenticate(&self, user: &str, credential: Credential<'_>, _: SocketAddr) -> bool {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        let key = matches!(credential, Credential::PublicKey { .. });
        !self.refuses_login.load(Ordering::SeqCst) && user == "tranche" && key
    }

    async fn session_started(&self, _: &SessionInfo, notifier: Notifier) {
        self.started.lock().unwrap().push(notifier);
    }

    async fn session_ended(&self, session: &SessionInfo, _: SessionEnd) {
        let mut data = self.data.lock().unwrap();
        if data.locks.get(&Datastore::Candidate) == Some(&session.id) {
            data.candidate = data.running.clone();
        }
        data.locks.retain(|_, holder| *holder != session.id);
    }

    async fn call(&self, session: &SessionInfo, rpc: Rpc) -> Outcome {
        let name = match &rpc.operation {
            Operation::Commit(commit) if commit.persist_id.is_some() => "confirm".to_owned(),
            other => other.name().to_owned(),
        };
        self.log.lock().unwrap().push(name.clone());
        if let Operation::CreateSubscription(_) = &rpc.operation {
            // Toys get one subscriber at a time: the newest session.
            self.subscribers
                .lock()
                .unwrap()
                .extend(self.started.lock().unwrap().last().cloned());
            return Ok(Reply::Ok);
        }
        let fault = self.faults.lock().unwrap().get(&*name).cloned();
        match fault {
            Some(Fault::Refuse(words)) => {
                return Err(vec![
                    RpcError::new(ErrorTag::OperationFailed, words).at("/tranche-wifi:wifi"),
                ]);
            }
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            Some(Fault::Die) => return self.die().await,
            Some(Fault::DieAfter) => {
                let outcome = self.carry_out(session.id, &rpc.operation);
                assert!(outcome.is_ok());
                return self.die().await;
            }
            None => {}
        }
        self.carry_out(session.id, &rpc.operation)
    }
}
