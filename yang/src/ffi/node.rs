//! Data nodes.

use std::ptr::{self, NonNull};

use yang5::ffi as ly;

use super::schema::{Kind, SRaw};
use super::{Failed, Forest, c, take_text, text};

/// A data node, see the module's invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Raw(NonNull<ly::lyd_node>);

// SAFETY: a `Raw` travels with the owner of its forest; shared access never mutates, because canonical values, which
// libyang computes on first use, are computed by `settle` before a tree is shared.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

/// Iterates siblings; the next one is read before the current is given, so the current may be removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Siblings(pub(crate) Option<Raw>);

impl Iterator for Siblings {
    type Item = Raw;
    fn next(&mut self) -> Option<Raw> {
        let current = self.0?;
        self.0 = current.next();
        Some(current)
    }
}

/// A reference to an opaque node's or attribute's qualified name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpaqueName {
    /// Namespace (XML) or module (JSON).
    pub(crate) module: String,
    pub(crate) name: String,
}

impl Raw {
    pub(super) fn new(p: *mut ly::lyd_node) -> Option<Self> {
        NonNull::new(p).map(Self)
    }

    pub(super) fn ptr(self) -> *mut ly::lyd_node {
        self.0.as_ptr()
    }

    /// Schema node; `None` for an opaque node.
    pub(crate) fn schema(self) -> Option<SRaw> {
        // SAFETY: live node.
        SRaw::new(unsafe { (*self.ptr()).schema })
    }

    pub(crate) fn parent(self) -> Option<Self> {
        // SAFETY: live node.
        Self::new(unsafe { (*self.ptr()).parent })
    }

    pub(crate) fn next(self) -> Option<Self> {
        // SAFETY: live node.
        Self::new(unsafe { (*self.ptr()).next })
    }

    /// Previous sibling; `None` at the first.
    pub(crate) fn prev(self) -> Option<Self> {
        // SAFETY: live node; `prev` is never null and the first's points to the last, whose `next` is null.
        unsafe {
            let prev = (*self.ptr()).prev;
            if (*prev).next.is_null() {
                None
            } else {
                Self::new(prev)
            }
        }
    }

    pub(crate) fn first_sibling(self) -> Self {
        // SAFETY: live node.
        Self::new(unsafe { ly::lyd_first_sibling(self.ptr()) }).unwrap_or(self)
    }

    pub(crate) fn children(self) -> Siblings {
        Siblings(self.first_child())
    }

    pub(crate) fn first_child(self) -> Option<Self> {
        let child = match self.schema().map(SRaw::kind) {
            // SAFETY: a node without schema is a lyd_node_opaq.
            None => unsafe { (*self.ptr().cast::<ly::lyd_node_opaq>()).child },
            Some(Kind::Container | Kind::List | Kind::Rpc | Kind::Action | Kind::Notification) => {
                // SAFETY: nodes of these kinds are lyd_node_inner.
                unsafe { (*self.ptr().cast::<ly::lyd_node_inner>()).child }
            }
            Some(_) => ptr::null_mut(),
        };
        Self::new(child)
    }

    /// The first instance of the same list or leaf-list among the siblings.
    pub(crate) fn first_instance(self) -> Self {
        self.schema()
            .and_then(|schema| self.sibling_of(schema))
            .unwrap_or(self)
    }

    /// The instance right before this one in its list, if any.
    pub(crate) fn previous_instance(self) -> Option<Self> {
        self.prev().filter(|p| p.schema() == self.schema())
    }

    /// First instance of a schema node among the siblings, by hash.
    pub(crate) fn sibling_of(self, schema: SRaw) -> Option<Self> {
        let mut found = ptr::null_mut();
        // SAFETY: live nodes; out pointer to a local, null if there is none.
        unsafe {
            ly::lyd_find_sibling_val(self.ptr(), schema.ptr(), ptr::null(), 0, &raw mut found);
        }
        Self::new(found)
    }

    /// The sibling with these keys (`[name='a']`) or this leaf-list value.
    pub(crate) fn instance(self, schema: SRaw, keys_or_value: &str) -> Option<Self> {
        let text = c(keys_or_value).ok()?;
        let mut found = ptr::null_mut();
        // SAFETY: live nodes, NUL-terminated text (length 0 asks libyang to measure it), out pointer to a local.
        unsafe {
            ly::lyd_find_sibling_val(self.ptr(), schema.ptr(), text.as_ptr(), 0, &raw mut found);
        }
        Self::new(found)
    }

