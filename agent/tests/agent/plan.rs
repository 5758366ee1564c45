//! What a change would do, asked for by a client: told in words, refused like the change itself, and nothing of it done.

use tempfile::TempDir;
use tranche_agent::store::{Store, Stored};
use tranche_netconf::Error;
use tranche_netconf::client::Client;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{Commit, CreateSubscription, Datastore, Operation, Reply};
use tranche_netconf::xml::Element;

use crate::ran::{base, change, profile, put, reaches, ues};
use crate::support::*;

const PLAN: &str = "urn:tranche:yang:tranche-plan";
const STEERING: &str = "urn:tranche:yang:tranche-steering";

/// The children of a reply's output, by name.
#[derive(Debug)]
struct Plan(Vec<Element>);

impl Plan {
    fn all(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.0.iter().filter(move |element| element.name == name)
    }

    /// A leaf of each entry of a list.
    fn texts(&self, list: &str, leaf: &str) -> Vec<&str> {
        let entries = self.all(list);
        entries.filter_map(|entry| entry.child_text(leaf)).collect()
    }

    fn leaf(&self, name: &str) -> &str {
        &self.all(name).next().unwrap().text
    }
}

async fn plan(client: &Client, input: &str) -> Result<Plan, Error> {
    let operation = Operation::Other {
        namespace: PLAN.to_owned(),
        name: "plan".to_owned(),
        element: fragment(&format!("<plan xmlns=\"{PLAN}\">{input}</plan>")),
    };
    match client.call(operation).await? {
        Reply::Output(output) => Ok(Plan(output.elements().unwrap())),
        other => panic!("no plan: {other:?}"),
    }
}

async fn plan_edit(client: &Client, edit: &str) -> Result<Plan, Error> {
    plan(client, &format!("<config>{edit}</config>")).await
}

fn remove_vif() -> String {
    format!(
        "<wifi xmlns=\"{WIFI}\" xmlns:nc=\"{NC}\"><vif nc:operation=\"remove\"><name>a</name></vif></wifi>"
    )
}

/// Ends an agent; what is on the disk of its node then, and where.
async fn journal(bench: Bench) -> (Stored, TempDir) {
    let Bench { agent, dir } = bench;
    agent.shutdown().await;
    let nodes = std::fs::read_dir(dir.path().join("state")).unwrap();
    let mut stores = nodes.map(|entry| entry.unwrap().path().join("store"));
    let store = Store::open(&stores.find(|store| store.is_dir()).unwrap()).unwrap();
    (store.load().unwrap().unwrap(), dir)
}

#[tokio::test]
async fn a_plan_names_steps_costs_and_warnings() {
    let (_bench, admin) = Bench::with_admin().await;
    eventually("the station associates", || async {
        let data = admin.get(Some(subtree(&vif("a"))), None).await.unwrap();
        data.as_str().contains("<stations>1</stations>")
    })
    .await;
    let planned = plan_edit(&admin, &remove_vif()).await.unwrap();
    assert_eq!(planned.leaf("users-dropped"), "1");
    let steps = planned.texts("step", "action");
    assert!(steps.contains(&"remove vif a"), "{steps:?}");
    assert_eq!(planned.texts("warning", "kind"), ["users-dropped"]);
    assert_eq!(
        planned.texts("warning", "message"),
        ["remove vif a: 1 station loses its link"]
    );
    assert_eq!(planned.all("refusal").count(), 0);
    // What is there already takes no step.
    let nothing = plan_edit(&admin, &set_country("DE")).await.unwrap();
    assert_eq!(nothing.leaf("changes"), "0");
    assert_eq!(nothing.all("step").count(), 0);
}

#[tokio::test]
async fn a_rule_that_is_never_reached_is_warned_of() {
    let (_bench, admin) = Bench::with_admin().await;
    let rule = |name: &str, more: &str| {
        format!(
            "<rule><name>{name}</name><slice>a</slice><match><in-port>ran0</in-port>{more}</match>\
             <forward><out-port>core0</out-port></forward></rule>"
        )
    };
    let edit = format!(
        "<steering xmlns=\"{STEERING}\"><port><name>ran0</name></port><port><name>core0</name></port>{}{}</steering>",
        rule("all", ""),
        rule("user", "<gtp><teid>1</teid></gtp>")
    );
    let planned = plan_edit(&admin, &edit).await.unwrap();
    assert_eq!(planned.texts("warning", "kind"), ["shadowed"]);
    assert_eq!(
        planned.texts("warning", "path"),
        ["/tranche-steering:steering/rule[name='user']"]
    );
    assert_eq!(planned.leaf("users-dropped"), "0");
}

#[tokio::test]
async fn another_plmn_is_told_as_delete_and_create_with_its_ues_and_what_refuses_it() {
    let (_bench, admin) = Bench::with_admin().await;
    put(&admin, &[base(), profile(1, "20"), ues(1)]).await;
    reaches(&admin, 1, "<ues>4</ues>").await;
    let other = "<mnc>02</mnc><access nc:operation=\"replace\"><imsi-range><first>001020000000001</first>\
                 <last>001020000000099</last></imsi-range></access>";
    let edit = change(1, other);
    let planned = plan_edit(&admin, &edit).await.unwrap();
    let recreated = planned.texts("warning", "message");
    assert_eq!(
        recreated,
        [
            "slice profile s1 is deleted and created anew, PLMN 001-01, SST 1 becomes PLMN 001-02, SST 1: \
             4 UEs lose its service"
        ]
    );
    assert_eq!(planned.texts("warning", "kind"), ["recreated"]);
    assert_eq!(planned.leaf("users-dropped"), "4");
    // And the refusal is the one of the change itself.
    let [refusal] = planned.all("refusal").collect::<Vec<_>>()[..] else {
        panic!("{planned:?}");
    };
    let error = refused(edit_running(&admin, &edit).await);
    let told = |leaf| refusal.child_text(leaf);
    assert_eq!(told("error-tag"), Some(error.tag.as_str()));
    assert_eq!(told("error-app-tag"), error.app_tag.as_deref());
    assert_eq!(told("error-path"), error.path.as_deref());
    assert_eq!(told("error-message"), error.message.as_deref());
    assert_eq!(error.app_tag.as_deref(), Some("has-ues"));
}

