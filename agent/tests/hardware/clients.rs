//! Clients of the access points under test: each in a network namespace of its own, with a radio of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Joining takes part of a second, and several under emulation on a busy host.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// Runs a line of shell and gives what it prints; panics if it fails.
pub(crate) fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}{errors}");
    text
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, within: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// A radio in a network namespace; gives both back when it is dropped.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) namespace: String,
    pub(crate) interface: String,
    phy: String,
}

impl Station {
    /// Moves a radio of the machine into a namespace named after it.
    pub(crate) fn new(phy: &str) -> Self {
        let namespace = format!("ns-{phy}");
        run(&format!("ip netns add {namespace}"));
        run(&format!("iw phy {phy} set netns name {namespace}"));
        let mut station = Self {
            namespace,
            interface: String::new(),
            phy: phy.to_owned(),
        };
        let list = station.inside("iw dev");
        let name = list.split_once("Interface ").unwrap().1;
        station.interface = name.split_whitespace().next().unwrap().to_owned();
        station.inside("ip link set lo up");
        station
    }

    /// Runs a line of shell in the namespace.
    pub(crate) fn inside(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.namespace))
    }

    /// How many of `count` echo requests to an address are answered.
    pub(crate) fn ping(&self, address: &str, count: u32) -> u32 {
        let line = format!(
            "ip netns exec {} ping -q -i 0.1 -W 2 -c {count} {address} || true",
            self.namespace
        );
        counts(&run(&line)).1
    }

    /// Sends echo requests until told to stop.
    pub(crate) fn keep_pinging(&self, address: &str) -> Pinging {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .args(["ping", "-q", "-i", "0.05", "-W", "2", address])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Pinging(Some(child))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // The radio comes back when the namespace is gone; that takes a moment.
        let line = format!(
            "ip netns exec {} ip link set {} down; ip netns del {}; \
             for i in $(seq 100); do [ -e /sys/class/ieee80211/{} ] && break; sleep 0.1; done",
            self.namespace, self.interface, self.namespace, self.phy
        );
        let status = Command::new("sh").args(["-c", &line]).status();
        assert!(status.is_ok() || std::thread::panicking(), "{line}");
    }
}

/// Echo requests on their way.
pub(crate) struct Pinging(Option<Child>);

impl Pinging {
    /// Ends them: how many were sent, and how many answered.
    pub(crate) fn stop(mut self) -> (u32, u32) {
        let child = self.0.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        counts(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for Pinging {
    /// A test that fails must not keep the namespace, and the radio in it.
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let ended = child.kill().and_then(|()| child.wait());
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// `N packets transmitted, M received` of ping.
fn counts(report: &str) -> (u32, u32) {
    let line = report
        .lines()
        .find(|line| line.contains("packets transmitted"))
        .unwrap_or_else(|| panic!("no result of ping: {report}"));
    let mut numbers = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|text| text.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// A station that runs wpa_supplicant.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) station: Station,
    supplicant: Child,
    directory: PathBuf,
}

impl Client {
    /// Looks for a network with a radio; `network` is the body of wpa_supplicant's `network={}`.
    pub(crate) fn start(phy: &str, address: &str, network: &str) -> Self {
        let station = Station::new(phy);
        let directory = PathBuf::from(format!("/tmp/{}", station.namespace));
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("wpa_supplicant.conf");
        let text = format!(
            "ctrl_interface={}\nsae_pwe=2\nap_scan=1\nnetwork={{\n{network}\nscan_freq=2412\n}}\n",
            directory.join("control").display()
        );
        fs::write(&config, text).unwrap();
        let interface = &station.interface;
        station.inside(&format!("ip link set {interface} up"));
        station.inside(&format!("ip addr add {address} dev {interface}"));
        let supplicant = Command::new("ip")
            .args(["netns", "exec", &station.namespace])
            .args(["wpa_supplicant", "-D", "nl80211", "-i", interface, "-c"])
            .arg(&config)
            .args(["-f", "/dev/null"])
            .spawn()
            .unwrap();
        Self {
            station,
            supplicant,
            directory,
        }
    }

    /// Looks for a network and waits until it is in.
    pub(crate) fn join(phy: &str, address: &str, network: &str) -> Self {
        let client = Self::start(phy, address, network);
        client.wait_until_joined();
        client
    }

    pub(crate) fn wait_until_joined(&self) {
        let what = format!("{} joins: {}", self.station.namespace, self.status());
        wait_for(&what, JOIN_WITHIN, || self.is_joined());
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.status().contains("wpa_state=COMPLETED")
    }

    /// What the supplicant says of itself.
    pub(crate) fn status(&self) -> String {
        self.ask("status")
    }

    /// Asks the supplicant.
    pub(crate) fn ask(&self, command: &str) -> String {
        let line = format!(
            "wpa_cli -p {} -i {} {command} 2>&1 || true",
            self.directory.join("control").display(),
            self.station.interface
        );
        run(&line)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let ended = self.supplicant.kill().and_then(|()| self.supplicant.wait());
        let removed = fs::remove_dir_all(&self.directory);
        let is_clean = ended.is_ok() && removed.is_ok();
        assert!(is_clean || std::thread::panicking());
    }
}
