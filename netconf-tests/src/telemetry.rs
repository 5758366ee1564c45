//! What nodes report about airtime and PRB, over NETCONF sessions of our own.

use std::time::Duration;

use tokio::sync::mpsc;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{CreateSubscription, Notification};
use tranche_netconf::xml::Element;

use crate::error::Error;
use crate::prb::{self, PrbReport};
use crate::stack::Node;

/// One `airtime-report` of `tranche-wifi`.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Name of the node.
    pub node: String,
    /// Number of the period since the agent started.
    pub sequence: u64,
    /// Length of the period.
    pub interval: Duration,
    /// What each virtual interface got.
    pub vifs: Vec<Vif>,
}

/// One virtual interface of a [`Report`]. Ratios are percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Vif {
    /// Interface name.
    pub name: String,
    /// Its slice; empty for none.
    pub slice: String,
    /// Airtime used to send, of the period.
    pub used: f64,
    /// It had more to send than it was let.
    pub backlogged: bool,
    /// Minimum in force at the end of the period.
    pub effective_min: f64,
    /// Ceiling in force at the end of the period.
    pub effective_max: f64,
}

/// A report of either technology.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Of airtime.
    Airtime(Report),
    /// Of PRB.
    Prb {
        /// Name of the node.
        node: String,
        /// What it says.
        report: PrbReport,
    },
}

/// The reports of one node. The session closes when this is dropped.
#[derive(Debug)]
pub struct Reports {
    node: String,
    client: Client,
    notifications: mpsc::Receiver<Notification>,
}

/// Opens a session to a node as one of its users.
///
/// # Errors
/// When the node does not let us in.
pub async fn connect(
    node: &Node,
    user: &str,
    password: &str,
) -> Result<(Client, mpsc::Receiver<Notification>), Error> {
    let config = ClientConfig::new(
        node.address.to_string(),
        user,
        Auth::Password(password.to_owned()),
        HostKeyCheck::Pinned(node.host_key.clone()),
    );
    Client::connect(config).await.map_err(refused(&node.name))
}

impl Reports {
    /// Subscribes to the stream `telemetry` of a node (RFC 5277).
    ///
    /// # Errors
    /// When the node does not let us in or refuses the subscription.
    pub async fn subscribe(node: &Node, user: &str, password: &str) -> Result<Self, Error> {
        let (client, notifications) = connect(node, user, password).await?;
        let subscription = CreateSubscription {
            stream: "telemetry".to_owned(),
            filter: None,
            start_time: None,
            stop_time: None,
        };
        client
            .create_subscription(subscription)
            .await
            .map_err(refused(&node.name))?;
        Ok(Self {
            node: node.name.clone(),
            client,
            notifications,
        })
    }

    /// The next report of airtime. Nothing is lost where the future is dropped before it is done.
    ///
    /// # Errors
    /// When the session ends, or a report is not as the models say.
    pub async fn next(&mut self) -> Result<Report, Error> {
        loop {
            if let Heard::Airtime(report) = self.hear().await? {
                return Ok(report);
            }
        }
    }

    /// The next report of PRB, likewise.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_prb(&mut self) -> Result<PrbReport, Error> {
        loop {
            if let Heard::Prb { report, .. } = self.hear().await? {
                return Ok(report);
            }
        }
    }

    /// The next report of either technology, likewise.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn hear(&mut self) -> Result<Heard, Error> {
        loop {
            let Some(notification) = self.notifications.recv().await else {
                let reason = self.client.closed().await;
                return Err(Error::Netconf {
                    node: self.node.clone(),
                    source: tranche_netconf::Error::Closed { reason },
                });
            };
            let nonsense = |what: String| Error::Answer {
                from: format!("{} in a notification", self.node),
                what,
            };
            let elements = notification
                .content
                .elements()
                .map_err(|e| nonsense(e.to_string()))?;
            let named = |name: &str| elements.iter().find(|e| e.name == name);
            let heard = match (named("airtime-report"), named("prb-report")) {
                (Some(report), _) => read(&self.node, report).map(Heard::Airtime),
                (None, Some(report)) => prb::read(report).map(|report| Heard::Prb {
                    node: self.node.clone(),
                    report,
                }),
                (None, None) => continue,
            };
            return heard.ok_or_else(|| nonsense(notification.content.as_str().to_owned()));
        }
    }
}

fn refused(node: &str) -> impl FnOnce(tranche_netconf::Error) -> Error {
    move |source| Error::Netconf {
        node: node.to_owned(),
        source,
    }
}

fn read(node: &str, report: &Element) -> Option<Report> {
    let vifs = report
        .children("radio")
        .flat_map(|radio| radio.children("vif"));
    Some(Report {
        node: node.to_owned(),
        sequence: report.child_text("sequence")?.parse().ok()?,
        interval: Duration::from_millis(report.child_text("interval")?.parse().ok()?),
        vifs: vifs.map(vif).collect::<Option<_>>()?,
    })
}

fn vif(vif: &Element) -> Option<Vif> {
    let ratio = |name| vif.child_text(name)?.parse::<f64>().ok();
    Some(Vif {
        name: vif.child_text("name")?.to_owned(),
        slice: vif.child_text("slice").unwrap_or_default().to_owned(),
        used: ratio("used-ratio")?,
        backlogged: vif.child_text("backlogged") == Some("true"),
        effective_min: ratio("effective-min-ratio").unwrap_or(0.0),
        effective_max: ratio("effective-max-ratio").unwrap_or(100.0),
    })
}

#[cfg(test)]
mod tests {
    use tranche_netconf::xml::Fragment;

    use super::*;

    fn report(xml: &str) -> Option<Report> {
        let fragment = Fragment::from_trusted(xml.to_owned());
        read("node-1", &fragment.elements().unwrap()[0])
    }

    #[test]
    fn a_report_is_read() {
        let report = report(
            "<airtime-report xmlns='urn:tranche:yang:tranche-wifi'><sequence>7</sequence><interval>1000</interval>\
             <radio><name>phy0</name><busy>93.5</busy><vif><name>v1</name><slice>a</slice><used-ratio>41.25</used-ratio>\
             <backlogged>true</backlogged><effective-min-ratio>30.00</effective-min-ratio></vif></radio></airtime-report>",
        )
        .unwrap();
        assert_eq!(
            (report.sequence, report.interval),
            (7, Duration::from_secs(1))
        );
        let expected = Vif {
            name: "v1".to_owned(),
            slice: "a".to_owned(),
            used: 41.25,
            backlogged: true,
            effective_min: 30.0,
            effective_max: 100.0,
        };
        assert_eq!(report.vifs, [expected]);
    }

    #[test]
    fn a_report_without_sequence_is_none() {
        assert_eq!(
            report("<airtime-report><interval>1000</interval></airtime-report>"),
            None
        );
    }
}
