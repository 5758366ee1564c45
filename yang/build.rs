//! Embeds YANG modules: the standard ones from the pinned `pyang` package, and ours.
//!
//! The standard modules are not in the repository. `make setup` puts them under `.tools/venv`; the variable
//! `TRANCHE_YANG_MODULES` names another folder that has `ietf/` and `iana/` (or the files themselves) in it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The standard modules that Tranche implements or imports. libyang brings `ietf-yang-types`, `ietf-inet-types`,
/// `ietf-yang-library`, `ietf-datastores`, `ietf-yang-metadata` and `ietf-yang-structure-ext` itself.
const STANDARD: &[&str] = &[
    "iana-crypt-hash",
    "iana-hardware",
    "iana-if-type",
    "ietf-alarms",
    "ietf-interfaces",
    "ietf-ip",
    "ietf-netconf",
    "ietf-netconf-acm",
    "ietf-netconf-monitoring",
    "ietf-netconf-nmda",
    "ietf-netconf-notifications",
    "ietf-netconf-with-defaults",
    "ietf-network-instance",
    "ietf-origin",
    "ietf-restconf",
    "ietf-restconf-monitoring",
    "ietf-subscribed-notifications",
    "ietf-system",
    "ietf-yang-patch",
    "ietf-yang-push",
    "ietf-yang-schema-mount",
];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=TRANCHE_YANG_MODULES");
    println!("cargo::rerun-if-changed=build.rs");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    let standard = env::var_os("TRANCHE_YANG_MODULES").map_or_else(
        || here.join("../.tools/venv/share/yang/modules"),
        PathBuf::from,
    );

    let mut files = Vec::new();
    for name in STANDARD {
        let file = ["ietf", "iana", "."]
            .iter()
            .map(|dir| standard.join(dir).join(format!("{name}.yang")))
            .find(|file| file.is_file())
            .ok_or_else(|| {
                format!(
                    "the standard YANG module {name} is not under {}: run `make setup`, or set \
                     TRANCHE_YANG_MODULES to a folder that has it",
                    standard.display()
                )
            })?;
        files.push(file);
    }
    let ours = here.join("modules");
    println!("cargo::rerun-if-changed={}", ours.display());
    if ours.is_dir() {
        find_yang(&ours, &mut files).map_err(|e| format!("{}: {e}", ours.display()))?;
    }

    let mut out = String::from("static MODULES: &[Embedded] = &[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let header = header(&text)
            .ok_or_else(|| format!("{}: neither a module nor a submodule", file.display()))?;
        out += &format!(
            "    Embedded {{ name: {:?}, revision: {:?}, belongs_to: {:?}, source: include_str!({:?}) }},\n",
            header.name,
            header.revision,
            header.belongs_to,
            file.canonicalize()
                .map_err(|e| format!("{}: {e}", file.display()))?
        );
    }
    out.push_str("];\n");
    let target = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?).join("modules.rs");
    fs::write(&target, out).map_err(|e| format!("{}: {e}", target.display()))
}

fn find_yang(dir: &Path, out: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            find_yang(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "yang") {
            out.push(path);
        }
    }
    Ok(())
}

include!("src/header.rs");