#[tokio::test]
async fn what_no_change_could_be_is_refused_as_the_change_is() {
    let (bench, admin) = Bench::with_admin().await;
    let reader = bench.client("reader").await;
    let bad = [
        set_country("Deutschland"),
        access_point("b", "phy9"),
        format!("<wifi xmlns=\"{WIFI}\"><antenna>1</antenna></wifi>"),
        "<x xmlns=\"urn:nobody\"/>".to_owned(),
    ];
    for edit in bad {
        let told = refused(plan_edit(&admin, &edit).await);
        let error = refused(edit_running(&admin, &edit).await);
        assert_eq!((told.tag, &told.path), (error.tag, &error.path), "{edit}");
    }
    let denied = refused(plan_edit(&reader, &set_country("FR")).await);
    assert_eq!(denied.tag, ErrorTag::AccessDenied);
    let tag = |error: RpcError| error.tag;
    let missing = refused(plan(&admin, "").await);
    assert_eq!(tag(missing), ErrorTag::MissingElement);
    let both = format!("<candidate/><config>{}</config>", set_country("FR"));
    assert!(plan(&admin, &both).await.is_err());
    let odd = "<default-operation>create</default-operation><config/>";
    assert_eq!(
        tag(refused(plan(&admin, odd).await)),
        ErrorTag::InvalidValue
    );
    // A lock of somebody else stands in the way of a plan as of the change.
    let other = bench.admin().await;
    other.lock(Datastore::Running).await.unwrap();
    let told = refused(plan_edit(&admin, &set_country("FR")).await);
    let error = refused(edit_running(&admin, &set_country("FR")).await);
    assert_eq!((told.tag, told.message), (error.tag, error.message));
    other.unlock(Datastore::Running).await.unwrap();
    plan_edit(&admin, &set_country("FR")).await.unwrap();
}

#[tokio::test]
async fn the_candidate_is_planned_as_it_is_and_stays() {
    let (_bench, admin) = Bench::with_admin().await;
    edit_candidate(&admin, &set_channel(44)).await.unwrap();
    let planned = plan(&admin, "<candidate/>").await.unwrap();
    let actions = planned.texts("step", "action");
    assert_eq!(actions, ["put radio phy0 on 5GHz channel 44, 20MHz"]);
    let channel = format!("<wifi xmlns=\"{WIFI}\"><radio><channel/></radio></wifi>");
    let of = |datastore| config(&admin, datastore, &channel);
    assert!(of(Datastore::Candidate).await.contains(">44<"));
    assert!(of(Datastore::Running).await.contains(">36<"));
    commit(&admin).await.unwrap();
    assert!(of(Datastore::Running).await.contains(">44<"));
    let empty = plan(&admin, "<candidate/>").await.unwrap();
    assert_eq!(empty.leaf("changes"), "0");
}

#[tokio::test]
async fn nothing_changes_by_a_plan() {
    let edits = [remove_vif(), set_channel(44), set_location("never")];
    let (bench, admin) = Bench::with_admin().await;
    let confirmed = Commit {
        confirmed: true,
        persist: Some("kept".to_owned()),
        ..Commit::default()
    };
    edit_candidate(&admin, &set_location("as it is"))
        .await
        .unwrap();
    admin.commit(&confirmed).await.unwrap();
    edit_candidate(&admin, &set_location("work in progress"))
        .await
        .unwrap();
    let before = admin.get_config(Datastore::Running, None, None).await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let subscribe = CreateSubscription {
        stream: "NETCONF".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(subscribe).await.unwrap();
    for edit in &edits {
        plan_edit(&admin, edit).await.unwrap();
    }
    let after = admin.get_config(Datastore::Running, None, None).await;
    assert_eq!(before.unwrap(), after.unwrap());
    let candidate = format!("<system xmlns=\"{SYSTEM}\"><location/></system>");
    let candidate = config(&admin, Datastore::Candidate, &candidate).await;
    assert!(candidate.contains("work in progress"), "{candidate}");
    // The open confirmed commit is as untouched as all else, and the first that is told of is its end.
    admin.cancel_commit(Some("kept")).await.unwrap();
    let first = events.recv().await.unwrap();
    assert!(!first.content.as_str().contains("phy0"), "{first:?}");
    assert!(first.content.as_str().contains("netconf-"), "{first:?}");
    let before = journal(bench).await;
    let bench = Bench::on(before.1, |_| ()).await;
    let admin = bench.admin().await;
    for edit in &edits {
        plan_edit(&admin, edit).await.unwrap();
    }
    // No lock is left.
    admin.lock(Datastore::Candidate).await.unwrap();
    admin.lock(Datastore::Running).await.unwrap();
    assert_eq!(journal(bench).await.0, before.0);
}
