//! Access control (RFC 8341): who may execute, read, write and hear what.
//!
//! Rules come from `/ietf-netconf-acm:nacm` of running. A [`Nacm`] is built at each commit and shares its counters with
//! the one before. Users come from the transport; the recovery session and external groups are the caller's to say.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tranche_netconf::error::ErrorTag;

use crate::diff::{Diff, NetChange};
use crate::error::{Error, Result};
use crate::ffi::{Kind, Raw, SRaw};
use crate::rpc::Operation;
use crate::tree::{Node, Tree};

const MODULE: &str = "ietf-netconf-acm";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct User {
    /// User name, as authenticated by the transport.
    pub name: String,
    /// Groups that the transport reports (RFC 8341 `enable-external-groups`).
    pub groups: Vec<String>,
    /// A recovery session, which nothing is denied to.
    pub recovery: bool,
}

impl User {
    /// A user without external groups.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// Kinds of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Create,
    Read,
    Update,
    Delete,
    Exec,
}

impl Access {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Exec => "exec",
        }
    }
}

/// How often something was denied since start.
#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU32,
    writes: AtomicU32,
    notifications: AtomicU32,
}

/// What a rule is about.
enum Target {
    /// Everything in its modules.
    Any,
    Rpc(String),
    Notification(String),
    Path(Vec<Segment>),
}

/// One step of a rule's path.
struct Segment {
    schema: SRaw,
    keys: Vec<(String, String)>,
}

struct Rule {
    name: String,
    /// `None` is every module.
    module: Option<String>,
    target: Target,
    /// Names of accesses; `None` is all.
    access: Option<Vec<String>>,
    permit: bool,
}

struct RuleList {
    groups: Vec<String>,
    rules: Vec<Arc<Rule>>,
}

/// The access control in force.
pub struct Nacm {
    enabled: bool,
    read_default: bool,
    write_default: bool,
    exec_default: bool,
    external_groups: bool,
    /// Users of each group.
    groups: HashMap<String, Vec<String>>,
    lists: Vec<RuleList>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Nacm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nacm")
            .field("enabled", &self.enabled)
            .field("rule_lists", &self.lists.len())
            .finish_non_exhaustive()
    }
}

/// A rule while a tree is walked: how much of its path is matched.
#[derive(Clone)]
struct Active {
    rule: Arc<Rule>,
    /// `None`: matched whole; `Some(n)`: the first `n` steps match.
    depth: Option<usize>,
}

impl Nacm {
    /// Reads the rules. Without any the RFC's defaults hold: reading and executing permitted, writing denied.
    ///
    /// # Errors
    /// A rule whose path names no node of the schema.
    pub fn from_running(running: &Tree) -> Result<Self> {
        Self::read(running, Arc::default())
    }

    /// Reads the rules again after a commit; the counters go on.
    ///
    /// # Errors
    /// As [`Self::from_running`].
    pub fn reload(&self, running: &Tree) -> Result<Self> {
        Self::read(running, Arc::clone(&self.counters))
    }

    fn read(running: &Tree, counters: Arc<Counters>) -> Result<Self> {
        let mut out = Self {
            enabled: true,
            read_default: true,
            write_default: false,
            exec_default: true,
            external_groups: true,
            groups: HashMap::new(),
            lists: Vec::new(),
            counters,
        };
        let Some(nacm) = running
            .top()
            .find(|n| n.module() == MODULE && n.name() == "nacm")
        else {
            return Ok(out);
        };
        let flag = |name: &str, yes: &str, default: bool| {
            nacm.get(name).map_or(default, |value| value == yes)
        };
        out.enabled = flag("enable-nacm", "true", true);
        out.read_default = flag("read-default", "permit", true);
        out.write_default = flag("write-default", "permit", false);
        out.exec_default = flag("exec-default", "permit", true);
        out.external_groups = flag("enable-external-groups", "true", true);
        if let Some(groups) = nacm.child("groups") {
            for group in groups.list("group") {
                let users = group.list("user-name").filter_map(Node::value);
                let name = group.get("name").unwrap_or_default();
                out.groups
                    .insert(name.to_owned(), users.map(str::to_owned).collect());
            }
        }
        for list in nacm.list("rule-list") {
            let rules = list
                .list("rule")
                .map(Rule::read)
                .collect::<Result<Vec<_>>>()?;
            out.lists.push(RuleList {
                groups: list
                    .list("group")
                    .filter_map(Node::value)
                    .map(str::to_owned)
                    .collect(),
                rules: rules.into_iter().map(Arc::new).collect(),
            });
        }
        Ok(out)
    }

