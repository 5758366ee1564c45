//! Which YANG modules and features the agent implements. Only what works is here: everything that a client can read in
//! `ietf-yang-library` and the capabilities follows from this list.

use std::path::PathBuf;

use tranche_yang::Schema;

use crate::error::Error;

/// Builds the schema of the nodes of this process. Only simulated nodes have a world to configure.
///
/// # Errors
/// An extra module that cannot be read or compiled, with file and line.
pub fn build(
    extra: &[PathBuf],
    startup_datastore: bool,
    is_simulated: bool,
) -> Result<&'static Schema, Error> {
    let mut netconf = vec![
        "writable-running",
        "candidate",
        "confirmed-commit",
        "rollback-on-error",
        "validate",
        "xpath",
    ];
    if startup_datastore {
        netconf.push("startup");
    }
    let mut builder = Schema::builder()
        .module("ietf-netconf", &netconf)
        .module("ietf-netconf-monitoring", &[])
        .module("ietf-netconf-notifications", &[])
        .module("nc-notifications", &[])
        .server()
        .module("tranche-agent-deviations", &[])
        .module("tranche-wifi", &[])
        .module("tranche-backhaul", &[])
        .module("tranche-ran", &[])
        .module("tranche-steering", &[])
        .module("tranche-plan", &[]);
    if is_simulated {
        builder = builder.module("tranche-sim", &[]);
    }
    for path in extra {
        builder = builder.file(path);
    }
    builder.build().map_err(Error::Schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_carried_out_is_not_in_the_schema() {
        let schema = build(&[], false, true).unwrap();
        for absent in [
            "/ietf-system:system/hostname",
            "/ietf-system:system/clock",
            "/ietf-system:system/ntp",
            "/ietf-system:system/radius",
            "/ietf-system:system/dns-resolver",
            "/ietf-system:system/authentication/user-authentication-order",
            "/ietf-system:system-restart",
            "/ietf-system:set-current-datetime",
        ] {
            assert!(schema.node(absent).is_none(), "{absent}");
        }
        let hardware = build(&[], false, false).unwrap();
        assert!(hardware.node("/tranche-sim:sim").is_none());
        assert!(
            schema
                .node("/ietf-system:system/authentication/user/name")
                .is_some()
        );
    }

    #[test]
    fn secrets_are_marked() {
        let schema = build(&[], false, true).unwrap();
        for secret in [
            "/ietf-system:system/authentication/user/password",
            "/tranche-wifi:wifi/vif/access-point/security/passphrase",
            "/tranche-wifi:wifi/vif/access-point/security/radius/secret",
            "/tranche-wifi:wifi/vif/mesh-point/passphrase",
            "/tranche-sim:sim/station/passphrase",
            "/tranche-backhaul:backhaul/tunnel/peer/preshared-key",
            "/tranche-backhaul:backhaul/tunnel/peer/next/preshared-key",
        ] {
            assert!(schema.node(secret).unwrap().is_secret(), "{secret}");
        }
    }

    #[test]
    fn features_are_those_that_work() {
        let features = build(&[], false, true).unwrap().features();
        assert!(
            !features["ietf-netconf"]
                .iter()
                .any(|f| f == "url" || f == "startup")
        );
        assert_eq!(features["iana-crypt-hash"].len(), 2);
    }
}
