//! What a node advertises in its hello beyond the base: only what works.

use tranche_netconf::capability;
use tranche_yang::Schema;

/// The capabilities of a node with this schema.
#[must_use]
pub fn of(schema: &Schema, has_startup: bool) -> Vec<String> {
    let mut out: Vec<String> = [
        capability::WRITABLE_RUNNING,
        capability::CANDIDATE,
        capability::CONFIRMED_COMMIT,
        capability::ROLLBACK_ON_ERROR,
        capability::VALIDATE,
        "urn:ietf:params:netconf:capability:validate:1.0",
        capability::XPATH,
        capability::NOTIFICATION,
        capability::INTERLEAVE,
    ]
    .map(str::to_owned)
    .to_vec();
    out.push(format!(
        "{}?basic-mode=explicit&also-supported=report-all,report-all-tagged,trim",
        capability::WITH_DEFAULTS
    ));
    if has_startup {
        out.push(capability::STARTUP.to_owned());
    }
    out.push(schema.yang_library_capability());
    out.extend(
        schema
            .module_capabilities()
            .into_iter()
            .map(with_deviations),
    );
    out
}

/// RFC 6020 5.6.4: the capability of a module that is deviated from names the module with the deviations.
fn with_deviations(capability: String) -> String {
    if capability.starts_with("urn:ietf:params:xml:ns:yang:ietf-system?") {
        format!("{capability}&deviations=tranche-agent-deviations")
    } else {
        capability
    }
}
