//! Which YANG modules and features the controller implements. Only what works is here: everything that a client can read
//! in `ietf-yang-library` follows from this list.

use tranche_yang::{Error, Schema};

/// Builds the controller's schema.
///
/// # Errors
/// A module that doesn't compile, which is a fault of the build.
pub fn build() -> Result<&'static Schema, Error> {
    Schema::builder()
        // For the attribute `operation` of edits; its operations are deviated away.
        .module("ietf-netconf", &[])
        .module("ietf-restconf", &[])
        .module("ietf-restconf-monitoring", &[])
        .server()
        .module("tranche-controller-deviations", &[])
        .module("tranche-inventory", &[])
        .module("tranche-slice", &[])
        .module("tranche-mec", &[])
        .module("tranche-sla", &[])
        .module("tranche-commits", &[])
        .module("tranche-dry-run", &[])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_carried_out_is_not_in_the_schema() {
        let schema = build().unwrap();
        for absent in [
            "/ietf-system:system/hostname",
            "/ietf-system:system/clock",
            "/ietf-system:system/ntp",
            "/ietf-system:system/radius",
            "/ietf-system:system/dns-resolver",
            "/ietf-system:system/authentication/user-authentication-order",
            "/ietf-system:system/authentication/user/authorized-key",
            "/ietf-system:system-state",
            "/ietf-system:system-restart",
            "/ietf-system:set-current-datetime",
            "/ietf-netconf:get-config",
            "/ietf-netconf:commit",
        ] {
            assert!(schema.node(absent).is_none(), "{absent}");
        }
        assert!(
            schema
                .node("/tranche-slice:slices/slice/state/oper-state")
                .is_some()
        );
    }

    #[test]
    fn secrets_are_marked() {
        let schema = build().unwrap();
        for secret in [
            "/ietf-system:system/authentication/user/password",
            "/tranche-slice:slices/slice/wifi/security/passphrase",
            "/tranche-slice:slices/slice/wifi/security/radius/secret",
        ] {
            assert!(schema.node(secret).unwrap().is_secret(), "{secret}");
        }
    }
}
