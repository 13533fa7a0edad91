//! Compiles the wire protocol. protox is a Protocol Buffers compiler in Rust, so no `protoc` is needed to build.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/wire/agents.proto");
    let descriptors = protox::compile(["src/wire/agents.proto"], ["src/wire"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Connections are ours (`wire::io`), and a generated `connect` would clash with the call of that name.
        .build_transport(false)
        .bytes(".driftless.agents.v1.LogChunk.data")
        .boxed(".driftless.agents.v1.FromAgent.message.hello")
        // What holds secrets is not printed: `wire::proto` gives these a Debug of their own.
        .skip_debug([".driftless.agents.v1.Template", ".driftless.agents.v1.Data"])
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
