//! What a node says that a change of it would do (`tranche-plan`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tranche_netconf::client::Client;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{Operation, Reply};
use tranche_netconf::xml::{Element, Fragment};

use super::read::{ReadError, mandatory, parsed};
use super::{Device, DeviceError, DeviceState, session};
use crate::inventory::Observed;

const PLAN: &str = "urn:tranche:yang:tranche-plan";

/// What a node would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forecast {
    /// How many nodes of its running configuration differ afterwards.
    pub changes: u32,
    /// How many stations and UEs lose their link.
    pub users_dropped: u32,
    /// What is done, in order.
    #[serde(rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<ForecastStep>,
    /// What it warns of.
    #[serde(rename = "warning", skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ForecastWarning>,
    /// Why it would refuse; tag, app-tag, path and message are those of its `rpc-error`.
    #[serde(skip)]
    pub refusals: Vec<RpcError>,
}

/// One step of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ForecastStep {
    /// Place in the order.
    pub number: u32,
    /// The domain that takes it, as in `wifi`.
    pub domain: String,
    /// Instance path at the node of what is changed.
    pub path: String,
    /// What is done, in words.
    pub action: String,
    /// How many stations and UEs lose their link.
    pub users_dropped: u32,
}

/// What a node warns of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForecastWarning {
    /// A number.
    pub number: u32,
    /// Its kind in `tranche-plan`, as in `shadowed`.
    pub kind: String,
    /// Instance path at the node of what it is about.
    pub path: String,
    /// The warning, in words.
    pub message: String,
}

/// A session on which a node is asked and nothing is changed: neither at the node nor in what is known of it here.
pub(crate) struct Asking {
    device: Device,
    client: Client,
    /// What the node has.
    pub(crate) has: Arc<Observed>,
}

impl Asking {
    /// Opens one and reads the node. No answer on it may take longer than `rpc_timeout`.
    ///
    /// # Errors
    /// When the node is away or cannot be read.
    pub(crate) async fn open(device: &Device, rpc_timeout: Duration) -> Result<Self, DeviceError> {
        if device.status().state != DeviceState::Connected {
            return Err(DeviceError::Away {
                node: device.node().clone(),
            });
        }
        let failed = |source| device.failed(source);
        let client = device.open(rpc_timeout).await.map_err(failed)?;
        let has = session::fetch(&device.shared, &client).await?;
        Ok(Self {
            device: device.clone(),
            client,
            has,
        })
    }

    /// What an edit would do.
    ///
    /// # Errors
    /// When the node refuses to say, does not answer, or answers what cannot be read.
    pub(crate) async fn forecast(&self, edit: &Fragment) -> Result<Forecast, DeviceError> {
        let answer = self.client.call(plan(edit)).await;
        let answer = answer.map_err(|source| self.device.failed(source))?;
        let Reply::Output(output) = answer else {
            let what = "plan was answered without output".to_owned();
            let source = tranche_netconf::Error::Protocol(what);
            return Err(self.device.failed(source));
        };
        Forecast::read(&output).map_err(|source| DeviceError::Read {
            node: self.device.node().clone(),
            source,
        })
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        if let Err(error) = self.client.close_session().await {
            tracing::debug!(node = self.device.node(), %error, "the session did not close in order");
        }
    }
}

impl Device {
    fn failed(&self, source: tranche_netconf::Error) -> DeviceError {
        DeviceError::Netconf {
            node: self.node().clone(),
            source,
        }
    }
}

/// The operation that asks a node what an edit would do.
fn plan(edit: &Fragment) -> Operation {
    let xml = format!("<plan xmlns=\"{PLAN}\"><config>{edit}</config></plan>");
    Operation::Other {
        namespace: PLAN.to_owned(),
        name: "plan".to_owned(),
        element: Fragment::from_trusted(xml),
    }
}

impl Forecast {
    /// Reads the output of the operation.
    ///
    /// # Errors
    /// It is not what the module says.
    pub(crate) fn read(output: &Fragment) -> Result<Self, ReadError> {
        let mut forecast = Self::default();
        for element in output.elements()? {
            let number = || element.text.parse().unwrap_or_default();
            match element.name.as_str() {
                "changes" => forecast.changes = number(),
                "users-dropped" => forecast.users_dropped = number(),
                "step" => forecast.steps.push(step(&element)?),
                "warning" => forecast.warnings.push(warning(&element)?),
                "refusal" => forecast.refusals.push(refusal(&element)?),
                _ => {}
            }
        }
        Ok(forecast)
    }
}

fn step(element: &Element) -> Result<ForecastStep, ReadError> {
    let leaf = |name| mandatory(element, "step", name);
    Ok(ForecastStep {
        number: parsed(element, "step", "number")?.unwrap_or_default(),
        domain: leaf("domain")?,
        path: leaf("path")?,
        action: leaf("action")?,
        users_dropped: parsed(element, "step", "users-dropped")?.unwrap_or_default(),
    })
}

fn warning(element: &Element) -> Result<ForecastWarning, ReadError> {
    let leaf = |name| mandatory(element, "warning", name);
    Ok(ForecastWarning {
        number: parsed(element, "warning", "number")?.unwrap_or_default(),
        kind: leaf("kind")?,
        path: leaf("path")?,
        message: leaf("message")?,
    })
}

fn refusal(element: &Element) -> Result<RpcError, ReadError> {
    let tag = mandatory(element, "refusal", "error-tag")?;
    let known = ErrorTag::ALL.into_iter().find(|one| one.as_str() == tag);
    let known = known.ok_or_else(|| ReadError::Value {
        leaf: "refusal/error-tag".to_owned(),
        value: tag,
    })?;
    let text = |name| element.child_text(name).map(str::to_owned);
    Ok(RpcError {
        app_tag: text("error-app-tag"),
        path: text("error-path"),
        ..RpcError::new(known, text("error-message").unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_with_its_refusals() {
        let output = format!(
            "<changes xmlns='{PLAN}'>3</changes><users-dropped xmlns='{PLAN}'>4</users-dropped>\
             <step xmlns='{PLAN}'><number>1</number><domain>ran</domain><path>/a:b</path><action>lock</action>\
             <users-dropped>4</users-dropped></step>\
             <warning xmlns='{PLAN}'><number>1</number><kind>recreated</kind><path>/a:b</path><message>anew</message></warning>\
             <refusal xmlns='{PLAN}'><number>1</number><error-tag>operation-failed</error-tag>\
             <error-app-tag>has-ues</error-app-tag><error-path>/a:b</error-path><error-message>no</error-message></refusal>"
        );
        let forecast = Forecast::read(&Fragment::parse(&output).unwrap()).unwrap();
        assert_eq!((forecast.changes, forecast.users_dropped), (3, 4));
        assert_eq!(forecast.steps[0].users_dropped, 4);
        assert_eq!(forecast.warnings[0].kind, "recreated");
        let error = &forecast.refusals[0];
        assert_eq!(error.app_tag.as_deref(), Some("has-ues"));
        assert_eq!(error.path.as_deref(), Some("/a:b"));
        let unknown = output.replace("operation-failed", "gone-fishing");
        assert!(Forecast::read(&Fragment::parse(&unknown).unwrap()).is_err());
    }
}
