//! A command of the CodeDeploy service, as the 1.x agent's log names it.

use super::base64::base64;

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
