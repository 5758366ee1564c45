//! Finds the built page that the binary embeds: `controller/web/dist`, or the directory in `TRANCHE_WEB_DIST`.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=TRANCHE_WEB_DIST");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = env::var_os("TRANCHE_WEB_DIST")
        .map_or_else(|| root.join("web").join("dist"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", dist.display());
    if !dist.join("index.html").is_file() {
        let dist = dist.display();
        println!("cargo::error=the page is not built ({dist} has no index.html): run `make web`");
        return ExitCode::FAILURE;
    }
    println!("cargo::rustc-env=TRANCHE_WEB_EMBED={}", dist.display());
    ExitCode::SUCCESS
}
