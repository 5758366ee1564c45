//! What an operator may set: the command line and the TOML file, merged into [`Settings`].
//!
//! Owns the words of both and their defaults. The command line wins over the file; a key that is not known is refused
//! with its position.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use tranche_netconf::server::Limits;

use crate::backend::hardware::{AirtimeScheduler, HardwareSettings};
use crate::backend::ran::srsran::SrsRanSettings;
use crate::render_ran::{self, RenderRan};

/// Everything an agent needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the first node listens; with several nodes, node k listens on the port k-1 above it. Port 0 takes a free port
    /// for each.
    pub listen: SocketAddr,
    /// Where everything durable is kept.
    pub state_dir: PathBuf,
    /// Configuration for an empty store: none, one for all nodes, or one for each node in order.
    pub factory_default: Vec<PathBuf>,
    /// Extra YANG modules, whose data is stored and validated and means nothing to the agent.
    pub yang_modules: Vec<PathBuf>,
    /// How many simulated nodes there are; `None` asks for the real radios of this machine.
    pub sim: Option<u16>,
    /// What is to be known of the real radios; at its default where the nodes are simulated.
    pub hardware: HardwareSettings,
    /// Whether there is a startup datastore, from which running is loaded at start.
    pub startup_datastore: bool,
    /// What a client may cost.
    pub limits: Limits,
    /// What is logged.
    pub log: LogSettings,
}

/// How the process logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Directives of `tracing_subscriber::EnvFilter`, such as `info,tranche_agent=debug`.
    pub filter: String,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a line in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be; the source has line and column.
    #[error("the configuration file {path} is not valid", path = .path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A setting that must be given was not.
    #[error("{0} is missing: give it on the command line or in the configuration file")]
    Missing(&'static str),
    /// A value that cannot be.
    #[error("{setting}: {reason}")]
    Invalid {
        /// Which setting.
        setting: &'static str,
        /// Why not.
        reason: String,
    },
}

/// How long a gNB may take to come back, its radio included.
const GNB_RESTART: Duration = Duration::from_secs(60);
/// How long nothing may be heard of a gNB: ten of its periods, unless it was told others.
const GNB_SILENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
FILES
  <state-dir>/lock                        held while an agent runs on the directory
  <state-dir>/store                       what is stored; only its user may read it
  <state-dir>/ssh_host_ed25519_key[.pub]  identity of the server, made at the first start
  <state-dir>/node-<k>/                   with --sim: these two of node k
  <state-dir>/run                         files of running daemons (see --runtime-dir; not with --sim)

RADIOS
  Without --sim the agent serves the radios of this machine, named as the kernel names their wiphys (iw phy). It needs
  CAP_NET_ADMIN, and CAP_BPF and CAP_PERFMON for the airtime scheduler; access points need hostapd, and meshes with a
  passphrase wpa_supplicant. What is missing is said at start, and what needs it is refused when it is configured. Access
  points keep running when the agent ends; the next one takes them over. With --srsran-config there is a cell too: that of a
  gNB of the srsRAN project, run as gnb -c RADIO-FILE -c FILE by somebody who starts it again whenever it ends.

CONFIGURATION FILE
  TOML; the command line wins over it. Keys are the long options (factory-default, yang-module and radio take lists), and:
    [log]     filter = \"info\"  format = \"text\" | \"json\"
    [limits]  hello-timeout-s = 30      max-hello-bytes = 262144     max-message-bytes = 67108864
              max-depth = 128           max-attributes = 64          max-sessions = 1024
              max-unauthenticated = 64  max-auth-tries = 4           auth-timeout-s = 20
              idle-timeout-s = 0        write-timeout-s = 30         max-pipelined-bytes = 1048576
              notification-queue = 256  keepalive-s = 30             auth-failure-delay-ms = 1000
              (idle-timeout-s = 0: never)

OUTPUT
  One line on standard output for each node once it listens, for scripts:
    listening node=node-1 address=127.0.0.1:2830 host-key=SHA256:...
  The log goes to standard error.

