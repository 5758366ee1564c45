//! Schema nodes as libyang compiled them.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use yang5::ffi as ly;

use super::{Ctx, take_text, text};

/// What a schema node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `container`.
    Container,
    /// `choice`.
    Choice,
    /// `case`.
    Case,
    /// `leaf`.
    Leaf,
    /// `leaf-list`.
    LeafList,
    /// `list`.
    List,
    /// `anydata` or `anyxml`.
    Any,
    /// `rpc`.
    Rpc,
    /// `action`.
    Action,
    /// `notification`.
    Notification,
    /// `input` or `output` of an operation.
    InputOutput,
}

/// A schema node. Valid forever: contexts are leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SRaw(NonNull<ly::lysc_node>);

// SAFETY: the compiled schema of a built context never changes.
unsafe impl Send for SRaw {}
// SAFETY: as above.
unsafe impl Sync for SRaw {}

impl SRaw {
    pub(super) fn new(p: *const ly::lysc_node) -> Option<Self> {
        NonNull::new(p.cast_mut()).map(Self)
    }

    pub(super) fn ptr(self) -> *mut ly::lysc_node {
        self.0.as_ptr()
    }

    fn nodetype(self) -> u32 {
        // SAFETY: schema nodes live as long as the process.
        u32::from(unsafe { (*self.ptr()).nodetype })
    }

    fn flags(self) -> u32 {
        // SAFETY: as above.
        u32::from(unsafe { (*self.ptr()).flags })
    }

    pub(crate) fn kind(self) -> Kind {
        match self.nodetype() {
            ly::LYS_CONTAINER => Kind::Container,
            ly::LYS_CHOICE => Kind::Choice,
            ly::LYS_CASE => Kind::Case,
            ly::LYS_LEAF => Kind::Leaf,
            ly::LYS_LEAFLIST => Kind::LeafList,
            ly::LYS_LIST => Kind::List,
            ly::LYS_RPC => Kind::Rpc,
            ly::LYS_ACTION => Kind::Action,
            ly::LYS_NOTIF => Kind::Notification,
            ly::LYS_INPUT | ly::LYS_OUTPUT => Kind::InputOutput,
            _ => Kind::Any,
        }
    }

    pub(crate) fn is_term(self) -> bool {
        matches!(self.kind(), Kind::Leaf | Kind::LeafList)
    }