    /// The sibling that is the same instance as `target` (same leaf, same keys, same leaf-list value), by hash.
    pub(crate) fn same_sibling(self, target: Self) -> Option<Self> {
        let schema = target.schema()?;
        match schema.kind() {
            Kind::List | Kind::LeafList => {
                let mut found = ptr::null_mut();
                // SAFETY: as above.
                unsafe {
                    ly::lyd_find_sibling_first(self.ptr(), target.ptr(), &raw mut found);
                }
                Self::new(found)
            }
            _ => self.sibling_of(schema),
        }
    }

    fn flag(self, flag: u32) -> bool {
        // SAFETY: live node.
        unsafe { (*self.ptr()).flags & flag != 0 }
    }

    /// Whether it stands for a default: an implicit leaf, or a non-presence container with nothing explicit in it.
    pub(crate) fn is_default(self) -> bool {
        self.flag(ly::LYD_DEFAULT)
    }

    /// Whether the value of a leaf or leaf-list entry is (one of) its default(s).
    pub(crate) fn has_default_value(self) -> bool {
        // SAFETY: live node.
        unsafe { ly::lyd_is_default(self.ptr()) != 0 }
    }

    /// Marks the subtree as validated: not new, its `when`s true.
    pub(crate) fn mark_valid(self) {
        let when = self.schema().is_some_and(SRaw::has_when);
        // SAFETY: live node of a forest the caller holds mutably.
        unsafe {
            (*self.ptr()).flags &= !ly::LYD_NEW;
            if when {
                (*self.ptr()).flags |= ly::LYD_WHEN_TRUE;
            }
        }
        for child in self.children() {
            child.mark_valid();
        }
    }

    /// Computes every canonical value of the subtree, so that reading it later changes nothing.
    pub(crate) fn settle(self) {
        if self.schema().is_some_and(SRaw::is_term) {
            self.canonical();
        }
        for child in self.children() {
            child.settle();
        }
    }

    fn canonical<'a>(self) -> Option<&'a str> {
        // SAFETY: a leaf or leaf-list is a lyd_node_term; libyang caches the canonical value in it, and a union also in
        // the value it wraps.
        unsafe {
            let term = self.ptr().cast::<ly::lyd_node_term>();
            let value = &raw const (*term).value;
            let schema = (*self.ptr()).schema;
            let ctx = (*(*schema).module).ctx;
            if (*value)._canonical.is_null() {
                return text(ly::lyd_value_get_canonical(ctx, value));
            }
            if (*(*value).realtype).basetype == ly::LY_DATA_TYPE::LY_TYPE_UNION {
                let inner = &raw const (*(*value).__bindgen_anon_1.subvalue).value;
                if (*inner)._canonical.is_null() {
                    ly::lyd_value_get_canonical(ctx, inner);
                }
            }
            text((*value)._canonical)
        }
    }

    /// Canonical value of a leaf or leaf-list, or the text of an opaque node.
    pub(crate) fn value<'a>(self) -> Option<&'a str> {
        match self.schema() {
            None => {
                // SAFETY: a node without schema is a lyd_node_opaq.
                text(unsafe { (*self.ptr().cast::<ly::lyd_node_opaq>()).value })
            }
            Some(schema) if schema.is_term() => self.canonical(),
            Some(_) => None,
        }
    }

    /// Whether two leaves have the same value, or two subtrees the same content.
    pub(crate) fn equals(self, other: Self) -> bool {
        const FULL_RECURSION: u32 = 1;
        // SAFETY: two live nodes.
        unsafe {
            ly::lyd_compare_single(self.ptr(), other.ptr(), FULL_RECURSION)
                == ly::LY_ERR::LY_SUCCESS
        }
    }

    /// Instance path with module prefixes and key predicates.
    pub(crate) fn path(self) -> String {
        // SAFETY: live node; null buffer asks libyang to allocate.
        take_text(unsafe {
            ly::lyd_path(
                self.ptr(),
                ly::LYD_PATH_TYPE::LYD_PATH_STD,
                ptr::null_mut(),
                0,
            )
        })
        .unwrap_or_default()
    }