SIGNALS
  SIGTERM, SIGINT   end sessions and stop; everything acknowledged is on disk at any time.

EXIT STATUS
  0  stopped by a signal; the command (render-ran) is done
  1  could not start or go on, or do the command; the reason is on standard error
  2  the command line is not understood

EXAMPLES
  tranche-agent --listen 0.0.0.0:830 --state-dir /var/lib/tranche --factory-default factory.json --radio phy0
  tranche-agent render-ran --factory-default factory.json --into trial
  tranche-agent --sim 2 --listen 127.0.0.1:2830 --state-dir /var/lib/tranche --factory-default factory.json
";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "tranche-agent",
    version,
    about = "Node agent of Tranche: serves the radios of a node over NETCONF",
    long_about = "tranche-agent is the node agent of Tranche. It serves the configuration and state of one node, its radios \
                  and the slices that share them, over NETCONF 1.1 on SSH, carries out what is committed, and reports the \
                  airtime every slice got.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// What to do instead of serving a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address and port to listen on; node k of a simulation listens on port+k-1, and port 0 takes a free one for each
    /// [default: 127.0.0.1:830]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Directory for everything durable; made if it is not there. One agent at a time.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Configuration (XML or RFC 7951 JSON instance data) for a node whose store is empty. Given once it serves every node;
    /// given N times, the first is for node 1, the second for node 2 and so on.
    #[arg(long, value_name = "FILE")]
    pub factory_default: Vec<PathBuf>,
    /// A YANG module to load besides the built-in ones; its data is stored and validated as pure data. Repeatable. What it
    /// imports is looked for beside it.
    #[arg(long, value_name = "FILE")]
    pub yang_module: Vec<PathBuf>,
    /// Run N simulated nodes in this process, on one simulated medium, instead of one node with the radios of this machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub sim: Option<u16>,
    /// A radio that the agent may use, by the name of its wiphy. Repeatable; all radios of the machine where absent.
    #[arg(long, value_name = "NAME")]
    pub radio: Vec<String>,
    /// The program to run as hostapd, one for each radio with access points [default: hostapd]
    #[arg(long, value_name = "PROGRAM")]
    pub hostapd: Option<String>,
    /// The program to run as wpa_supplicant, one for each mesh point with a passphrase [default: wpa_supplicant]
    #[arg(long, value_name = "PROGRAM")]
    pub wpa_supplicant: Option<String>,
    /// Directory for the files of running daemons, which need not outlive a boot [default: run in the state directory]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// What schedules airtime: bpf (a program in the kernel), mac80211 (airtime weights of stations; no ceilings), off, or auto:
    /// bpf if that can be, else mac80211 if every radio has airtime fairness [default: auto]
    #[arg(long, value_name = "SCHEDULER")]
    pub airtime: Option<AirtimeScheduler>,
    /// The file that the agent writes for the gNB of the srsRAN project on this machine; whoever runs the gNB gives it beside
    /// the file with the radio unit, and starts it again when it ends. Without this there are no cells.
    #[arg(long, value_name = "FILE")]
    pub srsran_config: Option<PathBuf>,
    /// Where the remote control of that gNB listens [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR:PORT")]
    pub srsran_control: Option<SocketAddr>,
    /// The address of that gNB towards its AMFs [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub srsran_bind_addr: Option<IpAddr>,
    /// Offer a startup datastore: running is loaded from it at start. Without this, every acknowledged change of running is
    /// durable by itself.
    #[arg(long)]
    pub startup_datastore: bool,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,tranche_agent=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Form of the log [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What the program does besides serving a node.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Write files for trying the RAN slices of a node with Open5GS and UERANSIM.
    #[command(long_about = render_ran::ABOUT)]
    RenderRan(RenderRan),
}

