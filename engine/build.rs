//! Generates the lane's messages and service from `proto/lane.proto`, without a protoc binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/lane.proto");
    let descriptors = protox::compile(["lane.proto"], ["proto"])?;
    // A Hello and a Join carry a token, which must not come into a log: `protocol` says how they are shown.
    let secret = ["seaworthy.lane.v1.Hello", "seaworthy.lane.v1.Join"];
    tonic_prost_build::configure().bytes(".").skip_debug(secret).compile_fds(descriptors)?;
    Ok(())
}