    /// Metadata: (module name, name, canonical value). Internal ones (the sorted tree of a list) are left out.
    pub(crate) fn metadata(self) -> Vec<(String, String, String)> {
        let mut out = Vec::new();
        // SAFETY: live node, the list is not changed while it is walked.
        unsafe {
            let mut meta = (*self.ptr()).meta;
            while !meta.is_null() {
                if ly::lyd_meta_is_internal(meta) == 0 {
                    let ctx = (*(*(*meta).annotation).module).ctx;
                    let module = text((*(*(*meta).annotation).module).name).unwrap_or_default();
                    let value = ly::lyd_value_get_canonical(ctx, &raw const (*meta).value);
                    out.push((
                        module.to_owned(),
                        text((*meta).name).unwrap_or_default().to_owned(),
                        text(value).unwrap_or_default().to_owned(),
                    ));
                }
                meta = (*meta).next;
            }
        }
        out
    }

    /// Whether there is metadata that libyang did not put there for itself.
    pub(crate) fn has_metadata(self) -> bool {
        // SAFETY: live node, the list is not changed while it is walked.
        unsafe {
            let mut meta = (*self.ptr()).meta;
            while !meta.is_null() {
                if ly::lyd_meta_is_internal(meta) == 0 {
                    return true;
                }
                meta = (*meta).next;
            }
        }
        false
    }

    /// Whether it is data that was parsed below a parent that already had its keys.
    pub(crate) fn is_parsed_body(self) -> bool {
        !self.schema().is_some_and(SRaw::is_key)
    }

    /// Sets metadata such as `ietf-netconf:operation`; on an opaque node an attribute of that name.
    pub(crate) fn set_metadata(self, name: &str, value: &str) -> Result<(), Failed> {
        if self.schema().is_none() {
            let module = name.split(':').next().unwrap_or_default();
            let (name, value, module) = (c(name)?, c(value)?, c(module)?);
            // SAFETY: live opaque node, NUL-terminated strings.
            let rc = unsafe {
                ly::lyd_new_attr(
                    self.ptr(),
                    module.as_ptr(),
                    name.as_ptr(),
                    value.as_ptr(),
                    ptr::null_mut(),
                )
            };
            return if rc == ly::LY_ERR::LY_SUCCESS {
                Ok(())
            } else {
                Err(Failed)
            };
        }
        let (name, value) = (c(name)?, c(value)?);
        // SAFETY: live node; a null module means that the name bears the module's prefix.
        let rc = unsafe {
            ly::lyd_new_meta(
                ptr::null(),
                self.ptr(),
                ptr::null(),
                name.as_ptr(),
                value.as_ptr(),
                0,
                ptr::null_mut(),
            )
        };
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// Name of an opaque node.
    pub(crate) fn opaque_name(self) -> Option<OpaqueName> {
        if self.schema().is_some() {
            return None;
        }
        // SAFETY: a node without schema is a lyd_node_opaq; both members of the union are strings.
        let (name, module) = unsafe {
            let n = &(*self.ptr().cast::<ly::lyd_node_opaq>()).name;
            (n.name, n.__bindgen_anon_1.module_ns)
        };
        Some(OpaqueName {
            module: text(module).unwrap_or_default().to_owned(),
            name: text(name).unwrap_or_default().to_owned(),
        })
    }

    /// Attributes of an opaque node: name and value.
    pub(crate) fn opaque_attributes(self) -> Vec<(OpaqueName, String)> {
        let mut out = Vec::new();
        if self.schema().is_some() {
            return out;
        }
        // SAFETY: as above; the list is not changed while it is walked.
        unsafe {
            let mut attr = (*self.ptr().cast::<ly::lyd_node_opaq>()).attr;
            while !attr.is_null() {
                let n = &(*attr).name;
                out.push((
                    OpaqueName {
                        module: text(n.__bindgen_anon_1.module_ns)
                            .unwrap_or_default()
                            .to_owned(),
                        name: text(n.name).unwrap_or_default().to_owned(),
                    },
                    text((*attr).value).unwrap_or_default().to_owned(),
                ));
                attr = (*attr).next;
            }
        }
        out
    }

    /// Makes libyang say what is wrong with an opaque node; the reason is then in the errors of the context.
    pub(crate) fn explain_opaque(self) {
        if self.schema().is_none() {
            // SAFETY: live opaque node.
            unsafe { ly::lyd_parse_opaq_error(self.ptr()) };
        }
    }

    /// A detached copy with flags and without metadata. Not recursive: the node alone (a list with its keys).
    pub(crate) fn copy(self, recursive: bool) -> Result<Forest, Failed> {
        let mut options = ly::LYD_DUP_WITH_FLAGS | ly::LYD_DUP_NO_META;
        if recursive {
            options |= ly::LYD_DUP_RECURSIVE;
        }
        let mut dup = ptr::null_mut();
        // SAFETY: live source, out pointer to a local.
        let rc = unsafe { ly::lyd_dup_single(self.ptr(), ptr::null_mut(), options, &raw mut dup) };
        let forest = Forest::new(dup);
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(forest)
        } else {
            Err(Failed)
        }
    }