    pub(crate) fn name(self) -> &'static str {
        // SAFETY: as above.
        text(unsafe { (*self.ptr()).name }).unwrap_or_default()
    }

    pub(super) fn module_ptr(self) -> *mut ly::lys_module {
        // SAFETY: as above.
        unsafe { (*self.ptr()).module }
    }

    pub(crate) fn module(self) -> &'static str {
        // SAFETY: a schema node always has a module.
        text(unsafe { (*self.module_ptr()).name }).unwrap_or_default()
    }

    pub(crate) fn namespace(self) -> &'static str {
        // SAFETY: as above.
        text(unsafe { (*self.module_ptr()).ns }).unwrap_or_default()
    }

    /// Parent in the schema, choices and cases included.
    pub(crate) fn parent(self) -> Option<Self> {
        // SAFETY: as above.
        Self::new(unsafe { (*self.ptr()).parent })
    }

    /// Children in the data, choices and cases looked through; of an operation: its input.
    pub(crate) fn children(self) -> Vec<Self> {
        let mut out = Vec::new();
        let mut last = ptr::null();
        loop {
            // SAFETY: `last` is null or what the previous call gave.
            last = unsafe { ly::lys_getnext(last, self.ptr(), ptr::null(), 0) };
            match Self::new(last) {
                Some(node) => out.push(node),
                None => return out,
            }
        }
    }

    pub(crate) fn child(self, module: Option<&str>, name: &str) -> Option<Self> {
        self.children()
            .into_iter()
            .find(|n| n.name() == name && module.is_none_or(|m| n.module() == m))
    }

    /// An action of a container or list.
    pub(crate) fn action(self, module: &str, name: &str) -> Option<Self> {
        // SAFETY: live schema node; the list of actions is linked by `next`.
        let mut action = Self::new(unsafe { ly::lysc_node_actions(self.ptr()) }.cast());
        while let Some(a) = action {
            if a.name() == name && a.module() == module {
                return Some(a);
            }
            // SAFETY: as above.
            action = Self::new(unsafe { (*a.ptr()).next });
        }
        None
    }

    pub(crate) fn is_config(self) -> bool {
        self.flags() & ly::LYS_CONFIG_W != 0
    }

    pub(crate) fn is_key(self) -> bool {
        self.kind() == Kind::Leaf && self.flags() & ly::LYS_KEY != 0
    }

    pub(crate) fn is_user_ordered(self) -> bool {
        matches!(self.kind(), Kind::List | Kind::LeafList) && self.flags() & ly::LYS_ORDBY_USER != 0
    }

    /// Whether it is a leaf-list with defaults.
    pub(crate) fn has_default_entries(self) -> bool {
        // SAFETY: a leaf-list is a lysc_node_leaflist.
        self.kind() == Kind::LeafList
            && unsafe {
                !(*self.ptr().cast::<ly::lysc_node_leaflist>())
                    .dflts
                    .is_null()
            }
    }

    pub(crate) fn is_presence(self) -> bool {
        self.kind() == Kind::Container && self.flags() & ly::LYS_PRESENCE != 0
    }

    pub(crate) fn is_np_container(self) -> bool {
        self.kind() == Kind::Container && !self.is_presence()
    }

    pub(crate) fn has_when(self) -> bool {
        // SAFETY: live schema node.
        unsafe { !ly::lysc_has_when(self.ptr()).is_null() }
    }

    /// Keys of a list, in order.
    pub(crate) fn keys(self) -> Vec<Self> {
        if self.kind() != Kind::List {
            return Vec::new();
        }
        self.children().into_iter().filter(|n| n.is_key()).collect()
    }

    /// Whether an extension such as (`ietf-netconf-acm`, `default-deny-write`) stands on this node.
    ///
    /// libyang drops extensions that a deviation adds, and `ietf-system` itself leaves the hashes of passwords open to
    /// every reader, so they are `default-deny-all` here whatever the modules say.
    pub(crate) fn has_extension(self, module: &str, name: &str) -> bool {
        if name == "default-deny-all" && self.name() == "password" && self.module() == "ietf-system"
        {
            return true;
        }
        // SAFETY: `exts` is a sized array of libyang: its length stands in the 8 bytes before it.
        unsafe {
            let exts = (*self.ptr()).exts;
            if exts.is_null() {
                return false;
            }
            let count = *exts.cast::<u64>().sub(1);
            (0..count as usize).any(|i| {
                let def = (*exts.add(i)).def;
                !def.is_null()
                    && text((*def).name) == Some(name)
                    && text((*(*def).module).name) == Some(module)
            })
        }
    }

    /// `must`/`when`-free schema path, as `/module:container/list/leaf`.
    pub(crate) fn path(self) -> String {
        // SAFETY: live schema node; null buffer asks libyang to allocate.
        take_text(unsafe {
            ly::lysc_path(
                self.ptr(),
                ly::LYSC_PATH_TYPE::LYSC_PATH_DATA,
                ptr::null_mut(),
                0,
            )
        })
        .unwrap_or_default()
    }

    /// Whether it is a leaf or leaf-list of identities.
    pub(crate) fn is_identityref(self) -> bool {
        self.base_type() == Some(ly::LY_DATA_TYPE::LY_TYPE_IDENT)
    }

    /// Base type of a leaf or leaf-list, leafrefs resolved.
    fn base_type(self) -> Option<ly::LY_DATA_TYPE::Type> {
        if !self.is_term() {
            return None;
        }
        // SAFETY: leaf and leaf-list share the layout up to `type`; a leafref's type is a lysc_type_leafref.
        unsafe {
            let mut ty = (*self.ptr().cast::<ly::lysc_node_leaf>()).type_;
            while (*ty).basetype == ly::LY_DATA_TYPE::LY_TYPE_LEAFREF {
                let real = (*ty.cast::<ly::lysc_type_leafref>()).realtype;
                if real.is_null() {
                    break;
                }
                ty = real;
            }
            Some((*ty).basetype)
        }
    }

    /// Checks a value in JSON form against the type alone; `Ok` gives its canonical form.
    pub(crate) fn check_value(self, value: &str) -> Result<String, super::Failed> {
        let value = CString::new(value).map_err(|_| super::Failed)?;
        let mut canonical = ptr::null();
        // SAFETY: live schema node, NUL-terminated value, out pointer to a local.
        let rc = unsafe {
            ly::lyd_value_validate(
                self.ptr(),
                value.as_ptr(),
                u32::try_from(value.as_bytes().len()).unwrap_or(u32::MAX),
                ptr::null(),
                ptr::null_mut(),
                &raw mut canonical,
            )
        };
        match rc {
            ly::LY_ERR::LY_SUCCESS | ly::LY_ERR::LY_EINCOMPLETE => {
                let owned = text(canonical).unwrap_or_default().to_owned();
                // SAFETY: the string is a reference into the dictionary of this context that is ours to give back.
                unsafe { ly::lydict_remove((*self.module_ptr()).ctx, canonical) };
                Ok(owned)
            }
            _ => Err(super::Failed),
        }
    }
}

