//! Compiles the wire protocol (protox is a Protocol Buffers compiler in Rust, so no `protoc` is needed to build) and the init of
//! containers, a static program of its own that the library carries.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// The source of the init.
const INIT: &str = "src/agent/init/main.rs";

fn main() -> Result<(), Box<dyn Error>> {
    compile_protocol()?;
    compile_init()
}

fn compile_protocol() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/wire/agents.proto");
    let descriptors = protox::compile(["src/wire/agents.proto"], ["src/wire"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Connections are ours (`wire::io`), and a generated `connect` would clash with the call of that name.
        .build_transport(false)
        .bytes(".driftless.agents.v1.LogChunk.data")
        .bytes(".driftless.agents.v1.RelayPiece.data")
        .boxed(".driftless.agents.v1.FromAgent.message.hello")
        .boxed(".driftless.agents.v1.FromAgent.message.report")
        // What holds secrets is not printed: `wire::proto` gives these a Debug of their own.
        .skip_debug([
            ".driftless.agents.v1.Template",
            ".driftless.agents.v1.Data",
            ".driftless.agents.v1.JoinToken",
            ".driftless.agents.v1.IngressCertificate",
        ])
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The compiler of this build, for the target of this build, with the C library linked in: what is needed for that is there wherever
/// the rest of the build is possible (Debian's `libc6-dev` has both forms of the library). It must run in images that have no loader
/// and no library, whatever C library theirs is.
#[expect(clippy::disallowed_methods, reason = "cargo tells a build script in its environment")]
fn compile_init() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={INIT}");
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let output = Path::new(&variable("OUT_DIR")?).join("driftless-init");
    let mut compiler = Command::new(variable("RUSTC")?);
    compiler.args(["--edition=2024", "--crate-name=driftless_init", "--crate-type=bin", "--target", &variable("TARGET")?]);
    let options = ["opt-level=s", "codegen-units=1", "panic=abort", "strip=symbols", "target-feature=+crt-static"];
    compiler.args(options.map(|option| format!("-C{option}")));
    compiler.args(["-Funsafe_code", "-Dwarnings"]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg(format!("-Clinker={linker}"));
    }
    let made = compiler.arg("-o").arg(&output).arg(INIT).output()?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        let hint = "it needs the C library in its static form (Debian: libc6-dev; Fedora: glibc-static)";
        return Err(format!("{INIT} cannot be linked statically; {hint}:\n{said}").into());
    }
    Ok(())
}
