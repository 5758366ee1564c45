//! What nodes report about PRB, over NETCONF sessions of our own.

use std::time::Duration;

use tokio::sync::mpsc;
use tranche_netconf::client::Client;
use tranche_netconf::message::{CreateSubscription, Notification};
use tranche_netconf::xml::Element;

use crate::error::Error;
use crate::stack::Node;
use crate::telemetry::connect;

/// One `prb-report` of `tranche-ran`.
#[derive(Debug, Clone, PartialEq)]
pub struct PrbReport {
    /// Length of the period.
    pub interval: Duration,
    /// What each slice profile got of each cell.
    pub profiles: Vec<OnCell>,
}

/// A slice profile on a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct OnCell {
    /// The cell.
    pub cell: String,
    /// The slice of the profile; empty for none.
    pub slice: String,
    /// UEs attached.
    pub ues: u32,
    /// Downlink and uplink.
    pub directions: [PrbUse; 2],
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrbUse {
    /// Percent of the cell's PRB.
    pub used: f64,
    /// Bit/s.
    pub throughput: u64,
    /// Mean delay of the packets that were sent, and that of 99 %, in µs; none where there was no packet.
    pub delay: Option<(u32, u32)>,
}

/// The reports of one node. The session closes when this is dropped.
#[derive(Debug)]
pub struct PrbReports {
    node: String,
    client: Client,
    notifications: mpsc::Receiver<Notification>,
}

impl PrbReports {
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
        let subscribed = client.create_subscription(subscription).await;
        subscribed.map_err(|source| Error::Netconf {
            node: node.name.clone(),
            source,
        })?;
        Ok(Self {
            node: node.name.clone(),
            client,
            notifications,
        })
    }

    /// The next report.
    ///
    /// # Errors
    /// When the session ends, or a report is not as `tranche-ran` says.
    pub async fn next(&mut self) -> Result<PrbReport, Error> {
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
            let elements = notification.content.elements();
            let elements = elements.map_err(|e| nonsense(e.to_string()))?;
            if let Some(report) = elements.iter().find(|e| e.name == "prb-report") {
                let whole = || nonsense(notification.content.as_str().to_owned());
                return read(report).ok_or_else(whole);
            }
        }
    }
}

pub(crate) fn read(report: &Element) -> Option<PrbReport> {
    let mut profiles = Vec::new();
    for cell in report.children("cell") {
        for profile in cell.children("slice-profile") {
            profiles.push(OnCell {
                cell: cell.child_text("name")?.to_owned(),
                slice: profile.child_text("slice").unwrap_or_default().to_owned(),
                ues: profile.child_text("ues")?.parse().ok()?,
                directions: [
                    direction(profile.child("down")?)?,
                    direction(profile.child("up")?)?,
                ],
            });
        }
    }
    Some(PrbReport {
        interval: Duration::from_millis(report.child_text("interval")?.parse().ok()?),
        profiles,
    })
}

fn direction(of: &Element) -> Option<PrbUse> {
    let us = |leaf: &str| of.child_text(leaf)?.parse().ok();
    Some(PrbUse {
        used: of.child_text("used-ratio")?.parse().ok()?,
        throughput: of.child_text("throughput")?.parse().ok()?,
        delay: us("delay").zip(us("delay-p99")),
    })
}