    /// A detached copy inside a copy of its parents (lists with their keys). Gives the whole and the copy.
    pub(crate) fn copy_with_parents(self, recursive: bool) -> Result<(Forest, Self), Failed> {
        let mut options = ly::LYD_DUP_WITH_FLAGS | ly::LYD_DUP_NO_META | ly::LYD_DUP_WITH_PARENTS;
        if recursive {
            options |= ly::LYD_DUP_RECURSIVE;
        }
        let mut dup = ptr::null_mut();
        // SAFETY: live source, out pointer to a local.
        let rc = unsafe { ly::lyd_dup_single(self.ptr(), ptr::null_mut(), options, &raw mut dup) };
        let forest = Forest::new(dup);
        match (rc, Self::new(dup)) {
            (ly::LY_ERR::LY_SUCCESS, Some(copy)) => Ok((forest, copy)),
            _ => Err(Failed),
        }
    }

    /// Nodes that an XPath in JSON form selects, with this node as context.
    pub(crate) fn find(self, xpath: &str) -> Result<Vec<Self>, Failed> {
        let xpath = c(xpath)?;
        let mut set = ptr::null_mut();
        // SAFETY: live node, NUL-terminated expression; the set is freed after its pointers were copied.
        unsafe {
            if ly::lyd_find_xpath(self.ptr(), xpath.as_ptr(), &raw mut set)
                != ly::LY_ERR::LY_SUCCESS
            {
                return Err(Failed);
            }
            let mut out = Vec::with_capacity((*set).count as usize);
            for i in 0..(*set).count as usize {
                if let Some(node) = Self::new(*(*set).__bindgen_anon_1.dnodes.add(i)) {
                    out.push(node);
                }
            }
            ly::ly_set_free(set, None);
            Ok(out)
        }
    }

    /// Prints this node, with its later siblings if the options say so.
    pub(crate) fn print(
        self,
        format: ly::LYD_FORMAT::Type,
        options: u32,
    ) -> Result<String, Failed> {
        let mut out = ptr::null_mut();
        // SAFETY: live node, out pointer to a local; the text is ours.
        let rc = unsafe { ly::lyd_print_mem(&raw mut out, self.ptr(), format, options) };
        let printed = take_text(out);
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(printed.unwrap_or_default())
        } else {
            Err(Failed)
        }
    }

    /// Validates an operation or notification against the data it refers to.
    pub(crate) fn validate_op(
        self,
        data: Option<Self>,
        kind: ly::lyd_type::Type,
    ) -> Result<(), Failed> {
        // SAFETY: live nodes; a null diff is allowed.
        let rc = unsafe {
            ly::lyd_validate_op(
                self.ptr(),
                data.map_or(ptr::null(), |d| d.ptr().cast_const()),
                kind,
                ptr::null_mut(),
            )
        };
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// JSON or XML text of the content of anydata or anyxml.
    pub(crate) fn any_text(self) -> Option<String> {
        let mut out = ptr::null_mut();
        // SAFETY: live anydata node (checked by libyang), out pointer to a local; the text is ours.
        unsafe { ly::lyd_any_value_str(self.ptr(), ly::LYD_FORMAT::LYD_XML, &raw mut out) };
        take_text(out)
    }
}
