//! The C code of the example `ffi_crash`.

fn main() {
    println!("cargo::rerun-if-changed=ffi_crash.c");
    cc::Build::new().file("ffi_crash.c").compile("ffi_crash");
}
