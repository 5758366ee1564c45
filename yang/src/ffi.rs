//! The one place that calls libyang directly: what the binding `yang5` does not wrap (metadata, opaque nodes,
//! ordered insertion, validation with every error, canonical values).
//!
//! [`Forest`] owns sibling trees and frees them. [`Raw`] is a handle to one data node and [`SRaw`] to one schema node;
//! both are plain pointers. The invariant that makes the safe functions here sound is kept by this crate, which never
//! hands a `Raw` out of it: **a `Raw` is used only while the `Forest` that holds its node lives, and a function that
//! frees or unlinks nodes is called only by the owner of that forest's `&mut`**. Schema nodes belong to a context that
//! is leaked on purpose ([`crate::Schema`]), so an `SRaw` is always valid.
#![expect(
    unsafe_code,
    reason = "libyang is a C library; every call into it that yang5 lacks is in this module"
)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};

use yang5::ffi as ly;

mod node;
mod schema;

pub(crate) use node::{Raw, Siblings};
pub use schema::Kind;
pub(crate) use schema::{SRaw, module_info};

/// The context as libyang sees it. Never freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ctx(NonNull<ly::ly_ctx>);

// SAFETY: a built context is immutable but for libyang's internal dictionary and error lists, which lock themselves.
unsafe impl Send for Ctx {}
// SAFETY: as above.
unsafe impl Sync for Ctx {}

/// One error as libyang records it.
#[derive(Debug, Clone)]
pub(crate) struct RawError {
    pub(crate) vecode: ly::LY_VECODE::Type,
    pub(crate) message: String,
    pub(crate) path: Option<String>,
    pub(crate) schema_path: Option<String>,
    pub(crate) line: u64,
    pub(crate) app_tag: Option<String>,
}

/// A call failed; the reasons are in [`Ctx::take_errors`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed;

/// Text from libyang: borrowed for as long as libyang keeps it.
fn text<'a>(p: *const c_char) -> Option<&'a str> {
    if p.is_null() {
        return None;
    }
    // SAFETY: every string of libyang is NUL-terminated; the caller keeps its owner alive.
    unsafe { CStr::from_ptr(p) }.to_str().ok()
}

/// Text that libyang allocated for us.
fn take_text(p: *mut c_char) -> Option<String> {
    if p.is_null() {
        return None;
    }
    // SAFETY: a NUL-terminated string from malloc that is ours to free; it is not used after.
    unsafe {
        let owned = CStr::from_ptr(p).to_string_lossy().into_owned();
        ly::free(p.cast::<c_void>());
        Some(owned)
    }
}

/// A C string; text after an inner NUL could never reach libyang, so it is an error of the caller's input.
fn c(s: &str) -> Result<CString, Failed> {
    CString::new(s).map_err(|_| Failed)
}

impl Ctx {
    /// The context of a loaded module.
    pub(crate) fn of(context: &yang5::context::Context) -> Option<Self> {
        let module = context.modules(false).next()?;
        // SAFETY: a module of a live context points to that context.
        NonNull::new(unsafe { (*module.as_raw()).ctx }).map(Self)
    }

    pub(crate) fn raw(self) -> *mut ly::ly_ctx {
        self.0.as_ptr()
    }

    /// Stores every error of this thread from now on rather than the last alone.
    pub(crate) fn store_all_errors() {
        // SAFETY: sets a process-wide option of libyang; no pointer involved.
        unsafe {
            ly::ly_log_options(ly::LY_LOSTORE);
            ly::ly_log_level(ly::LY_LOG_LEVEL::LY_LLERR);
        }
    }

    /// Forgets the errors of this thread.
    pub(crate) fn clear_errors(self) {
        // SAFETY: the context is live; null means all errors of this thread.
        unsafe { ly::ly_err_clean(self.raw(), ptr::null_mut()) };
    }

    /// The errors of this thread, oldest first; they are forgotten.
    pub(crate) fn take_errors(self) -> Vec<RawError> {
        let mut out = Vec::new();
        // SAFETY: the list belongs to this thread and context and is not changed while it is walked.
        let mut item = unsafe { ly::ly_err_first(self.raw()) };
        while !item.is_null() {
            // SAFETY: a live item of the list, see above.
            let e = unsafe { &*item };
            if e.level == ly::LY_LOG_LEVEL::LY_LLERR {
                out.push(RawError {
                    vecode: e.vecode,
                    message: text(e.msg).unwrap_or("unknown error").to_owned(),
                    path: text(e.data_path).map(str::to_owned),
                    schema_path: text(e.schema_path).map(str::to_owned),
                    line: e.line,
                    app_tag: text(e.apptag).map(str::to_owned),
                });
            }
            item = e.next;
        }
        self.clear_errors();
        out
    }