/// The TOML file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsFile {
    listen: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    factory_default: Option<Vec<PathBuf>>,
    yang_module: Option<Vec<PathBuf>>,
    sim: Option<u16>,
    radio: Option<Vec<String>>,
    hostapd: Option<String>,
    wpa_supplicant: Option<String>,
    runtime_dir: Option<PathBuf>,
    airtime: Option<AirtimeScheduler>,
    srsran_config: Option<PathBuf>,
    srsran_control: Option<SocketAddr>,
    srsran_bind_addr: Option<IpAddr>,
    startup_datastore: Option<bool>,
    #[serde(default)]
    log: LogTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LogTable {
    filter: Option<String>,
    format: Option<LogFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LimitsTable {
    hello_timeout_s: Option<u32>,
    max_hello_bytes: Option<usize>,
    max_message_bytes: Option<usize>,
    max_depth: Option<usize>,
    max_attributes: Option<usize>,
    max_sessions: Option<usize>,
    max_unauthenticated: Option<usize>,
    max_auth_tries: Option<usize>,
    auth_timeout_s: Option<u32>,
    auth_failure_delay_ms: Option<u32>,
    keepalive_s: Option<u32>,
    idle_timeout_s: Option<u32>,
    write_timeout_s: Option<u32>,
    max_pipelined_bytes: Option<usize>,
    notification_queue: Option<usize>,
}

impl Settings {
    /// Simulated nodes on free loopback ports, with everything else at its default.
    #[must_use]
    pub fn simulated(nodes: u16, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            state_dir: state_dir.into(),
            factory_default: Vec::new(),
            yang_modules: Vec::new(),
            sim: Some(nodes),
            hardware: HardwareSettings::default(),
            startup_datastore: false,
            limits: Limits::default(),
            log: LogSettings::default(),
        }
    }

    /// Merges a command line with the file that it names.
    ///
    /// # Errors
    /// The file cannot be read or parsed, something is missing, or a value cannot be.
    pub fn resolve(args: Args) -> Result<Self, SettingsError> {
        let file = match &args.config {
            Some(path) => read(path)?,
            None => SettingsFile::default(),
        };
        let or_file = |given: Vec<PathBuf>, file: Option<Vec<PathBuf>>| {
            if given.is_empty() {
                file.unwrap_or_default()
            } else {
                given
            }
        };
        let default = HardwareSettings::default();
        let hardware = HardwareSettings {
            radios: match args.radio.is_empty() {
                true => file.radio.unwrap_or_default(),
                false => args.radio,
            },
            hostapd: args.hostapd.or(file.hostapd).unwrap_or(default.hostapd),
            wpa_supplicant: args
                .wpa_supplicant
                .or(file.wpa_supplicant)
                .unwrap_or(default.wpa_supplicant),
            runtime_dir: args.runtime_dir.or(file.runtime_dir),
            airtime: args.airtime.or(file.airtime).unwrap_or(default.airtime),
            srsran: srsran(
                args.srsran_config.or(file.srsran_config),
                args.srsran_control.or(file.srsran_control),
                args.srsran_bind_addr.or(file.srsran_bind_addr),
            )?,
        };
        let settings = Self {
            hardware,
            listen: args
                .listen
                .or(file.listen)
                .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 830))),
            state_dir: args
                .state_dir
                .or(file.state_dir)
                .ok_or(SettingsError::Missing("state-dir"))?,
            factory_default: or_file(args.factory_default, file.factory_default),
            yang_modules: or_file(args.yang_module, file.yang_module),
            sim: args.sim.or(file.sim),
            startup_datastore: args.startup_datastore || file.startup_datastore.unwrap_or_default(),
            limits: file.limits.resolve()?,
            log: LogSettings {
                filter: args
                    .log
                    .or(file.log.filter)
                    .unwrap_or_else(|| "info".to_owned()),
                format: args.log_format.or(file.log.format).unwrap_or_default(),
            },
        };
        settings.check()?;
        Ok(settings)
    }

    /// How many nodes these settings make: one where the radios are real.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        self.sim.unwrap_or(1)
    }

    /// Where the files of running daemons are: an absolute path.
    ///
    /// # Errors
    /// There is no working directory that a relative path could start from.
    pub fn runtime_dir(&self) -> Result<PathBuf, SettingsError> {
        let in_state_dir = || self.state_dir.join("run");
        let given = self.hardware.runtime_dir.clone();
        std::path::absolute(given.unwrap_or_else(in_state_dir))
            .map_err(|error| invalid("runtime-dir", error.to_string()))
    }

    /// Where node `index` (from 0) listens.
    #[must_use]
    pub fn listen_of(&self, index: u16) -> SocketAddr {
        let mut address = self.listen;
        if address.port() != 0 {
            address.set_port(address.port().saturating_add(index));
        }
        address
    }

    /// The factory default of node `index` (from 0), if there is one.
    #[must_use]
    pub fn factory_default_of(&self, index: u16) -> Option<&Path> {
        match &self.factory_default[..] {
            [one] => Some(one),
            each => each.get(usize::from(index)).map(PathBuf::as_path),
        }
    }

    /// Whether the values fit together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let nodes = self.nodes();
        if nodes == 0 {
            return Err(invalid("sim", "there is at least one node"));
        }
        let default = HardwareSettings::default();
        let real_only = [
            ("radio", self.hardware.radios != default.radios),
            ("hostapd", self.hardware.hostapd != default.hostapd),
            (
                "wpa-supplicant",
                self.hardware.wpa_supplicant != default.wpa_supplicant,
            ),
            ("runtime-dir", self.hardware.runtime_dir.is_some()),
            ("airtime", self.hardware.airtime != default.airtime),
            ("srsran-config", self.hardware.srsran.is_some()),
        ];
        if let (Some(_), Some((setting, _))) =
            (self.sim, real_only.into_iter().find(|(_, given)| *given))
        {
            return Err(invalid(
                setting,
                "is about real radios, and sim asks for simulated ones",
            ));
        }
        if self.listen.port() != 0 && self.listen.port().checked_add(nodes - 1).is_none() {
            let port = self.listen.port();
            return Err(invalid(
                "listen",
                format!("{nodes} nodes from port {port} on reach past port 65535"),
            ));
        }
        let files = self.factory_default.len();
        if files > 1 && files != usize::from(nodes) {
            return Err(invalid(
                "factory-default",
                format!(
                    "give one file for all nodes or one for each: {files} files for {nodes} nodes"
                ),
            ));
        }
        Ok(())
    }
}

