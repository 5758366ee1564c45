//! Machines for tests: each is a network namespace with a runtime whose threads are in it, all on one switch.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::super::namespace::{self, Namespace};
use super::super::{LinuxPlane, keys_of};
use crate::backend::backhaul::record::{Ledger, Record};
use crate::backend::backhaul::suite::BackhaulRig;
use crate::backend::backhaul::tunnel::Pace;
use crate::backend::backhaul::{BackendInUse, Backhaul};

/// Underlay addresses of the machines (RFC 5737).
const UNDERLAY: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether this machine has what real tunnels need. Says it on the terminal, past what captures the output of tests.
pub(crate) fn can_run() -> bool {
    let missing = if namespace::check_possible().is_err() {
        "no privilege for network namespaces (root)"
    } else if super::super::userspace::check_possible().is_err() {
        "no /dev/net/tun"
    } else if !Command::new("nft")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        "no nft (package nftables)"
    } else {
        return true;
    };
    drop(writeln!(
        io::stderr(),
        "\nSKIPPED: a test of real tunnels: {missing}\n"
    ));
    false
}

/// Runs a command line, which must succeed; what it printed.
pub(crate) fn sh(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{command}: {error}");
    out.into_owned()
}

pub(crate) struct Rig {
    backend: BackendInUse,
    pace: Pace,
    prefix: String,
    directory: tempfile::TempDir,
    machines: Vec<Machine>,
}

struct Machine {
    namespace: Namespace,
    runtime: Option<Runtime>,
    backhaul: Backhaul,
    plane: Arc<LinuxPlane>,
    state_dir: PathBuf,
    taken: Option<std::net::UdpSocket>,
}

impl Rig {
    pub(crate) async fn new(backend: BackendInUse) -> Self {
        Self::at_pace(backend, Pace::default()).await
    }

    /// One whose tunnels look after themselves more often.
    pub(crate) async fn hasty(backend: BackendInUse) -> Self {
        let often = Duration::from_millis(200);
        let pace = Pace {
            slow: often,
            check: often,
            ..Pace::default()
        };
        Self::at_pace(backend, pace).await
    }

    async fn at_pace(backend: BackendInUse, pace: Pace) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("trt{}-{number}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        let switch = format!("{prefix}s");
        sh(&format!(
            "ip netns add {switch} && ip -n {switch} link add br0 type bridge && ip -n {switch} link set br0 up"
        ));
        let mut machines = Vec::new();
        for (index, address) in UNDERLAY.iter().enumerate() {
            let name = format!("{prefix}m{index}");
            sh(&format!(
                "ip netns add {name} && ip -n {name} link set lo up
                 ip -n {name} link add up0 type veth peer name p{index} netns {switch}
                 ip -n {name} address add {address}/24 dev up0 && ip -n {name} link set up0 up
                 ip -n {switch} link set p{index} master br0 up"
            ));
            let namespace = Namespace::open(&name).unwrap();
            let state_dir = directory.path().join(&name);
            machines.push(start(namespace, state_dir, backend, pace).await);
        }
        Self {
            backend,
            pace,
            prefix,
            directory,
            machines,
        }
    }

    /// Runs a command line at a machine.
    pub(crate) fn in_machine(&self, index: usize, command: &str) -> String {
        let name = &self.machines[index].namespace.name;
        sh(&format!("ip netns exec {name} sh -c '{command}'"))
    }

    /// The namespace of a machine.
    pub(crate) fn machine(&self, index: usize) -> &Namespace {
        &self.machines[index].namespace
    }

    /// Name of the namespace of a slice at a machine.
    pub(crate) fn slice_namespace(&self, index: usize, slice: &str) -> String {
        self.machines[index].plane.namespace_name(slice)
    }

    /// What a machine remembers of a tunnel.
    pub(super) fn remembered(&self, index: usize, slice: &str) -> Option<Record> {
        let ledger = Ledger::Directory(keys_of(&self.machines[index].state_dir));
        ledger.load(slice).unwrap()
    }

    /// What runs in a machine.
    pub(super) fn runtime(&self, index: usize) -> &tokio::runtime::Handle {
        let runtime = self.machines[index].runtime.as_ref();
        runtime.unwrap().handle()
    }