    /// Parses (and unless `LYD_PARSE_ONLY`, validates) instance data.
    pub(crate) fn parse(
        self,
        format: ly::LYD_FORMAT::Type,
        data: &str,
        parse_options: u32,
        validate_options: u32,
    ) -> Result<Forest, Failed> {
        self.clear_errors();
        let data = c(data)?;
        let mut root = ptr::null_mut();
        // SAFETY: live context, NUL-terminated input, out pointer to a local.
        let rc = unsafe {
            ly::lyd_parse_data_mem(
                self.raw(),
                data.as_ptr(),
                format,
                parse_options,
                validate_options,
                &raw mut root,
            )
        };
        let forest = Forest::new(root);
        // With several errors wanted, libyang goes on after an attribute without prefix and says success at the end.
        // SAFETY: live context.
        let clean = unsafe { ly::ly_err_first(self.raw()) }.is_null();
        if rc == ly::LY_ERR::LY_SUCCESS && clean {
            Ok(forest)
        } else {
            Err(Failed)
        }
    }

    /// Parses the content of an operation or notification. `parent` is the request for replies.
    ///
    /// Gives the data tree and the operation node in it (for replies: nothing, the data lands under `parent`).
    pub(crate) fn parse_op(
        self,
        parent: Option<Raw>,
        format: ly::LYD_FORMAT::Type,
        data: &str,
        kind: ly::lyd_type::Type,
        parse_options: u32,
    ) -> Result<(Forest, Option<Raw>), Failed> {
        self.clear_errors();
        let data = c(data)?;
        let mut input = ptr::null_mut();
        let (mut tree, mut op) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the input handler borrows `data`, which outlives it, and is freed below; out pointers are locals.
        let rc = unsafe {
            if ly::ly_in_new_memory(data.as_ptr(), &raw mut input) != ly::LY_ERR::LY_SUCCESS {
                return Err(Failed);
            }
            let op_out = if parent.is_some() {
                ptr::null_mut()
            } else {
                &raw mut op
            };
            let rc = ly::lyd_parse_op(
                self.raw(),
                parent.map_or(ptr::null_mut(), Raw::ptr),
                input,
                format,
                kind,
                parse_options,
                &raw mut tree,
                op_out,
            );
            ly::ly_in_free(input, 0);
            rc
        };
        // `tree` is the envelope (opaque), the operation is a tree of its own for NETCONF and RESTCONF kinds.
        let envelope = Forest::new(tree);
        let op = Raw::new(op);
        let forest = match op {
            Some(op) => {
                let mut top = op;
                while let Some(parent) = top.parent() {
                    top = parent;
                }
                if envelope
                    .root
                    .is_some_and(|e| e.first_sibling() == top.first_sibling())
                {
                    envelope
                } else {
                    Forest::new(top.first_sibling().ptr())
                }
            }
            None => envelope,
        };
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok((forest, op))
        } else {
            Err(Failed)
        }
    }

    /// `ietf-yang-library` data of the context.
    pub(crate) fn yang_library(self, content_id: &str) -> Result<Forest, Failed> {
        let id = c(content_id)?;
        let mut root = ptr::null_mut();
        // SAFETY: "%s" takes one string, which is passed; out pointer to a local.
        let rc = unsafe {
            ly::ly_ctx_get_yanglib_data(self.raw(), &raw mut root, c"%s".as_ptr(), id.as_ptr())
        };
        let forest = Forest::new(root);
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(forest)
        } else {
            Err(Failed)
        }
    }

    /// A hash over modules, revisions and features: the same for the same schema in any process.
    pub(crate) fn modules_hash(self) -> u32 {
        // SAFETY: live context.
        unsafe { ly::ly_ctx_get_modules_hash(self.raw()) }
    }
}

/// Owner of a list of sibling trees.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    pub(crate) root: Option<Raw>,
}

impl Drop for Forest {
    fn drop(&mut self) {
        if let Some(root) = self.root.take() {
            // SAFETY: this is the only owner; `root` is live.
            unsafe { ly::lyd_free_all(root.ptr()) };
        }
    }
}

impl Forest {
    fn new(root: *mut ly::lyd_node) -> Self {
        let mut forest = Self {
            root: Raw::new(root),
        };
        forest.fix_root();
        forest
    }

    /// Gives the trees up to the caller.
    pub(crate) fn release(mut self) -> Option<Raw> {
        self.root.take()
    }

    /// Makes `root` the first sibling at the top again after an insertion.
    fn fix_root(&mut self) {
        if let Some(mut root) = self.root {
            while let Some(parent) = root.parent() {
                root = parent;
            }
            self.root = Some(root.first_sibling());
        }
    }

    pub(crate) fn top(&self) -> Siblings {
        Siblings(self.root)
    }

