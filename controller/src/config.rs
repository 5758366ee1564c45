//! Settings: the command line and the TOML file behind `--config`, merged, checked and typed.
//!
//! Owns names, defaults and limits of settings. What they mean is up to the modules that receive them. Precedence:
//! command line, then file, then default. A key that is not known is refused, with its line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

/// Where the controller listens when nothing says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The SDN controller of Tranche.
#[derive(Debug, Parser)]
#[command(name = "tranche-controller", version, about, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Settings.
    #[command(flatten)]
    pub options: Options,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const LONG_ABOUT: &str = "\
Serves slice intent over RESTCONF, compiles it to the configuration of every node concerned, puts it there over NETCONF \
in one network-wide transaction, and corrects airtime ratios until what each slice was promised is met.

Everything the controller knows is in the state directory: its datastore, the history of commits, and the private keys \
it logs in with at nodes. One process uses a state directory at a time.";

const AFTER_HELP: &str = "\
FILES
  STATE-DIR/store/       datastore and commit history
  STATE-DIR/keys/NAME    private keys (ed25519, OpenSSH form, mode 0600); the inventory's credentials name them

CONFIGURATION FILE
  TOML; the command line wins. Every key with its default:

    listen = \"127.0.0.1:8080\"
    state-dir = \"/var/lib/tranche-controller\"
    factory-default = \"...\"        # no default
    log = \"info\"
    log-format = \"text\"            # or \"json\"

    [tls]                          # no default; both or none
    cert = \"...\"
    key = \"...\"

    [http]
    body-bytes = 16777216          # largest request body
    connections = 1024             # open at once
    header-timeout-ms = 10000      # to send a request's headers
    body-timeout-ms = 30000        # to send its body
    event-streams = 256            # open at once
    failed-logins-per-minute = 10  # of one address

    [nodes]
    connect-timeout-ms = 10000     # TCP, key exchange, login and hello
    rpc-timeout-ms = 20000         # one answer
    confirm-timeout-ms = 60000     # what nodes wait for the confirmation of a commit: whole seconds; half of it to commit
    keepalive-ms = 10000           # between liveness checks of a session
    fan-out = 256                  # nodes changed at once

    [history]
    commits = 200                  # kept on disk
    periods = 900                  # of the global scheduler, kept in memory

OUTPUT
  One line on standard output when it serves:
    listening restconf=http://127.0.0.1:8080/restconf page=http://127.0.0.1:8080/
  The log goes to standard error.

EXIT STATUS
  0 after SIGTERM or SIGINT; 1 when it could not start or go on; 2 for a wrong command line.

EXAMPLES
  Make the key that a credential names and print the line that a node needs, before anything runs:
    tranche-controller --state-dir /var/lib/tranche-controller public-key main
  Serve:
    tranche-controller --state-dir /var/lib/tranche-controller --factory-default factory.json";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the public half of a private key of the state directory; makes the key when there is none.
    PublicKey {
        /// File name below STATE-DIR/keys, as in the inventory's credential/key.
        name: String,
    },
}

/// Options of the command line.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Address and port of RESTCONF and the page [default: 127.0.0.1:8080]; port 0 takes a free one. An address that
    /// is not loopback needs a certificate.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Directory of everything that is kept [default: /var/lib/tranche-controller].
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Instance data (.json or .xml) to start from when the state directory is empty.
    #[arg(long, value_name = "FILE")]
    pub factory_default: Option<PathBuf>,
    /// TOML file with settings.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Certificate chain, PEM: serves HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// What to log: a level, or directives such as tranche_controller=debug,info [default: info].
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How to log.
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where RESTCONF and the page are served.
    pub listen: SocketAddr,
    /// What is kept.
    pub state_dir: PathBuf,
    /// What to start from when nothing is kept yet.
    pub factory_default: Option<PathBuf>,
    /// Certificate and key; none means loopback only.
    pub tls: Option<TlsFiles>,
    /// Limits of the HTTP server.
    pub http: Http,
    /// Time limits towards nodes.
    pub nodes: Nodes,
    /// How much of the past is kept.
    pub history: History,
    /// Filter of the log.
    pub log: String,
    /// Form of the log.
    pub log_format: LogFormat,
}

/// Files of the server's identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// Largest request body.
    pub body_bytes: usize,
    /// Connections open at once.
    pub connections: usize,
    /// Time a client has to send the headers of a request.
    pub header_timeout: Duration,
    /// Time a client has to send the body of a request.
    pub body_timeout: Duration,
    /// Event streams open at once.
    pub event_streams: usize,
    /// Failed logins of one address in a minute before it has to wait.
    pub failed_logins_per_minute: u32,
}

