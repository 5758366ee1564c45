//! Compiles the airtime scheduler: its arithmetic natively, for the simulator, and with the feature `bpf` the program that
//! does the same in the kernel and the one that steers packets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

/// Sources of the scheduler's program, of the one that replays traces for its tests, and of the one that steers packets.
const PROGRAMS: [&str; 3] = ["airtime", "airtime_replay", "steer"];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    cc::Build::new()
        .file("bpf/airtime_native.c")
        .include("bpf")
        .std("c11")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .opt_level(2)
        .compile("tranche_airtime");
    if env::var_os("CARGO_FEATURE_BPF").is_some() {
        PROGRAMS.into_iter().for_each(compile_for_the_kernel);
    }
}

fn compile_for_the_kernel(name: &str) {
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // What libbpf was built with: set by libbpf-sys for those who depend on it.
    let include = env::var_os("DEP_BPF_INCLUDE").unwrap_or_default();
    let object =
        Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join(format!("{name}.bpf.o"));
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-fno-builtin"])
        .args(["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"])
        .arg("-I")
        .arg(include)
        .arg("-c")
        .arg(PathBuf::from("bpf").join(format!("{name}.bpf.c")))
        .arg("-o")
        .arg(&object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail("clang does not compile the kernel program: it says why above"),
        Err(error) => fail(&format!(
            "no clang ({error}), which compiles programs for the kernel: install the Debian packages \
             clang, libelf-dev and zlib1g-dev, or build without it (--no-default-features)"
        )),
    }
}

fn fail(why: &str) {
    println!("cargo::error={why}");
    process::exit(1);
}
