//! Machines and users as network namespaces on one switch: made, entered, and gone when dropped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Builder;

use crate::error::Error;
use crate::vm::shell::sh_at_the_end;

/// Two access nodes, the edge and the data centre.
pub const MACHINES: usize = 4;
/// What tenants are told apart by in names of bridges and namespaces.
pub const TENANTS: [&str; 2] = ["a", "b"];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What a machine lacks for real tunnels between namespaces; `None` where it lacks nothing.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let quiet = command.args(arguments).stdout(Stdio::null());
        quiet
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let tun = File::options().read(true).write(true).open("/dev/net/tun");
    if !runs("unshare", &["--net", "true"]) {
        Some("the right to make network namespaces (root)")
    } else if tun.is_err() {
        Some("/dev/net/tun")
    } else if !runs("ip", &["-V"]) {
        Some("the program ip (package iproute2)")
    } else if !runs("nft", &["--version"]) {
        Some("the program nft (package nftables)")
    } else {
        None
    }
}

/// The switch, and what is wired to it. Dropping it removes all of it.
///
/// | namespace | interfaces |
/// |---|---|
/// | the switch, where the controller is | `br0` with 192.0.2.254, a port for each machine |
/// | machine K | `up0` with 192.0.2.(K+1); `br-a` and `br-b`, where users are wired |
/// | user of a tenant at machine K | `eth0` |
#[derive(Debug)]
pub struct Network {
    prefix: String,
    names: Vec<String>,
}

impl Network {
    /// Makes it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self, Error> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut network = Self {
            prefix: format!("trd{}-{number}", std::process::id()),
            names: Vec::new(),
        };
        let switch = network.switch();
        network.space(&switch)?;
        sh(&format!(
            "ip -n {switch} link add br0 type bridge; ip -n {switch} link set br0 up
             ip -n {switch} address add 192.0.2.254/24 dev br0"
        ))?;
        for index in 0..MACHINES {
            network.wire_machine(index)?;
        }
        Ok(network)
    }

    /// Name of the namespace of the switch.
    #[must_use]
    pub fn switch(&self) -> String {
        format!("{}s", self.prefix)
    }

    /// Name of the namespace of a machine.
    #[must_use]
    pub fn machine(&self, index: usize) -> String {
        format!("{}m{index}", self.prefix)
    }

    /// Name of the namespace of a tenant's user at a machine.
    #[must_use]
    pub fn user(&self, tenant: usize, index: usize) -> String {
        format!("{}{}{index}", self.prefix, TENANTS[tenant])
    }

    /// Runs something that waits, and the processes that it starts, where the switch is.
    ///
    /// # Errors
    /// When there is no such namespace any more.
    ///
    /// # Panics
    /// When it does.
    pub fn run<T: Send, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send,
    ) -> Result<T, Error> {
        let switch = self.switch();
        // Threads of the runtime and processes are where the thread is that starts them.
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&switch)?;
                let runtime = Builder::new_multi_thread().enable_all().build()?;
                Ok(runtime.block_on(work()))
            });
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        done.map_err(Error::system(format!("the namespace {switch}")))
    }

    /// Gives a user an address and the gateway of everything else.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn address(&self, user: &str, address: &str, gateway: &str) -> Result<(), Error> {
        sh(&format!(
            "ip -n {user} address add {address} dev eth0; ip -n {user} route add default via {gateway}"
        ))
        .map(drop)
    }

    /// What can be seen of tunnels at a machine: interfaces, routes, rules, and tables of its packet filter.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn traces(&self, index: usize) -> Result<String, Error> {
        let machine = self.machine(index);
        sh(&format!(
            "ip -n {machine} -o link | sed 's/ state .*//'; ip -n {machine} route; ip -n {machine} rule
             nsenter --net=/run/netns/{machine} nft list tables"
        ))
    }

    /// The namespaces of slices that a process holds.
    #[must_use]
    pub fn held_by(process: u32) -> BTreeSet<String> {
        let open = std::fs::read_dir(format!("/proc/{process}/fd"));
        let files = open.into_iter().flatten().flatten();
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let names = targets.filter_map(|target| {
            let name = target.to_str()?.strip_prefix("/run/netns/tr-")?;
            Some(format!("tr-{name}"))
        });
        names.collect()
    }

    fn space(&mut self, name: &str) -> Result<(), Error> {
        self.names.push(name.to_owned());
        sh(&format!("ip netns add {name}; ip -n {name} link set lo up")).map(drop)
    }

    fn wire_machine(&mut self, index: usize) -> Result<(), Error> {
        let (machine, switch, host) = (self.machine(index), self.switch(), index + 1);
        self.space(&machine)?;
        sh(&format!(
            "ip -n {machine} link add up0 type veth peer name p{index} netns {switch}
             ip -n {machine} address add 192.0.2.{host}/24 dev up0; ip -n {machine} link set up0 up
             ip -n {switch} link set p{index} master br0 up"
        ))?;
        for (tenant, letter) in TENANTS.iter().enumerate() {
            let user = self.user(tenant, index);
            self.space(&user)?;
            sh(&format!(
                "ip -n {machine} link add br-{letter} type bridge; ip -n {machine} link set br-{letter} up
                 ip -n {machine} link add u-{letter} type veth peer name eth0 netns {user}
                 ip -n {machine} link set u-{letter} master br-{letter} up; ip -n {user} link set eth0 up"
            ))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            sh_at_the_end(&format!("ip netns del {name}"));
        }
    }
}

/// Moves this thread into a network namespace.
pub(super) fn enter(namespace: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    Ok(move_into_link_name_space(
        file.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Opens something in a network namespace: it stays where it was opened.
pub(super) fn inside<T: Send>(
    namespace: &str,
    open: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, Error> {
    let opened = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace)?;
            open()
        });
        let ended = |_| Err(io::Error::other("the thread that opens a socket ended"));
        thread.join().unwrap_or_else(ended)
    });
    opened.map_err(Error::system(format!("a socket in {namespace}")))
}

/// Runs lines of shell and gives what they print.
fn sh(lines: &str) -> Result<String, Error> {
    let output = Command::new("/bin/sh").args(["-ec", lines]).output();
    let output = output.map_err(Error::system("/bin/sh"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(Error::Process {
        program: lines.to_owned(),
        what: format!("ended ({})", output.status),
        last_words: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
