//! The schema: which modules with which features, built once and then immutable.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tranche_netconf::error::ErrorTag;
use yang5::context::{Context, ContextFlags, EmbeddedModuleKey, EmbeddedModules};
use yang5::schema::SchemaModule;

use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Ctx, Kind, SRaw};

include!("header.rs");

/// One embedded module or submodule.
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    pub(crate) revision: Option<&'static str>,
    pub(crate) belongs_to: Option<&'static str>,
    pub(crate) source: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// A built schema. It lives as long as the process: a process has one or two, and data refers to it everywhere.
pub struct Schema {
    context: Context,
    pub(crate) ctx: Ctx,
    sources: HashMap<(String, String), &'static str>,
    modules: Vec<Module>,
    /// Schema paths of the leaves that are in no reply, once somebody asked.
    pub(crate) write_only: OnceLock<Vec<String>>,
}

/// A module of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name.
    pub name: String,
    /// Revision; empty if the module has none.
    pub revision: String,
    /// Namespace URI.
    pub namespace: String,
    /// Prefix.
    pub prefix: String,
    /// Whether its nodes exist (`true`) or it is only imported.
    pub implemented: bool,
    /// Enabled features.
    pub features: Vec<String>,
    /// Whether it is written in YANG 1.1 (and so is left out of `hello`, RFC 7950 5.6.4).
    pub yang_1_1: bool,
    /// Names and revisions of its submodules.
    pub submodules: Vec<(String, String)>,
}

/// Collects what a [`Schema`] is made of.
#[derive(Debug, Default)]
pub struct Builder {
    modules: Vec<(String, Vec<String>)>,
    files: Vec<PathBuf>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("modules", &self.modules.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Schema {}

impl Builder {
    /// Implements an embedded module with these features.
    #[must_use]
    pub fn module(mut self, name: &str, features: &[&str]) -> Self {
        self.modules.push((
            name.to_owned(),
            features.iter().map(|f| (*f).to_owned()).collect(),
        ));
        self
    }

    /// Implements an embedded module with all its features.
    #[must_use]
    pub fn all_features(self, name: &str) -> Self {
        self.module(name, &["*"])
    }

    /// Implements what every server here has: access control, local users whose passwords are SHA-2 hashes, and
    /// `with-defaults`. What of `ietf-system` is not carried out is for a module of deviations to say.
    #[must_use]
    pub fn server(self) -> Self {
        self.module("ietf-netconf-acm", &[])
            .module("ietf-netconf-with-defaults", &[])
            .module(
                "iana-crypt-hash",
                &["crypt-hash-sha-256", "crypt-hash-sha-512"],
            )
            .module("ietf-system", &["authentication", "local-users"])
    }

    /// Implements a module from a file, with all its features. Files may import one another in any order.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(path.as_ref().to_owned());
        self
    }

    /// Builds the schema. It is never freed.
    ///
    /// # Errors
    /// A module that is not embedded, a file that cannot be read or is not YANG, an unknown feature, and everything
    /// that the YANG compiler refuses, with the module or file and the line.
    pub fn build(self) -> Result<&'static Schema> {
        let mut embedded = EmbeddedModules::new();
        let mut sources = HashMap::new();
        for m in MODULES {
            add(
                &mut embedded,
                &mut sources,
                m.name,
                m.revision,
                m.belongs_to,
                m.source,
            );
        }
        let mut loads = self.modules;
        let mut origin = HashMap::new();
        for path in &self.files {
            let file = path.display();
            let text = fs::read_to_string(path).map_err(|e| {
                Error::new(
                    ErrorTag::OperationFailed,
                    format!("YANG module {file}: {e}"),
                )
            })?;
            let header = header(&text).ok_or_else(|| {
                Error::new(
                    ErrorTag::OperationFailed,
                    format!("YANG module {file}: it does not start with `module` or `submodule`"),
                )
            })?;
            origin.insert(header.name.clone(), path.clone());
            let source: &'static str = text.leak();
            if header.belongs_to.is_none() {
                loads.push((header.name.clone(), vec!["*".to_owned()]));
            }
            let leak = |s: String| -> &'static str { s.leak() };
            add(
                &mut embedded,
                &mut sources,
                leak(header.name),
                header.revision.map(leak),
                header.belongs_to.map(leak),
                source,
            );
        }

        let flags = ContextFlags::DISABLE_SEARCHDIRS
            | ContextFlags::DISABLE_SEARCHDIR_CWD
            | ContextFlags::REF_IMPLEMENTED;
        let mut context = Context::new(flags).map_err(|e| {
            Error::new(
                ErrorTag::OperationFailed,
                format!("libyang did not start: {e}"),
            )
        })?;
        Ctx::store_all_errors();
        let ctx = Ctx::of(&context).ok_or_else(|| {
            Error::new(
                ErrorTag::OperationFailed,
                "libyang has no modules of its own",
            )
        })?;
        // libyang keeps a pointer to the map for as long as the context lives.
        context.set_embedded_modules(Box::leak(Box::new(embedded)));
        for (name, features) in &loads {
            let features: Vec<&str> = features.iter().map(String::as_str).collect();
            ctx.clear_errors();
            if context.load_module(name, None, &features).is_err() {
                return Err(load_error(ctx, name, &origin));
            }
        }
        let modules = context.modules(false).map(|m| describe(&m)).collect();
        Ok(Box::leak(Box::new(Schema {
            context,
            ctx,
            sources,
            modules,
            write_only: OnceLock::new(),
        })))
    }
}

