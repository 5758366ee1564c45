//! `tranche-plan` as NETCONF sees it: which change is asked about, and the plan in the words of the module.
//!
//! What a change would do is worked out in [`crate::transaction`].

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Reply, TestOption,
};
use tranche_netconf::xml::Fragment;
use tranche_yang::{Operation, Schema};

use crate::error::Error;
use crate::node::data;
use crate::transaction::{Forecast, Propose};

const NAMESPACE: &str = "urn:tranche:yang:tranche-plan";
const PATH: &str = "/tranche-plan:plan";

/// A change that is asked about.
#[derive(Debug)]
pub(crate) enum Change {
    /// An edit of running.
    Edit(EditConfig),
    /// A commit of the candidate.
    Candidate,
}

impl Change {
    /// The change in a request; `element` is its text, because attributes of an edit are no data.
    ///
    /// # Errors
    /// It names none, or two.
    pub(crate) fn of(operation: &Operation, element: &Fragment) -> Result<Self, Vec<Error>> {
        let input = operation.data();
        let malformed = |error: tranche_netconf::xml::XmlError| {
            let error = RpcError::new(ErrorTag::MalformedMessage, error.to_string());
            vec![Error::Rule(error)]
        };
        let config = element.content_of(NAMESPACE, "config").map_err(malformed)?;
        let has_candidate = input.get("candidate").is_some();
        match config {
            None if has_candidate => Ok(Self::Candidate),
            Some(config) if !has_candidate => Ok(Self::Edit(EditConfig {
                target: Datastore::Running,
                default_operation: match input.get("default-operation") {
                    Some("replace") => DefaultOperation::Replace,
                    Some("none") => DefaultOperation::None,
                    _ => DefaultOperation::Merge,
                },
                test_option: TestOption::TestOnly,
                error_option: ErrorOption::RollbackOnError,
                config,
            })),
            _ => {
                let error = RpcError::new(
                    ErrorTag::MissingElement,
                    "a plan is of config or of candidate",
                )
                .at(PATH)
                .with_info("bad-element", "config");
                Err(vec![Error::Rule(error)])
            }
        }
    }

    /// Works it out.
    pub(crate) fn propose(self, session: u32) -> Propose {
        match self {
            Self::Edit(edit) => Box::new(move |datastores| datastores.propose_edit(session, &edit)),
            Self::Candidate => Box::new(move |datastores| datastores.propose_commit(session)),
        }
    }
}

/// The reply with a plan.
///
/// # Errors
/// The output is not what the module says, which is a fault of this agent.
pub(crate) fn reply(schema: &'static Schema, forecast: &Forecast) -> Result<Reply, Vec<Error>> {
    let one = |error| data(vec![error]);
    let mut output = schema.new_output(PATH).map_err(one)?;
    let mut set = |leaf: String, value: &str| output.set(&leaf, value).map_err(one);
    set("changes".to_owned(), &forecast.changes.to_string())?;
    let dropped = forecast.users_dropped();
    set("users-dropped".to_owned(), &dropped.to_string())?;
    for (number, (domain, step)) in (1..).zip(&forecast.steps) {
        let leaf = |leaf: &str| format!("step[number='{number}']/{leaf}");
        set(leaf("domain"), domain)?;
        set(leaf("path"), &step.path)?;
        set(leaf("action"), &step.action)?;
        let dropped = step.cost.stations_dropped();
        if dropped > 0 {
            set(leaf("users-dropped"), &dropped.to_string())?;
        }
    }
    for (number, warning) in (1..).zip(&forecast.warnings) {
        let leaf = |leaf: &str| format!("warning[number='{number}']/{leaf}");
        set(leaf("kind"), warning.kind.as_str())?;
        set(leaf("path"), &warning.path)?;
        set(leaf("message"), &warning.message)?;
    }
    for (number, refusal) in (1..).zip(&forecast.refusals) {
        let error = Error::Refused(refusal.clone()).to_rpc_error();
        let leaf = |leaf: &str| format!("refusal[number='{number}']/{leaf}");
        set(leaf("error-tag"), error.tag.as_str())?;
        if let Some(app_tag) = &error.app_tag {
            set(leaf("error-app-tag"), app_tag)?;
        }
        if let Some(path) = &error.path {
            set(leaf("error-path"), path)?;
        }
        if let Some(message) = &error.message {
            set(leaf("error-message"), message)?;
        }
    }
    Ok(Reply::Output(output.to_fragment()))
}