/// Where there is no file, nothing else is said of the gNB.
fn srsran(
    config: Option<PathBuf>,
    control: Option<SocketAddr>,
    bind_addr: Option<IpAddr>,
) -> Result<Option<SrsRanSettings>, SettingsError> {
    let Some(config) = config else {
        let reason = "says something of a gNB, and srsran-config does not say which";
        return match (control, bind_addr) {
            (Some(_), _) => Err(invalid("srsran-control", reason)),
            (_, Some(_)) => Err(invalid("srsran-bind-addr", reason)),
            (None, None) => Ok(None),
        };
    };
    Ok(Some(SrsRanSettings {
        config,
        control: control.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8001))),
        bind_addr: bind_addr.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()),
        restart_wait: GNB_RESTART,
        silence: GNB_SILENCE,
    }))
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl LimitsTable {
    fn resolve(self) -> Result<Limits, SettingsError> {
        let default = Limits::default();
        let seconds = |given: Option<u32>, default: Duration| {
            given.map_or(default, |seconds| Duration::from_secs(seconds.into()))
        };
        let limits = Limits {
            hello_timeout: seconds(self.hello_timeout_s, default.hello_timeout),
            max_hello_bytes: self.max_hello_bytes.unwrap_or(default.max_hello_bytes),
            max_message_bytes: self.max_message_bytes.unwrap_or(default.max_message_bytes),
            max_depth: self.max_depth.unwrap_or(default.max_depth),
            max_attributes: self.max_attributes.unwrap_or(default.max_attributes),
            max_sessions: self.max_sessions.unwrap_or(default.max_sessions),
            max_unauthenticated: self
                .max_unauthenticated
                .unwrap_or(default.max_unauthenticated),
            max_auth_tries: self.max_auth_tries.unwrap_or(default.max_auth_tries),
            auth_timeout: seconds(self.auth_timeout_s, default.auth_timeout),
            auth_failure_delay: self
                .auth_failure_delay_ms
                .map_or(default.auth_failure_delay, |ms| {
                    Duration::from_millis(ms.into())
                }),
            keepalive: seconds(self.keepalive_s, default.keepalive),
            idle_timeout: match self.idle_timeout_s {
                None => default.idle_timeout,
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds.into())),
            },
            write_timeout: seconds(self.write_timeout_s, default.write_timeout),
            max_pipelined_bytes: self
                .max_pipelined_bytes
                .unwrap_or(default.max_pipelined_bytes),
            notification_queue: self
                .notification_queue
                .unwrap_or(default.notification_queue),
        };
        let positive = [
            ("limits.hello-timeout-s", limits.hello_timeout.is_zero()),
            ("limits.max-hello-bytes", limits.max_hello_bytes == 0),
            ("limits.max-message-bytes", limits.max_message_bytes == 0),
            ("limits.max-depth", limits.max_depth == 0),
            ("limits.max-attributes", limits.max_attributes == 0),
            ("limits.max-sessions", limits.max_sessions == 0),
            (
                "limits.max-unauthenticated",
                limits.max_unauthenticated == 0,
            ),
            ("limits.max-auth-tries", limits.max_auth_tries == 0),
            ("limits.auth-timeout-s", limits.auth_timeout.is_zero()),
            ("limits.keepalive-s", limits.keepalive.is_zero()),
            ("limits.write-timeout-s", limits.write_timeout.is_zero()),
            (
                "limits.max-pipelined-bytes",
                limits.max_pipelined_bytes == 0,
            ),
            ("limits.notification-queue", limits.notification_queue == 0),
        ];
        match positive.into_iter().find(|(_, zero)| *zero) {
            Some((setting, _)) => Err(invalid(setting, "at least 1 is needed")),
            None => Ok(limits),
        }
    }
}

