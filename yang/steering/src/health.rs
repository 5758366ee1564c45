//! Health checks of applications as they are configured: the typed form, and what of it makes no sense. Pure.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, bad, check_host};
use crate::config::Empty;
use crate::{ApplicationConfig, SteeringConfig};

/// `health-check`. One of the probes is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HealthCheck {
    /// A frame has to come through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_through: Option<Empty>,
    /// An echo request has to be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_echo: Option<Ends>,
    /// A connection has to be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Connection>,
    /// A request has to be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Request>,
    /// Milliseconds from the beginning of one probe to that of the next.
    #[serde(default = "default_interval")]
    pub interval: u32,
    /// Milliseconds that an answer is waited for.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// Failures in a row after which one that is up is down.
    #[serde(default = "default_fall")]
    pub fall: u8,
    /// Successes in a row after which one that is down is up.
    #[serde(default = "default_rise")]
    pub rise: u8,
}

fn default_interval() -> u32 {
    1000
}

fn default_timeout() -> u32 {
    500
}

fn default_fall() -> u8 {
    3
}

fn default_rise() -> u8 {
    2
}

/// The grouping `checked-address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ends {
    /// The application's address.
    pub destination_address: IpAddr,
    /// The node's.
    pub source_address: IpAddr,
}

/// `tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Connection {
    /// From where to where.
    #[serde(flatten)]
    pub ends: Ends,
    /// The application's port.
    pub destination_port: u16,
}

/// `http`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// From where to where.
    #[serde(flatten)]
    pub ends: Ends,
    /// The application's port.
    #[serde(default = "default_port")]
    pub destination_port: u16,
    /// What is asked for.
    #[serde(default = "default_path")]
    pub path: String,
}

fn default_port() -> u16 {
    80
}

fn default_path() -> String {
    "/".to_owned()
}

impl Default for HealthCheck {
    /// Without a probe.
    fn default() -> Self {
        Self {
            pass_through: None,
            icmp_echo: None,
            tcp: None,
            http: None,
            interval: default_interval(),
            timeout: default_timeout(),
            fall: default_fall(),
            rise: default_rise(),
        }
    }
}

impl HealthCheck {
    /// From where to where it asks, with the name of the probe; `None` for one without addresses.
    #[must_use]
    pub fn ends(&self) -> Option<(&'static str, Ends)> {
        let echo = self.icmp_echo.map(|ends| ("icmp-echo", ends));
        let tcp = || self.tcp.map(|one| ("tcp", one.ends));
        let http = || self.http.as_ref().map(|one| ("http", one.ends));
        echo.or_else(tcp).or_else(http)
    }

    /// From the beginning of one probe to that of the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval.into())
    }

    /// For how long an answer is waited for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.into())
    }
}

/// Where answers to health checks come in, by the name of the port.
pub fn answers(config: &SteeringConfig) -> impl Iterator<Item = (&str, Ends)> {
    let applications = config.chains.iter().flat_map(|chain| &chain.applications);
    applications.filter_map(|one| {
        let (_, ends) = one.health_check.as_ref()?.ends()?;
        Some((one.port.as_str(), ends))
    })
}

/// Checks the health check of an application, whose path is `at`.
pub(crate) fn check_health(at: &str, application: &ApplicationConfig) -> Checked {
    let Some(check) = &application.health_check else {
        return Ok(());
    };
    let at = format!("{at}/health-check");
    let probes = [
        check.pass_through.is_some(),
        check.icmp_echo.is_some(),
        check.tcp.is_some(),
        check.http.is_some(),
    ];
    if probes.into_iter().filter(|is_there| *is_there).count() != 1 {
        return Err(bad(at, "a health check has one probe"));
    }
    if check.timeout > check.interval {
        let message = format!(
            "an answer is waited for {} ms, longer than the interval of {} ms",
            check.timeout, check.interval
        );
        return Err(bad(format!("{at}/timeout"), message));
    }
    if let Some((probe, ends)) = check.ends() {
        let (to, from) = (ends.destination_address, ends.source_address);
        check_host(&format!("{at}/{probe}/destination-address"), to)?;
        let at = format!("{at}/{probe}/source-address");
        check_host(&at, from)?;
        if to.is_ipv4() != from.is_ipv4() {
            let message = "a probe is sent between addresses of one family";
            return Err(bad(at, message));
        }
        if to == from {
            let message = format!("{from} is the application's address, and not the node's");
            return Err(bad(at, message));
        }
    }
    match &check.http {
        Some(request) if !is_path(&request.path) => Err(bad(
            format!("{at}/http/path"),
            "a path begins with '/' and has neither spaces nor letters that are not ASCII",
        )),
        _ => Ok(()),
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TOP, check};
    use serde_json::{Value, json};

    /// Where a health check is refused, below itself, and why.
    fn refused(health_check: Value) -> Option<(String, String)> {
        let config = json!({
            "port": [{ "name": "a0" }, { "name": "p1" }],
            "chain": [{
                "name": "c", "on-failure": "close", "forward": { "out-port": "p1" },
                "application": [{ "name": "x", "port": "a0", "health-check": health_check }],
            }],
        });
        let config: SteeringConfig = serde_json::from_value(config).unwrap();
        let fault = check(&config).err()?;
        let at = format!("{TOP}/chain[name='c']/application[name='x']/health-check");
        Some((fault.path.strip_prefix(&at)?.to_owned(), fault.message))
    }

    #[test]
    fn what_makes_no_sense_of_a_health_check_is_refused_where_it_is_written() {
        let ends =
            |to: &str, from: &str| json!({ "destination-address": to, "source-address": from });
        let with = |name: &str, value: &Value, more: Value| {
            let mut check = json!({ name: value });
            let more = more.as_object().unwrap().clone();
            check.as_object_mut().unwrap().extend(more);
            check
        };
        let echo = |to, from| with("icmp-echo", &ends(to, from), json!({}));
        let mut request = ends("10.9.0.2", "10.9.0.1");
        request["path"] = "status".into();
        let cases = [
            (json!({}), "", "one probe"),
            (
                json!({ "pass-through": [null], "interval": 100 }),
                "/timeout",
                "100 ms",
            ),
            (
                echo("10.9.0.2", "fd00::1"),
                "/icmp-echo/source-address",
                "one family",
            ),
            (
                echo("10.9.0.2", "10.9.0.2"),
                "/icmp-echo/source-address",
                "not the node's",
            ),
            (
                echo("224.0.0.1", "10.9.0.1"),
                "/icmp-echo/destination-address",
                "no address of a host",
            ),
            (
                echo("10.9.0.2", "0.0.0.0"),
                "/icmp-echo/source-address",
                "no address of a host",
            ),
            (
                with("http", &request, json!({})),
                "/http/path",
                "begins with '/'",
            ),
        ];
        for (check, path, message) in cases {
            let (at, why) = refused(check.clone()).expect("it is refused");
            assert_eq!(at, path, "{check}");
            assert!(why.contains(message), "{check}: {why}");
        }
        request["path"] = "/status?brief".into();
        for check in [
            json!({ "pass-through": [null] }),
            echo("fd00::2", "fd00::1"),
            with("http", &request, json!({ "interval": 500, "fall": 1 })),
        ] {
            assert_eq!(refused(check), None);
        }
    }
}
