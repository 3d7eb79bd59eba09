//! A command of the CodeDeploy service, as the 1.x agent's log names it.

/// The name of a command: of a lifecycle event of a deployment.
pub(crate) fn identifier(deployment: &str, event: &str) -> String {
    let command = format!(
        "[\"com.amazon.apollo.deploycontrol.domain.HostCommandIdentifier\",{{\"deploymentId\":\
         \"CodeDeploy/eu-west-1/Prod/arn:aws:sds:eu-west-1:111122223333:deployment/{deployment}\",\
         \"commandName\":\"{event}\",\"commandPosition\":1,\"commandAttempt\":1}}]"
    );
    base64(command.as_bytes())
}

/// The call that takes a command on.
pub(crate) fn acknowledged(identifier: &str) -> String {
    format!(
        "put_host_command_acknowledgement(diagnostics:{{format:\"JSON\",payload:\
         \"{{\\\"IsCommandNoop\\\":false}}\"}},host_command_identifier:\"{identifier}\")"
    )
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = bits >> (18 - 6 * place) & 63;
            text.push(match place <= chunk.len() {
                true => char::from(LETTERS[sextet as usize]),
                false => '=',
            });
        }
    }
    text
}