    /// The rules for a user, in order; none if the user is in no group.
    fn rules_for(&self, user: &User) -> Vec<Arc<Rule>> {
        let mut groups: Vec<&str> = self
            .groups
            .iter()
            .filter(|(_, users)| users.contains(&user.name))
            .map(|(name, _)| name.as_str())
            .collect();
        if self.external_groups {
            groups.extend(user.groups.iter().map(String::as_str));
        }
        if groups.is_empty() {
            return Vec::new();
        }
        self.lists
            .iter()
            .filter(|l| {
                l.groups
                    .iter()
                    .any(|g| g == "*" || groups.contains(&g.as_str()))
            })
            .flat_map(|l| l.rules.iter().cloned())
            .collect()
    }

    fn bypass(&self, user: &User) -> bool {
        !self.enabled || user.recovery
    }

    /// May the user execute this rpc (RFC 8341 3.4.4)? `close-session` always.
    ///
    /// # Errors
    /// `access-denied`.
    pub fn operation(&self, user: &User, module: &str, rpc: &str) -> Result<()> {
        if self.bypass(user) || (module == "ietf-netconf" && rpc == "close-session") {
            return Ok(());
        }
        let permitted = self.exec_rule(user, module, rpc).unwrap_or_else(|| {
            let sensitive =
                module == "ietf-netconf" && (rpc == "kill-session" || rpc == "delete-config");
            !sensitive && self.exec_default
        });
        if permitted {
            return Ok(());
        }
        self.counters.operations.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(
            ErrorTag::AccessDenied,
            format!("the operation {rpc} is not permitted to user {}", user.name),
        ))
    }

    /// What the first rule about an rpc says, if there is one.
    fn exec_rule(&self, user: &User, module: &str, rpc: &str) -> Option<bool> {
        let about = |rule: &Arc<Rule>| match &rule.target {
            Target::Any => true,
            Target::Rpc(name) => name == "*" || name == rpc,
            Target::Notification(_) | Target::Path(_) => false,
        };
        let rules = self.rules_for(user);
        let mut found = rules
            .iter()
            .filter(|rule| rule.covers(module, Access::Exec));
        found.find(|rule| about(rule)).map(|rule| rule.permit)
    }

    /// May the user execute a parsed operation: an rpc by its name and its `default-deny-all`, an action by its path
    /// (it and what it is on must be readable)?
    ///
    /// # Errors
    /// `access-denied`.
    pub fn execute(&self, user: &User, operation: &Operation) -> Result<()> {
        let node = operation.data().raw;
        let Some(schema) = node.schema() else {
            return Ok(());
        };
        if schema.kind() == Kind::Rpc {
            let (module, name) = (schema.module(), schema.name());
            if self.bypass(user)
                || !schema.has_extension(MODULE, "default-deny-all")
                || self.exec_rule(user, module, name).is_some()
            {
                return self.operation(user, module, name);
            }
        } else {
            let rules = self.rules_for(user);
            let ancestors = std::iter::successors(node.parent(), |n| n.parent());
            let readable = self.bypass(user)
                || ancestors
                    .into_iter()
                    .all(|n| self.decide_at(&rules, n, Access::Read));
            if readable && (self.bypass(user) || self.decide_at(&rules, node, Access::Exec)) {
                return Ok(());
            }
        }
        self.counters.operations.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(
            ErrorTag::AccessDenied,
            format!(
                "the operation {} is not permitted to user {}",
                schema.name(),
                user.name
            ),
        )
        .at(node.path()))
    }

    /// May the user make these changes (RFC 8341 3.4.5)? Every node that is created, deleted or changed counts, and
    /// defaults that the server adds or removes by itself do not.
    ///
    /// # Errors
    /// `access-denied` with the path of the first node that may not be changed.
    pub fn write(&self, user: &User, diff: &Diff) -> Result<()> {
        if self.bypass(user) {
            return Ok(());
        }
        let rules = self.rules_for(user);
        for change in diff.net() {
            let Some(access) = access_of(&change) else {
                continue;
            };
            if !self.decide_at(&rules, change.node, access) {
                self.counters.writes.fetch_add(1, Ordering::Relaxed);
                return Err(Error::new(
                    ErrorTag::AccessDenied,
                    format!(
                        "{} is not permitted here to user {}",
                        access.as_str(),
                        user.name
                    ),
                )
                .at(change.path));
            }
        }
        Ok(())
    }

    /// Whether nothing at all would be pruned for the user, so that a tree can be printed without a copy.
    #[must_use]
    pub fn reads_everything(&self, user: &User) -> bool {
        self.bypass(user)
    }

    /// Removes what the user may not read, in place: no error, the data is as if it were not there.
    ///
    /// # Errors
    /// Out of memory.
    pub fn prune_read(&self, user: &User, mut tree: Tree) -> Result<Tree> {
        if self.bypass(user) {
            return Ok(tree);
        }
        let active: Vec<Active> = self
            .rules_for(user)
            .into_iter()
            .filter_map(|r| Active::start(r, Access::Read))
            .collect();
        let mut gone = Vec::new();
        for node in tree.data.top() {
            self.collect_unreadable(node, &active, false, &mut gone);
        }
        for node in gone {
            tree.unlink(node)?;
        }
        Ok(tree)
    }

    fn collect_unreadable(&self, node: Raw, active: &[Active], secret: bool, gone: &mut Vec<Raw>) {
        let Some(schema) = node.schema() else { return };
        let secret = secret || schema.has_extension(MODULE, "default-deny-all");
        let here = step(active, node);
        let permitted = match first_match(&here, schema, Access::Read) {
            Some(permit) => permit,
            None => !secret && self.read_default,
        };
        if !permitted {
            // A key goes only with its entry: without it the entry would not be one.
            if !schema.is_key() {
                gone.push(node);
            }
            return;
        }
        for child in node.children() {
            self.collect_unreadable(child, &here, secret, gone);
        }
    }

    /// May the user receive this notification (RFC 8341 3.4.6)? For one that is nested in data, the data must be
    /// readable too.
    ///
    /// # Errors
    /// `access-denied`; the notification is then to be dropped in silence.
    pub fn notification(&self, user: &User, event: &Operation) -> Result<()> {
        let node = event.data().raw;
        let Some(schema) = node.schema() else {
            return Ok(());
        };
        self.notification_named(user, schema.module(), schema.name(), Some(node))
    }

    /// As [`Self::notification`] for one that is not parsed.
    ///
    /// # Errors
    /// `access-denied`.
    pub fn notification_by_name(&self, user: &User, module: &str, name: &str) -> Result<()> {
        self.notification_named(user, module, name, None)
    }

    fn notification_named(
        &self,
        user: &User,
        module: &str,
        name: &str,
        node: Option<Raw>,
    ) -> Result<()> {
        // RFC 8341 3.4.6: those that speak of the subscription itself.
        if self.bypass(user) || module == "nc-notifications" {
            return Ok(());
        }
        let rules = self.rules_for(user);
        let found = rules.iter().find(|rule| {
            rule.covers(module, Access::Read)
                && match &rule.target {
                    Target::Any => true,
                    Target::Notification(n) => n == "*" || n == name,
                    Target::Path(path) => node.is_some_and(|n| path_covers(path, n)),
                    Target::Rpc(_) => false,
                }
        });
        let sensitive = node
            .and_then(Raw::schema)
            .is_some_and(|s| s.has_extension(MODULE, "default-deny-all"));
        let mut permitted = match found {
            Some(rule) => rule.permit,
            None => !sensitive && self.read_default,
        };
        if let Some(node) = node {
            permitted &= std::iter::successors(node.parent(), |n| n.parent())
                .all(|n| self.decide_at(&rules, n, Access::Read));
        }
        if permitted {
            return Ok(());
        }
        self.counters.notifications.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(
            ErrorTag::AccessDenied,
            format!(
                "the notification {name} is not permitted to user {}",
                user.name
            ),
        ))
    }

    /// The decision for one data node, found through its parents.
    fn decide_at(&self, rules: &[Arc<Rule>], node: Raw, access: Access) -> bool {
        let Some(schema) = node.schema() else {
            return true;
        };
        let found = rules.iter().find(|rule| {
            rule.covers(schema.module(), access)
                && match &rule.target {
                    Target::Any => true,
                    Target::Path(path) => path_covers(path, node),
                    Target::Rpc(_) | Target::Notification(_) => false,
                }
        });
        if let Some(rule) = found {
            return rule.permit;
        }
        let marked = |extension: &str| {
            std::iter::successors(Some(node), |n| n.parent())
                .filter_map(Raw::schema)
                .any(|s| s.has_extension(MODULE, extension))
        };
        match access {
            Access::Read => !marked("default-deny-all") && self.read_default,
            Access::Exec => !marked("default-deny-all") && self.exec_default,
            Access::Create | Access::Update | Access::Delete => {
                !marked("default-deny-all") && !marked("default-deny-write") && self.write_default
            }
        }
    }

    /// Writes the counters into state data.
    ///
    /// # Errors
    /// `ietf-netconf-acm` is not in the schema.
    pub fn add_state(&self, state: &mut Tree) -> Result<()> {
        let counters = [
            ("denied-operations", &self.counters.operations),
            ("denied-data-writes", &self.counters.writes),
            ("denied-notifications", &self.counters.notifications),
        ];
        for (name, counter) in counters {
            let value = counter.load(Ordering::Relaxed).to_string();
            state.set(&format!("/ietf-netconf-acm:nacm/{name}"), value.as_str())?;
        }
        Ok(())
    }
}

