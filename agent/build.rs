//! Compiles the airtime scheduler's arithmetic, the same C that goes into the kernel program, for the simulator.

fn main() {
    println!("cargo::rerun-if-changed=bpf/airtime.h");
    println!("cargo::rerun-if-changed=bpf/airtime_native.c");
    cc::Build::new()
        .file("bpf/airtime_native.c")
        .include("bpf")
        .std("c11")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .opt_level(2)
        .compile("tranche_airtime");
}