/// Time limits towards nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// Until a session is up.
    pub connect_timeout: Duration,
    /// Until an RPC is answered.
    pub rpc_timeout: Duration,
    /// What a node is told to wait for the confirmation of a commit.
    pub confirm_timeout: Duration,
    /// Between liveness checks of a session.
    pub keepalive: Duration,
    /// Nodes that are changed at once.
    pub fan_out: usize,
}

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Commits on disk.
    pub commits: usize,
    /// Periods of the global scheduler in memory.
    pub periods: usize,
}

/// Why settings were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file isn't what it should be.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// A number out of range.
    #[error("{key} = {value} is out of range: {range}")]
    Range {
        /// Section and key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// Nobody may read passwords off the network.
    #[error(
        "{listen} is not a loopback address and no certificate is given: \
         use --tls-cert and --tls-key, or listen on 127.0.0.1 or [::1]"
    )]
    PlainText {
        /// The address asked for.
        listen: SocketAddr,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    listen: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    factory_default: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    tls: Option<TlsFiles>,
    http: HttpSection,
    nodes: NodesSection,
    history: HistorySection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct HttpSection {
    body_bytes: u64,
    connections: u64,
    header_timeout_ms: u64,
    body_timeout_ms: u64,
    event_streams: u64,
    failed_logins_per_minute: u64,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            connections: 1024,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            event_streams: 256,
            failed_logins_per_minute: 10,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct NodesSection {
    connect_timeout_ms: u64,
    rpc_timeout_ms: u64,
    confirm_timeout_ms: u64,
    keepalive_ms: u64,
    fan_out: u64,
}

impl Default for NodesSection {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            rpc_timeout_ms: 20_000,
            confirm_timeout_ms: 60_000,
            keepalive_ms: 10_000,
            fan_out: 256,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct HistorySection {
    commits: u64,
    periods: u64,
}

impl Default for HistorySection {
    fn default() -> Self {
        Self {
            commits: 200,
            periods: 900,
        }
    }
}

impl Config {
    /// Merges the command line with the file that it names.
    ///
    /// # Errors
    /// A file that can't be read or has an unknown key, a number out of range, or an address that would send passwords
    /// in the clear over a network.
    pub fn load(options: &Options) -> Result<Self, ConfigError> {
        let file = match &options.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        Self::merge(options, file)
    }

    fn merge(options: &Options, file: File) -> Result<Self, ConfigError> {
        let tls = match (&options.tls_cert, &options.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
            }),
            _ => file.tls,
        };
        let config = Self {
            listen: options.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN),
            state_dir: options
                .state_dir
                .clone()
                .or(file.state_dir)
                .unwrap_or_else(|| PathBuf::from("/var/lib/tranche-controller")),
            factory_default: options.factory_default.clone().or(file.factory_default),
            tls,
            http: file.http.check()?,
            nodes: file.nodes.check()?,
            history: file.history.check()?,
            log: options
                .log
                .clone()
                .or(file.log)
                .unwrap_or_else(|| "info".to_owned()),
            log_format: options.log_format.or(file.log_format).unwrap_or_default(),
        };
        if config.tls.is_none() && !config.listen.ip().is_loopback() {
            return Err(ConfigError::PlainText {
                listen: config.listen,
            });
        }
        Ok(config)
    }
}

impl HttpSection {
    fn check(&self) -> Result<Http, ConfigError> {
        Ok(Http {
            body_bytes: size(
                "http.body-bytes",
                self.body_bytes,
                1024,
                1 << 30,
                "1024 to 1073741824",
            )?,
            connections: size(
                "http.connections",
                self.connections,
                1,
                65_536,
                "1 to 65536",
            )?,
            header_timeout: millis("http.header-timeout-ms", self.header_timeout_ms)?,
            body_timeout: millis("http.body-timeout-ms", self.body_timeout_ms)?,
            event_streams: size(
                "http.event-streams",
                self.event_streams,
                1,
                65_536,
                "1 to 65536",
            )?,
            failed_logins_per_minute: u32::try_from(range(
                "http.failed-logins-per-minute",
                self.failed_logins_per_minute,
                1,
                1_000_000,
                "1 to 1000000",
            )?)
            .unwrap_or(u32::MAX),
        })
    }
}