/// Makes a source known to libyang's importer and to `get-schema`.
fn add(
    embedded: &mut EmbeddedModules,
    sources: &mut HashMap<(String, String), &'static str>,
    name: &'static str,
    revision: Option<&'static str>,
    belongs_to: Option<&'static str>,
    source: &'static str,
) {
    let key = match belongs_to {
        Some(module) => EmbeddedModuleKey::new(module, None, Some(name), revision),
        None => EmbeddedModuleKey::new(name, revision, None, None),
    };
    embedded.insert(key, source);
    sources.insert(
        (name.to_owned(), revision.unwrap_or_default().to_owned()),
        source,
    );
}

fn load_error(ctx: Ctx, name: &str, origin: &HashMap<String, PathBuf>) -> Error {
    let errors = collect(ctx, Phase::Validate);
    // The first error is the cause; the later ones say which module it made fail.
    let cause = &errors[0];
    let culprit = errors
        .iter()
        .filter_map(|e| e.message.split('"').nth(1))
        .find(|m| origin.contains_key(*m))
        .unwrap_or(name);
    let place = origin.get(culprit).map_or_else(
        || format!("YANG module {name}"),
        |p| format!("YANG module {}", p.display()),
    );
    let line = cause
        .line
        .map(|l| format!(", line {l}"))
        .unwrap_or_default();
    let mut error = Error::new(
        ErrorTag::OperationFailed,
        format!("{place}{line}: {}", cause.message),
    );
    error.path.clone_from(&cause.path);
    error.line = cause.line;
    error
}

fn describe(m: &SchemaModule<'_>) -> Module {
    let info = crate::ffi::module_info(m);
    Module {
        name: m.name().to_owned(),
        revision: m.revision().unwrap_or_default().to_owned(),
        namespace: m.namespace().to_owned(),
        prefix: m.prefix().to_owned(),
        implemented: m.is_implemented(),
        features: info.features,
        yang_1_1: info.yang_1_1,
        submodules: info.submodules,
    }
}

impl Schema {
    /// Starts a builder. `ietf-yang-library` and what it imports are always there.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// All modules, implemented and imported.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// An implemented module by name.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules
            .iter()
            .find(|m| m.implemented && m.name == name)
    }

    /// An implemented module by namespace.
    #[must_use]
    pub fn module_of_namespace(&self, namespace: &str) -> Option<&Module> {
        self.modules
            .iter()
            .find(|m| m.implemented && m.namespace == namespace)
    }

    /// Top-level data nodes, rpcs and notifications of an implemented module.
    #[must_use]
    pub fn top(&self, module: &str) -> Vec<SchemaNode> {
        self.ctx
            .top_nodes(module)
            .into_iter()
            .map(SchemaNode)
            .collect()
    }

    /// The schema node at a path such as `/tranche-wifi:wifi/vif/name` (key predicates are allowed and ignored).
    #[must_use]
    pub fn node(&self, path: &str) -> Option<SchemaNode> {
        self.ctx
            .schema_node(&crate::error::without_predicates(path))
            .map(SchemaNode)
    }

    pub(crate) fn source_text(&self, name: &str, revision: &str) -> Option<&'static str> {
        self.sources
            .get(&(name.to_owned(), revision.to_owned()))
            .copied()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Enabled features by implemented module, for start-up checks and messages.
    #[must_use]
    pub fn features(&self) -> BTreeMap<&str, &[String]> {
        self.modules
            .iter()
            .filter(|m| m.implemented && !m.features.is_empty())
            .map(|m| (m.name.as_str(), m.features.as_slice()))
            .collect()
    }
}

/// A node of the schema.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchemaNode(pub(crate) SRaw);

impl fmt::Debug for SchemaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SchemaNode").field(&self.path()).finish()
    }
}

impl SchemaNode {
    /// Local name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Name of the module whose namespace it is in.
    #[must_use]
    pub fn module(self) -> &'static str {
        self.0.module()
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.0.kind()
    }

    /// Path in the data, `/module:container/list/leaf`.
    #[must_use]
    pub fn path(self) -> String {
        self.0.path()
    }

    /// Children in the data (of an operation: its input), choices and cases looked through.
    #[must_use]
    pub fn children(self) -> Vec<Self> {
        self.0.children().into_iter().map(Self).collect()
    }

    /// Keys of a list, in order.
    #[must_use]
    pub fn keys(self) -> Vec<&'static str> {
        self.0.keys().into_iter().map(SRaw::name).collect()
    }

    /// Whether it is configuration.
    #[must_use]
    pub fn is_config(self) -> bool {
        self.0.is_config()
    }

    /// Whether it is a container whose presence means something.
    #[must_use]
    pub fn is_presence(self) -> bool {
        self.0.is_presence()
    }

    /// Whether it is marked `nacm:default-deny-all`: a secret, never to be logged or shown.
    #[must_use]
    pub fn is_secret(self) -> bool {
        self.0.has_extension("ietf-netconf-acm", "default-deny-all")
    }
}