/// The access that a net change needs; `None` for what the server does by itself.
fn access_of(change: &NetChange) -> Option<Access> {
    match (change.was, change.is) {
        (Some(true) | None, Some(true)) | (Some(true), None) | (None, None) => None,
        (Some(true) | None, Some(false)) => Some(Access::Create),
        (Some(false), None | Some(true)) => Some(Access::Delete),
        (Some(false), Some(false)) => Some(Access::Update),
    }
}

impl Rule {
    fn read(node: Node<'_>) -> Result<Self> {
        let name = node.get("name").unwrap_or_default().to_owned();
        let target = if let Some(rpc) = node.get("rpc-name") {
            Target::Rpc(rpc.to_owned())
        } else if let Some(notification) = node.get("notification-name") {
            Target::Notification(notification.to_owned())
        } else if let Some(path) = node.get("path") {
            Target::Path(read_path(node.tree, path).map_err(|e| {
                Error::new(e.tag, format!("NACM rule {name}: {}", e.message)).at(node.path())
            })?)
        } else {
            Target::Any
        };
        let module = node
            .get("module-name")
            .filter(|m| *m != "*")
            .map(str::to_owned);
        let access = node
            .get("access-operations")
            .filter(|a| *a != "*")
            .map(|a| a.split_whitespace().map(str::to_owned).collect());
        let permit = node.get("action") == Some("permit");
        Ok(Self {
            name,
            module,
            target,
            access,
            permit,
        })
    }

