//! Capability URIs (RFC 6241 8 and 10.4) and what two peers have in common.

/// `:base:1.0`: end-of-message framing.
pub const BASE_1_0: &str = "urn:ietf:params:netconf:base:1.0";
/// `:base:1.1`: chunked framing after the hello.
pub const BASE_1_1: &str = "urn:ietf:params:netconf:base:1.1";
/// `:writable-running` (RFC 6241 8.2).
pub const WRITABLE_RUNNING: &str = "urn:ietf:params:netconf:capability:writable-running:1.0";
/// `:candidate` (RFC 6241 8.3).
pub const CANDIDATE: &str = "urn:ietf:params:netconf:capability:candidate:1.0";
/// `:confirmed-commit:1.1` (RFC 6241 8.4).
pub const CONFIRMED_COMMIT: &str = "urn:ietf:params:netconf:capability:confirmed-commit:1.1";
/// `:rollback-on-error` (RFC 6241 8.5).
pub const ROLLBACK_ON_ERROR: &str = "urn:ietf:params:netconf:capability:rollback-on-error:1.0";
/// `:validate:1.1` (RFC 6241 8.6).
pub const VALIDATE: &str = "urn:ietf:params:netconf:capability:validate:1.1";
/// `:startup` (RFC 6241 8.7).
pub const STARTUP: &str = "urn:ietf:params:netconf:capability:startup:1.0";
/// `:xpath` (RFC 6241 8.9).
pub const XPATH: &str = "urn:ietf:params:netconf:capability:xpath:1.0";
/// `:notification` (RFC 5277 3.1).
pub const NOTIFICATION: &str = "urn:ietf:params:netconf:capability:notification:1.0";
/// `:interleave` (RFC 5277 6.1).
pub const INTERLEAVE: &str = "urn:ietf:params:netconf:capability:interleave:1.0";
/// `:with-defaults` without its query part (RFC 6243 4.3).
pub const WITH_DEFAULTS: &str = "urn:ietf:params:netconf:capability:with-defaults:1.0";

/// Whether `capabilities` has `uri`, whatever query follows it (`?basic-mode=explicit`).
#[must_use]
pub fn has(capabilities: &[impl AsRef<str>], uri: &str) -> bool {
    capabilities.iter().any(|capability| {
        let capability = capability.as_ref().trim();
        capability
            .split_once('?')
            .map_or(capability, |(base, _)| base)
            == uri
    })
}
