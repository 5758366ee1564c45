//! What a server tells about its schema: YANG library (RFC 8525), `get-schema` (RFC 6022) and capabilities.

use tranche_netconf::error::ErrorTag;
use yang5::schema::{SchemaOutputFormat, SchemaPrinterFlags};

use crate::context::{Module, Schema};
use crate::error::{Error, Result};
use crate::ffi::Failed;
use crate::tree::Tree;

/// A schema that `get-schema` can deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaEntry {
    /// Module or submodule name.
    pub identifier: String,
    /// Revision, empty if it has none.
    pub version: String,
    /// Format, `yang` or `yin`.
    pub format: &'static str,
    /// Namespace (of the module it belongs to, for a submodule).
    pub namespace: String,
}

impl Schema {
    /// Identifies the schema: the same modules, revisions and features give the same text in every process.
    #[must_use]
    pub fn content_id(&self) -> String {
        format!("{:08x}", self.ctx.modules_hash())
    }

    /// `yang-library` and the older `modules-state`, for the given datastores (`running`, `candidate`, `startup`,
    /// `operational`), each of which has this schema.
    ///
    /// # Errors
    /// An unknown datastore name, or out of memory.
    pub fn yang_library(&'static self, datastores: &[&str]) -> Result<Tree> {
        let data = self
            .ctx
            .yang_library(&self.content_id())
            .map_err(|Failed| Error::internal(self.ctx, "the YANG library could not be made"))?;
        let mut tree = Tree::own(self, data);
        for name in datastores {
            let path = format!(
                "/ietf-yang-library:yang-library/datastore[name='ietf-datastores:{name}']/schema"
            );
            tree.set(&path, "complete")?;
        }
        Ok(tree)
    }

    /// The `:yang-library:1.1` capability (RFC 8526 2).
    #[must_use]
    pub fn yang_library_capability(&self) -> String {
        format!(
            "urn:ietf:params:netconf:capability:yang-library:1.1?revision=2019-01-04&content-id={}",
            self.content_id()
        )
    }

    /// Capabilities of the implemented YANG 1.0 modules (RFC 6020 5.6.4); YANG 1.1 modules are found through the
    /// library alone (RFC 7950 5.6.4).
    #[must_use]
    pub fn module_capabilities(&self) -> Vec<String> {
        self.modules()
            .iter()
            .filter(|m| m.implemented && !m.yang_1_1 && !m.namespace.is_empty())
            .map(capability)
            .collect()
    }

    /// Every schema that [`Self::source`] has, in both formats.
    #[must_use]
    pub fn schemas(&self) -> Vec<SchemaEntry> {
        let mut out = Vec::new();
        for module in self.modules() {
            for format in ["yang", "yin"] {
                out.push(SchemaEntry {
                    identifier: module.name.clone(),
                    version: module.revision.clone(),
                    format,
                    namespace: module.namespace.clone(),
                });
            }
            for (name, revision) in &module.submodules {
                out.push(SchemaEntry {
                    identifier: name.clone(),
                    version: revision.clone(),
                    format: "yang",
                    namespace: module.namespace.clone(),
                });
            }
        }
        out
    }

    /// Adds `/ietf-netconf-monitoring:netconf-state/schemas` to state data.
    ///
    /// # Errors
    /// `ietf-netconf-monitoring` is not in the schema.
    pub fn add_monitoring_schemas(&'static self, state: &mut Tree) -> Result<()> {
        for entry in self.schemas() {
            let path = format!(
                "/ietf-netconf-monitoring:netconf-state/schemas/schema[identifier='{}'][version='{}'][format='ietf-netconf-monitoring:{}']",
                entry.identifier, entry.version, entry.format
            );
            state.set(&format!("{path}/namespace"), entry.namespace.as_str())?;
            state.set(&format!("{path}/location"), "NETCONF")?;
        }
        Ok(())
    }

    /// Text of a module or submodule (RFC 6022 3.1). Without a revision there must be only one.
    ///
    /// # Errors
    /// `invalid-value` if there is no such schema, revision or format, with app-tag `data-not-unique` and
    /// `operation-failed` if several match, as RFC 6022 says.
    pub fn source(&self, name: &str, revision: Option<&str>, format: &str) -> Result<String> {
        let found: Vec<SchemaEntry> = self
            .schemas()
            .into_iter()
            .filter(|e| e.identifier == name && revision.is_none_or(|r| r == e.version))
            .collect();
        let bad = |message: String| Error::new(ErrorTag::InvalidValue, message);
        if found.is_empty() {
            let which = revision
                .map(|r| format!(" of revision {r}"))
                .unwrap_or_default();
            return Err(bad(format!("there is no schema {name}{which}")));
        }
        let Some(entry) = found.iter().find(|e| e.format == format) else {
            return Err(bad(format!(
                "the schema {name} is not available as {format}"
            )));
        };
        if found.iter().any(|e| e.version != entry.version) {
            return Err(Error::new(
                ErrorTag::OperationFailed,
                format!("there are several revisions of {name}: say which"),
            )
            .with_app_tag("data-not-unique"));
        }
        if format == "yang"
            && let Some(text) = self.source_text(name, &entry.version)
        {
            return Ok(text.to_owned());
        }
        let revision = (!entry.version.is_empty()).then_some(entry.version.as_str());
        let output = if format == "yin" {
            SchemaOutputFormat::YIN
        } else {
            SchemaOutputFormat::YANG
        };
        self.context()
            .get_module(name, revision)
            .and_then(|m| m.print_string(output, SchemaPrinterFlags::empty()).ok())
            .ok_or_else(|| bad(format!("the schema {name} is not available as {format}")))
    }
}

fn capability(module: &Module) -> String {
    let mut out = format!("{}?module={}", module.namespace, module.name);
    if !module.revision.is_empty() {
        out.push_str(&format!("&revision={}", module.revision));
    }
    if !module.features.is_empty() {
        out.push_str(&format!("&features={}", module.features.join(",")));
    }
    out
}
