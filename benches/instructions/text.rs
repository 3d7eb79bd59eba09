//! What is shipped: lines as hook scripts print them, and recorded output of the CodeDeploy agent.

use std::fmt::Write as _;

/// Records of the agent's own log, version 1.x.
pub(crate) const AGENT_LOG: &str = include_str!("../../tests/corpus/redact/agent-1.x.log");
/// Records of its deployments log.
pub(crate) const DEPLOYMENTS_LOG: &str =
    include_str!("../../tests/corpus/redact/deployments-1.x.log");
/// Lines of a scripts log with secrets in them.
pub(crate) const SCRIPTS_LOG: &str = include_str!("../../tests/corpus/redact/scripts-1.x.log");

/// What scripts talk about; one word in ten wants an escape.
const WORDS: [&str; 20] = [
    "Installing",
    "resolved",
    "dependency",
    "checksum",
    "/opt/app/releases/20261121",
    "done",
    "nginx-1.26.2",
    "systemctl",
    "worker",
    "200",
    "12.7ms",
    "\"glob@7.2.3\"",
    "app:app",
    "updates",
    "information",
    "Reading",
    "repository",
    "schema",
    "elapsed",
    "C:\\temp",
];

/// So many numbered lines of about 120 bytes, a millisecond apart, without a secret.
pub(crate) fn plain(lines: usize) -> String {
    let mut text = String::new();
    let mut dice = 1_u64;
    for line in 0..lines {
        let (second, ms) = (line / 1_000 % 60, line % 1_000);
        let minute = line / 60_000 % 60;
        write!(
            text,
            "2026-11-21 02:{minute:02}:{second:02}.{ms:03} [stdout]"
        )
        .expect("writing to a string cannot fail");
        for _ in 0..7 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(WORDS[(dice >> 33) as usize % WORDS.len()]);
            text.push(' ');
        }
        writeln!(text, "id={line:010}").expect("writing to a string cannot fail");
    }
    text
}

/// A text again and again until it has so many bytes; whole copies only.
pub(crate) fn repeated(text: &str, bytes: usize) -> String {
    text.repeat(bytes.div_ceil(text.len()))
}

/// How many lines a text has.
pub(crate) fn lines_of(text: &str) -> u64 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u64
}