    /// A copy with flags.
    pub(crate) fn duplicate(&self) -> Result<Self, Failed> {
        let Some(root) = self.root else {
            return Ok(Self::default());
        };
        let mut dup = ptr::null_mut();
        let options = ly::LYD_DUP_RECURSIVE | ly::LYD_DUP_WITH_FLAGS;
        // SAFETY: live source, out pointer to a local.
        let rc =
            unsafe { ly::lyd_dup_siblings(root.ptr(), ptr::null_mut(), options, &raw mut dup) };
        let forest = Self::new(dup);
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(forest)
        } else {
            Err(Failed)
        }
    }

    /// Validates everything. The second value is libyang's diff of what validation changed (defaults, false `when`s).
    pub(crate) fn validate(&mut self, ctx: Ctx, options: u32) -> (Result<(), Failed>, Self) {
        ctx.clear_errors();
        let mut root = self.root.map_or(ptr::null_mut(), Raw::ptr);
        let mut diff = ptr::null_mut();
        // SAFETY: live tree and context; libyang may free nodes and moves the root, which is stored back.
        let rc = unsafe { ly::lyd_validate_all(&raw mut root, ctx.raw(), options, &raw mut diff) };
        self.root = Raw::new(root);
        self.fix_root();
        let ok = if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(())
        } else {
            Err(Failed)
        };
        (ok, Self::new(diff))
    }

    /// Adds missing default nodes and empty containers. Gives libyang's diff of what was added.
    pub(crate) fn add_implicit(&mut self, ctx: Ctx, options: u32) -> Result<Self, Failed> {
        ctx.clear_errors();
        let mut root = self.root.map_or(ptr::null_mut(), Raw::ptr);
        let mut diff = ptr::null_mut();
        // SAFETY: as in `validate`.
        let rc =
            unsafe { ly::lyd_new_implicit_all(&raw mut root, ctx.raw(), options, &raw mut diff) };
        self.root = Raw::new(root);
        self.fix_root();
        let diff = Self::new(diff);
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(diff)
        } else {
            Err(Failed)
        }
    }

    /// Merges a copy of `other` in.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), Failed> {
        let Some(source) = other.root else {
            return Ok(());
        };
        let mut root = self.root.map_or(ptr::null_mut(), Raw::ptr);
        // SAFETY: both live and of one context; the root is stored back.
        let rc = unsafe {
            ly::lyd_merge_siblings(&raw mut root, source.ptr(), ly::LYD_MERGE_WITH_FLAGS as u16)
        };
        self.root = Raw::new(root);
        self.fix_root();
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// Creates the node at `path` and its missing parents, or changes its value. Gives the topmost created node.
    pub(crate) fn set_path(
        &mut self,
        ctx: Ctx,
        path: &str,
        value: Option<&str>,
        options: u32,
    ) -> Result<Option<Raw>, Failed> {
        ctx.clear_errors();
        let path = c(path)?;
        let value = value.map(c).transpose()?;
        let mut first = ptr::null_mut();
        // SAFETY: live tree or null, live context, NUL-terminated strings, out pointer to a local.
        let rc = unsafe {
            ly::lyd_new_path(
                self.root.map_or(ptr::null_mut(), Raw::ptr),
                ctx.raw(),
                path.as_ptr(),
                value.as_ref().map_or(ptr::null(), |v| v.as_ptr()),
                ly::LYD_NEW_PATH_UPDATE | options,
                &raw mut first,
            )
        };
        let first = Raw::new(first);
        if self.root.is_none() {
            self.root = first;
        }
        self.fix_root();
        if rc == ly::LY_ERR::LY_SUCCESS {
            Ok(first)
        } else {
            Err(Failed)
        }
    }

    /// Parses data below a node of this forest.
    pub(crate) fn parse_under(
        &mut self,
        ctx: Ctx,
        parent: Raw,
        format: ly::LYD_FORMAT::Type,
        data: &str,
        options: u32,
    ) -> Result<(), Failed> {
        ctx.clear_errors();
        let data = c(data)?;
        let mut input = ptr::null_mut();
        let mut first = ptr::null_mut();
        // SAFETY: the input handler borrows `data`, which outlives it, and is freed here; `parent` is of this forest.
        let (rc, clean) = unsafe {
            if ly::ly_in_new_memory(data.as_ptr(), &raw mut input) != ly::LY_ERR::LY_SUCCESS {
                return Err(Failed);
            }
            let rc = ly::lyd_parse_data(
                ctx.raw(),
                parent.ptr(),
                input,
                format,
                options,
                ly::LYD_VALIDATE_MULTI_ERROR,
                &raw mut first,
            );
            ly::ly_in_free(input, 0);
            (rc, ly::ly_err_first(ctx.raw()).is_null())
        };
        if rc == ly::LY_ERR::LY_SUCCESS && clean {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// Creates an instance of a schema node below `parent`, or at the top: a list entry by its predicates, a leaf or
    /// leaf-list entry by its value. A leaf without value becomes an opaque node, which only a delete may have.
    pub(crate) fn new_node(
        &mut self,
        parent: Option<Raw>,
        schema: SRaw,
        predicates: &str,
        value: Option<&str>,
    ) -> Result<Raw, Failed> {
        let (name, predicates) = (c(schema.name())?, c(predicates)?);
        let value = value.map(c).transpose()?;
        let parent_ptr = parent.map_or(ptr::null_mut(), Raw::ptr);
        let mut node = ptr::null_mut();
        // SAFETY: `parent` is of this forest, the module is the schema node's own, out pointer to a local.
        let rc = unsafe {
            let module = schema.module_ptr();
            match schema.kind() {
                Kind::List => ly::lyd_new_list2(
                    parent_ptr,
                    module,
                    name.as_ptr(),
                    predicates.as_ptr(),
                    0,
                    &raw mut node,
                ),
                Kind::LeafList => ly::lyd_new_term(
                    parent_ptr,
                    module,
                    name.as_ptr(),
                    value.as_ref().map_or(ptr::null(), |v| v.as_ptr()),
                    0,
                    &raw mut node,
                ),
                Kind::Leaf | Kind::Any => {
                    let module_name = c(schema.module())?;
                    ly::lyd_new_opaq(
                        parent_ptr,
                        (*module).ctx,
                        name.as_ptr(),
                        ptr::null(),
                        ptr::null(),
                        module_name.as_ptr(),
                        &raw mut node,
                    )
                }
                _ => ly::lyd_new_inner(parent_ptr, module, name.as_ptr(), 0, &raw mut node),
            }
        };
        let node = Raw::new(node)
            .filter(|_| rc == ly::LY_ERR::LY_SUCCESS)
            .ok_or(Failed)?;
        if self.root.is_none() {
            self.root = Some(node);
        }
        self.fix_root();
        Ok(node)
    }

    /// Nodes that an XPath in JSON form selects.
    pub(crate) fn find(&self, ctx: Ctx, xpath: &str) -> Result<Vec<Raw>, Failed> {
        ctx.clear_errors();
        let Some(root) = self.root else {
            return Ok(Vec::new());
        };
        root.find(xpath)
    }

    /// Inserts a detached node at its place below `parent` (or at the top), then after `after` if it is user-ordered.
    pub(crate) fn insert(
        &mut self,
        parent: Option<Raw>,
        node: Raw,
        place: Place,
    ) -> Result<(), Failed> {
        // SAFETY: `node` is detached and owned by the caller, who gives it up; `parent` and the siblings are of this
        // forest.
        let rc = unsafe {
            match parent {
                Some(parent) => ly::lyd_insert_child(parent.ptr(), node.ptr()),
                None => ly::lyd_insert_sibling(
                    self.root.map_or(ptr::null_mut(), Raw::ptr),
                    node.ptr(),
                    ptr::null_mut(),
                ),
            }
        };
        if rc != ly::LY_ERR::LY_SUCCESS {
            return Err(Failed);
        }
        if self.root.is_none() {
            self.root = Some(node);
        }
        self.fix_root();
        self.place(node, place)
    }

    /// Moves a user-ordered instance among its siblings.
    pub(crate) fn place(&mut self, node: Raw, place: Place) -> Result<(), Failed> {
        let moved = match place {
            Place::Natural => return Ok(()),
            Place::First => {
                let first = node.first_instance();
                if first == node {
                    return Ok(());
                }
                // SAFETY: two live siblings of one schema node in this forest.
                unsafe { ly::lyd_insert_before(first.ptr(), node.ptr()) }
            }
            // SAFETY: as above.
            Place::After(anchor) => unsafe { ly::lyd_insert_after(anchor.ptr(), node.ptr()) },
        };
        self.fix_root();
        if moved == ly::LY_ERR::LY_SUCCESS {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// Takes a node out of the forest.
    pub(crate) fn unlink(&mut self, node: Raw) -> Result<Self, Failed> {
        if self.root == Some(node) {
            self.root = node.next();
        }
        // SAFETY: `node` is of this forest; afterwards it is on its own.
        let rc = unsafe { ly::lyd_unlink_tree(node.ptr()) };
        if rc != ly::LY_ERR::LY_SUCCESS {
            self.root = Some(self.root.unwrap_or(node));
            self.fix_root();
            return Err(Failed);
        }
        Ok(Self { root: Some(node) })
    }
}

/// Where a user-ordered instance goes; everything else has one natural place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where libyang puts it: by schema order, sorted, or last.
    Natural,
    /// Before all instances.
    First,
    /// Right after this one.
    After(Raw),
}