    /// What touches a machine.
    pub(super) fn plane(&self, index: usize) -> &LinuxPlane {
        &self.machines[index].plane
    }

    pub(crate) fn tag(&self, index: usize) -> &str {
        &self.machines[index].plane.tag
    }

    /// A port of a machine that somebody else has.
    pub(crate) fn taken_port(&mut self, index: usize) -> u16 {
        let machine = &mut self.machines[index];
        let socket = machine
            .namespace
            .within(|| std::net::UdpSocket::bind("[::]:0"))
            .unwrap()
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        machine.taken = Some(socket);
        port
    }
}

async fn start(
    namespace: Namespace,
    state_dir: PathBuf,
    backend: BackendInUse,
    pace: Pace,
) -> Machine {
    let inside = namespace.clone();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || inside.enter().unwrap())
        .enable_all()
        .build()
        .unwrap();
    let dir = state_dir.clone();
    let opened = runtime.spawn(async move {
        let mut plane = LinuxPlane::open(&dir).await.unwrap();
        if backend == BackendInUse::Userspace {
            plane.abilities.kernel = Err("not in this test".to_owned());
        }
        let plane = Arc::new(plane);
        let backhaul = Backhaul::at_pace(Arc::clone(&plane) as _, Some(keys_of(&dir)), pace);
        (plane, backhaul)
    });
    let (plane, backhaul) = opened.await.unwrap();
    Machine {
        namespace,
        runtime: Some(runtime),
        backhaul,
        plane,
        state_dir,
        taken: None,
    }
}

impl BackhaulRig for Rig {
    fn node(&mut self, index: usize) -> &mut Backhaul {
        &mut self.machines[index].backhaul
    }

    fn underlay_address(&self, index: usize) -> &'static str {
        UNDERLAY[index]
    }

    fn backend(&self) -> BackendInUse {
        self.backend
    }

    fn set_reachable(&mut self, index: usize, reachable: bool) {
        let state = if reachable { "up" } else { "down" };
        sh(&format!("ip -n {}s link set p{index} {state}", self.prefix));
    }

    async fn restart(&mut self, index: usize) {
        let Machine {
            namespace,
            mut runtime,
            backhaul,
            plane,
            state_dir,
            ..
        } = self.machines.remove(index);
        // As a kill does: nothing is told to end, everything that the process held is gone.
        if let Some(runtime) = runtime.take() {
            runtime.shutdown_background();
        }
        drop((backhaul, plane));
        let machine = start(namespace, state_dir, self.backend, self.pace).await;
        self.machines.insert(index, machine);
    }

    fn left_behind(&mut self, index: usize, slice: &str) -> Vec<String> {
        let name = self.slice_namespace(index, slice);
        let mut left: Vec<String> = namespace::names()
            .unwrap()
            .into_iter()
            .filter(|one| *one == name)
            .collect();
        let machine = &self.machines[index];
        let files = std::fs::read_dir(keys_of(&machine.state_dir))
            .into_iter()
            .flatten();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // What is set aside for a while is not left behind.
        left.extend(files.filter(|file| file.starts_with(slice) && !file.ends_with(".removed")));
        if machine.plane.spaces().is_empty() {
            let links = self.in_machine(
                index,
                "ip -o link; ip route; ip -6 route; ip rule; nft list tables",
            );
            let tag = self.tag(index);
            let ours = links
                .lines()
                .filter(|line| line.contains(tag) || line.contains("tranche"));
            left.extend(ours.map(str::to_owned));
        }
        left
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let mut slices = Vec::new();
        for machine in &mut self.machines {
            if let Some(runtime) = machine.runtime.take() {
                runtime.shutdown_background();
            }
            let prefix = machine.plane.namespace_prefix();
            let names = namespace::names().unwrap_or_default();
            slices.extend(names.into_iter().filter(|name| name.starts_with(&prefix)));
        }
        let machines = (0..UNDERLAY.len()).map(|index| format!("{}m{index}", self.prefix));
        for name in slices
            .into_iter()
            .chain(machines)
            .chain([format!("{}s", self.prefix)])
        {
            // What is left is somebody's to see, not a reason to hide why a test failed.
            if let Err(error) = namespace::delete(&name) {
                drop(writeln!(io::stderr(), "{name} is left behind: {error}"));
            }
        }
        let _ = &self.directory;
    }
}
