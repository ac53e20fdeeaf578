//! Generates the lane's messages and service from `proto/lane.proto`, without a protoc binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/lane.proto");
    let descriptors = protox::compile(["lane.proto"], ["proto"])?;
    // A Hello carries a token, which must not come into a log: `protocol` says how it is shown.
    tonic_prost_build::configure().bytes(".").skip_debug(["seaworthy.lane.v1.Hello"]).compile_fds(descriptors)?;
    Ok(())
}