fn read(path: &Path) -> Result<SettingsFile, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| SettingsError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

fn invalid(setting: &'static str, reason: impl Into<String>) -> SettingsError {
    SettingsError::Invalid {
        setting,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn resolve(args: &[&str], file: Option<&str>) -> Result<Settings, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let mut line = vec!["tranche-agent".to_owned()];
        line.extend(args.iter().map(|arg| (*arg).to_owned()));
        if let Some(text) = file {
            let path = dir.path().join("agent.toml");
            std::fs::write(&path, text).unwrap();
            line.extend(["--config".to_owned(), path.display().to_string()]);
        }
        Settings::resolve(Args::try_parse_from(line).unwrap())
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:2000\"\nstate-dir = \"/a\"\nsim = 3\n\
                    [limits]\nmax-sessions = 5\nidle-timeout-s = 60\n[log]\nformat = \"json\"\n";
        let settings = resolve(
            &["--listen", "127.0.0.1:3000", "--state-dir", "/b"],
            Some(file),
        )
        .unwrap();
        assert_eq!(settings.listen.port(), 3000);
        assert_eq!(settings.state_dir, Path::new("/b"));
        assert_eq!(settings.sim, Some(3));
        assert_eq!(settings.limits.max_sessions, 5);
        assert_eq!(settings.limits.idle_timeout, Some(Duration::from_secs(60)));
        assert_eq!(settings.log.format, LogFormat::Json);
        assert_eq!(settings.listen_of(2).port(), 3002);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_position() {
        let error = resolve(&[], Some("sim = 1\n[limits]\nmax-session = 5\n")).unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(source.contains("line 3, column 1"), "{source}");
        assert!(source.contains("unknown field `max-session`"), "{source}");
    }

    #[test]
    fn without_simulation_the_radios_are_real() {
        let real = resolve(&["--state-dir", "/b"], None).unwrap();
        assert_eq!((real.sim, real.nodes()), (None, 1));
        assert_eq!(real.hardware, HardwareSettings::default());
        assert_eq!(real.runtime_dir().unwrap(), Path::new("/b/run"));
        let file = "radio = [\"phy7\"]\nhostapd = \"/x/hostapd\"\nwpa-supplicant = \"/x/wpas\"\nruntime-dir = \"/r\"\nairtime = \"off\"";
        let line = ["--state-dir", "/b", "--radio", "phy0", "--radio", "phy1"];
        let given = resolve(&line, Some(file)).unwrap();
        assert_eq!(given.hardware.radios, ["phy0", "phy1"]);
        assert_eq!(given.hardware.hostapd, "/x/hostapd");
        assert_eq!(given.hardware.wpa_supplicant, "/x/wpas");
        assert_eq!(given.hardware.airtime, AirtimeScheduler::Off);
        assert_eq!(given.runtime_dir().unwrap(), Path::new("/r"));
        let gnb = "srsran-config = \"/x/tranche.yml\"\nsrsran-bind-addr = \"192.0.2.7\"";
        let gnb = resolve(&["--state-dir", "/b"], Some(gnb)).unwrap();
        let gnb = gnb.hardware.srsran.unwrap();
        assert_eq!(gnb.config, Path::new("/x/tranche.yml"));
        assert_eq!(gnb.control, SocketAddr::from((Ipv4Addr::LOCALHOST, 8001)));
        assert_eq!(gnb.bind_addr, Ipv4Addr::new(192, 0, 2, 7));
    }

    #[test]
    fn a_factory_default_is_for_all_or_for_each() {
        let base = [
            "--state-dir",
            "/b",
            "--sim",
            "3",
            "--factory-default",
            "one",
        ];
        let one = resolve(&base, None).unwrap();
        assert_eq!(one.factory_default_of(2), Some(Path::new("one")));
        let mut two = base.to_vec();
        two.extend(["--factory-default", "two"]);
        let error = resolve(&two, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "factory-default: give one file for all nodes or one for each: 2 files for 3 nodes"
        );
        two.extend(["--factory-default", "three"]);
        let three = resolve(&two, None).unwrap();
        assert_eq!(three.factory_default_of(1), Some(Path::new("two")));
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let check = |args: &[&str], file, expected: &str| {
            let mut line = vec!["--state-dir", "/b"];
            line.extend(args);
            let error = resolve(&line, file).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        check(
            &["--sim", "3", "--listen", "127.0.0.1:65534"],
            None,
            "listen: 3 nodes from port 65534 on reach past port 65535",
        );
        check(&[], Some("sim = 0"), "sim: there is at least one node");
        check(
            &["--sim", "1", "--airtime", "bpf"],
            None,
            "airtime: is about real radios, and sim asks for simulated ones",
        );
        check(
            &["--sim", "1"],
            Some("[limits]\nmax-sessions = 0"),
            "limits.max-sessions: at least 1 is needed",
        );
        let no_file =
            "srsran-control: says something of a gNB, and srsran-config does not say which";
        check(&["--srsran-control", "127.0.0.1:8001"], None, no_file);
        check(
            &["--sim", "1", "--srsran-config", "/x/tranche.yml"],
            None,
            "srsran-config: is about real radios, and sim asks for simulated ones",
        );
        let missing = resolve(&["--sim", "1"], None).unwrap_err().to_string();
        assert!(missing.starts_with("state-dir is missing"), "{missing}");
    }

    #[test]
    fn the_help_names_every_key_of_the_file() {
        use clap::CommandFactory as _;
        let help = Args::command().render_long_help().to_string();
        let toml = "max-hello-bytes max-message-bytes max-depth max-attributes max-sessions \
                    max-unauthenticated max-auth-tries auth-timeout-s idle-timeout-s write-timeout-s \
                    max-pipelined-bytes notification-queue hello-timeout-s keepalive-s \
                    auth-failure-delay-ms";
        for key in toml.split_whitespace() {
            assert!(help.contains(key), "{key}");
        }
    }
}