impl Ctx {
    /// The schema node of a data path, such as `/tranche-wifi:wifi/vif/name`.
    pub(crate) fn schema_node(self, path: &str) -> Option<SRaw> {
        self.clear_errors();
        let path = CString::new(path).ok()?;
        // SAFETY: live context, NUL-terminated path.
        let found =
            SRaw::new(unsafe { ly::lys_find_path(self.raw(), ptr::null(), path.as_ptr(), 0) });
        self.clear_errors();
        found
    }

    /// A top-level data node, rpc or notification of an implemented module.
    pub(crate) fn top_node(self, module: &str, name: &str) -> Option<SRaw> {
        self.top_nodes(module)
            .into_iter()
            .find(|n| n.name() == name)
    }

    /// Top-level nodes of an implemented module.
    pub(crate) fn top_nodes(self, module: &str) -> Vec<SRaw> {
        let mut out = Vec::new();
        let Ok(module) = CString::new(module) else {
            return out;
        };
        // SAFETY: live context; the compiled module is null if it is not implemented.
        unsafe {
            let module = ly::ly_ctx_get_module_implemented(self.raw(), module.as_ptr());
            if module.is_null() || (*module).compiled.is_null() {
                return out;
            }
            let mut last = ptr::null();
            loop {
                last = ly::lys_getnext(last, ptr::null(), (*module).compiled, 0);
                match SRaw::new(last) {
                    Some(node) => out.push(node),
                    None => return out,
                }
            }
        }
    }
}

/// What `yang5` does not tell about a module.
#[derive(Debug, Default)]
pub(crate) struct ModuleInfo {
    pub(crate) features: Vec<String>,
    pub(crate) yang_1_1: bool,
    pub(crate) submodules: Vec<(String, String)>,
}

/// Features that are on, language version and submodules of a module.
pub(crate) fn module_info(module: &yang5::schema::SchemaModule<'_>) -> ModuleInfo {
    const VERSION_1_1: u8 = 2;
    let mut out = ModuleInfo::default();
    // SAFETY: a module of a live context; `parsed` is kept (nobody frees it) but checked, its arrays are libyang's
    // sized arrays whose length stands in the 8 bytes before them.
    unsafe {
        let parsed = (*module.as_raw()).parsed;
        if parsed.is_null() {
            return out;
        }
        out.yang_1_1 = (*parsed).version == VERSION_1_1;
        features((*parsed).features, &mut out.features);
        let includes = (*parsed).includes;
        if !includes.is_null() {
            for i in 0..*includes.cast::<u64>().sub(1) as usize {
                let submodule = (*includes.add(i)).submodule;
                if submodule.is_null() {
                    continue;
                }
                features((*submodule).features, &mut out.features);
                let revs = (*submodule).revs;
                let revision = if revs.is_null() {
                    String::new()
                } else {
                    text((*revs).date.as_ptr()).unwrap_or_default().to_owned()
                };
                out.submodules.push((
                    text((*submodule).name).unwrap_or_default().to_owned(),
                    revision,
                ));
            }
        }
    }
    out
}

/// Adds the names of the features that are on.
///
/// # Safety
/// `array` is null or a sized array of a live module.
unsafe fn features(array: *mut ly::lysp_feature, out: &mut Vec<String>) {
    if array.is_null() {
        return;
    }
    // SAFETY: see above.
    unsafe {
        for i in 0..*array.cast::<u64>().sub(1) as usize {
            let feature = array.add(i);
            if u32::from((*feature).flags) & ly::LYS_FENABLED != 0 {
                out.push(text((*feature).name).unwrap_or_default().to_owned());
            }
        }
    }
}