    fn covers(&self, module: &str, access: Access) -> bool {
        self.module.as_deref().is_none_or(|m| m == module)
            && self
                .access
                .as_ref()
                .is_none_or(|a| a.iter().any(|a| a == access.as_str()))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

/// Parses a canonical `/module:node[key='value']/...`. `/` is everything.
fn read_path(tree: &Tree, path: &str) -> Result<Vec<Segment>> {
    let mut out = Vec::new();
    let mut so_far = String::new();
    for (step, keys) in crate::path::split(path)? {
        so_far.push('/');
        so_far.push_str(&step);
        let schema = tree.schema.ctx.schema_node(&so_far).ok_or_else(|| {
            Error::new(ErrorTag::InvalidValue, format!("there is no node {so_far}"))
        })?;
        out.push(Segment { schema, keys });
    }
    Ok(out)
}

impl Segment {
    fn matches(&self, node: Raw) -> bool {
        node.schema() == Some(self.schema)
            && self.keys.iter().all(|(name, value)| {
                if name == "." {
                    return node.value() == Some(value);
                }
                let name = name.rsplit(':').next().unwrap_or_default();
                node.children().any(|child| {
                    child
                        .schema()
                        .is_some_and(|s| s.is_key() && s.name() == name)
                        && child.value() == Some(value)
                })
            })
    }
}

/// Whether the path names the node or one of its ancestors.
fn path_covers(path: &[Segment], node: Raw) -> bool {
    let mut chain: Vec<Raw> = std::iter::successors(Some(node), |n| n.parent()).collect();
    chain.reverse();
    path.len() <= chain.len()
        && path
            .iter()
            .zip(chain)
            .all(|(segment, n)| segment.matches(n))
}

impl Active {
    /// A rule at the top of a walk, if it can matter for this access at all.
    fn start(rule: Arc<Rule>, access: Access) -> Option<Self> {
        if rule
            .access
            .as_ref()
            .is_some_and(|a| !a.iter().any(|a| a == access.as_str()))
        {
            return None;
        }
        let depth = match &rule.target {
            Target::Any => None,
            Target::Path(path) if path.is_empty() => None,
            Target::Path(_) => Some(0),
            Target::Rpc(_) | Target::Notification(_) => return None,
        };
        Some(Self { rule, depth })
    }
}

/// The rules that still matter at a node, given those at its parent.
fn step<'a>(active: &'a [Active], node: Raw) -> Cow<'a, [Active]> {
    if active.iter().all(|a| a.depth.is_none()) {
        return Cow::Borrowed(active);
    }
    let mut out = Vec::with_capacity(active.len());
    for a in active {
        match (a.depth, &a.rule.target) {
            (Some(depth), Target::Path(path)) => {
                if path.get(depth).is_some_and(|segment| segment.matches(node)) {
                    let next = depth + 1;
                    let depth = (next < path.len()).then_some(next);
                    out.push(Active {
                        rule: Arc::clone(&a.rule),
                        depth,
                    });
                }
            }
            _ => out.push(a.clone()),
        }
    }
    Cow::Owned(out)
}

fn first_match(active: &[Active], schema: SRaw, access: Access) -> Option<bool> {
    active
        .iter()
        .find(|a| a.depth.is_none() && a.rule.covers(schema.module(), access))
        .map(|a| a.rule.permit)
}
