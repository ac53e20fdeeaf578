//! Who may speak on a connection: the process that the network proved, and that knows its access token.

use super::LaneError;
use super::wire::Line;
use crate::env::Net;

/// Checks that the peer of `line`, which says to be `process`, is.
///
/// # Errors
/// [`LaneError::Unauthenticated`], which says what doesn't fit.
pub(super) fn admit(net: &dyn Net, line: &Line, process: &str, token: &[u8]) -> Result<(), LaneError> {
    let denied = |why: String| Err(LaneError::Unauthenticated { why });
    if let Some(peer) = line.peer()
        && peer != process
    {
        return denied(format!("{process} has the certificate of {peer}"));
    }
    if !net.knows(process, token) {
        return denied(if token.is_empty() {
            format!("{process} shows no access token")
        } else {
            format!("that is not the access token of {process}")
        });
    }
    Ok(())
}