impl NodesSection {
    fn check(&self) -> Result<Nodes, ConfigError> {
        Ok(Nodes {
            connect_timeout: millis("nodes.connect-timeout-ms", self.connect_timeout_ms)?,
            rpc_timeout: millis("nodes.rpc-timeout-ms", self.rpc_timeout_ms)?,
            confirm_timeout: confirm_timeout(self.confirm_timeout_ms)?,
            keepalive: millis("nodes.keepalive-ms", self.keepalive_ms)?,
            fan_out: size("nodes.fan-out", self.fan_out, 1, 4096, "1 to 4096")?,
        })
    }
}

impl HistorySection {
    fn check(&self) -> Result<History, ConfigError> {
        Ok(History {
            commits: size("history.commits", self.commits, 1, 10_000, "1 to 10000")?,
            periods: size("history.periods", self.periods, 1, 100_000, "1 to 100000")?,
        })
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|e| ConfigError::Parse {
        path: path.to_owned(),
        message: e.to_string(),
    })
}

fn range(
    key: &'static str,
    value: u64,
    min: u64,
    max: u64,
    range: &'static str,
) -> Result<u64, ConfigError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::Range { key, value, range })
    }
}

fn size(
    key: &'static str,
    value: u64,
    min: u64,
    max: u64,
    words: &'static str,
) -> Result<usize, ConfigError> {
    range(key, value, min, max, words).map(|v| usize::try_from(v).unwrap_or(usize::MAX))
}

/// NETCONF has whole seconds for it (RFC 6241 8.4.5.1).
fn confirm_timeout(value: u64) -> Result<Duration, ConfigError> {
    let words = "2000 to 3600000, whole seconds";
    let least = if value.is_multiple_of(1000) {
        2000
    } else {
        u64::MAX
    };
    range("nodes.confirm-timeout-ms", value, least, 3_600_000, words).map(Duration::from_millis)
}

fn millis(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    range(key, value, 10, 3_600_000, "10 to 3600000").map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn merge(args: &[&str], file: &str) -> Result<Config, String> {
        let cli = Cli::try_parse_from([&["tranche-controller"], args].concat())
            .map_err(|e| e.to_string())?;
        let file: File = toml::from_str(file).map_err(|e| e.to_string())?;
        Config::merge(&cli.options, file).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nstate-dir = \"/a\"\n[http]\nconnections = 7";
        let config = merge(&["--listen", "127.0.0.1:2"], file).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.state_dir, PathBuf::from("/a"));
        assert_eq!(config.http.connections, 7);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = merge(&[], "[http]\nconections = 7").unwrap_err();
        assert!(
            error.contains("line 2") && error.contains("conections"),
            "{error}"
        );
    }

    #[test]
    fn a_number_out_of_range_is_refused_by_name() {
        let error = merge(&[], "[history]\ncommits = 0").unwrap_err();
        assert_eq!(error, "history.commits = 0 is out of range: 1 to 10000");
        for odd in ["1000", "2500"] {
            let error = merge(&[], &format!("[nodes]\nconfirm-timeout-ms = {odd}")).unwrap_err();
            assert!(error.contains("nodes.confirm-timeout-ms"), "{error}");
        }
    }

    #[test]
    fn plain_text_stays_on_loopback() {
        let error = merge(&["--listen", "0.0.0.0:80"], "").unwrap_err();
        assert!(
            error.starts_with("0.0.0.0:80 is not a loopback address"),
            "{error}"
        );
        let tls = [
            "--listen",
            "0.0.0.0:80",
            "--tls-cert",
            "c",
            "--tls-key",
            "k",
        ];
        assert!(merge(&tls, "").is_ok());
        assert!(merge(&["--listen", "[::1]:80"], "").is_ok());
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(
            merge(&["--tls-cert", "c"], "")
                .unwrap_err()
                .contains("--tls-key")
        );
        assert!(
            merge(&[], "[tls]\ncert = \"c\"")
                .unwrap_err()
                .contains("key")
        );
    }

    #[test]
    fn the_help_shows_every_key_with_its_default() {
        let shown: String = AFTER_HELP
            .lines()
            .skip_while(|l| !l.contains("[http]"))
            .take_while(|l| !l.starts_with("OUTPUT"))
            .map(|l| format!("{}\n", l.trim()))
            .collect();
        let config = merge(&[], &shown).unwrap();
        assert_eq!(config, merge(&[], "").unwrap());
    }
}
