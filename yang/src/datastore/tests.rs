use tranche_netconf::xml::Fragment;

use super::*;

#[test]
fn a_candidate_that_is_edited_for_ever_does_not_grow_for_ever() {
    let schema = Schema::builder()
        .module("ietf-netconf", &[])
        .module("tranche-wifi", &[])
        .build()
        .unwrap();
    let mut datastores = Datastores::new(schema, Tree::empty(schema), None).unwrap();
    for n in 0..3 * MAX_PENDING {
        let country = ["DE", "FR"][n % 2];
        let config = format!(
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\"><country>{country}</country></wifi>"
        );
        let request = EditConfig {
            target: Datastore::Candidate,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::from_trusted(config),
        };
        datastores.edit_candidate(1, &request).unwrap();
        assert!(datastores.pending.ops.len() < MAX_PENDING);
    }
    let proposal = datastores.propose_commit(1).unwrap();
    datastores.accept(proposal).unwrap();
    let country = datastores.running().value("/tranche-wifi:wifi/country");
    assert_eq!(country.as_deref(), Some("FR"));
    assert!(!datastores.candidate_modified());
}
