//! The host command identifier of the CodeDeploy service: base64 around JSON. Both ways, since
//! the demo plays the one who writes it and the one who reads it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What an identifier tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `d-…`
    pub(super) deployment: String,
    /// The lifecycle event.
    pub(super) command: String,
}

/// Reads an identifier; `None` where it is not one we know, for its format is nobody's promise.
pub(super) fn read(identifier: &str) -> Option<Named> {
    let json = String::from_utf8(decode(identifier)?).ok()?;
    let after = |key: &str| {
        let start = json.find(key)? + key.len();
        let value = &json[start..];
        Some(value[..value.find('"')?].to_owned())
    };
    Some(Named {
        deployment: after(":deployment/")?,
        command: after("\"commandName\":\"")?,
    })
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            encoded.push(if place <= chunk.len() {
                char::from(ALPHABET[sextet as usize])
            } else {
                '='
            });
        }
    }
    encoded
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let sextet = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | u32::try_from(sextet).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 255).ok()?);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // The RFC's own test vectors (section 10), both ways.
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(text), encoded);
            assert_eq!(decode(encoded).unwrap(), text.as_bytes());
        }
        assert_eq!(decode("a*"), None);
    }

    #[test]
    fn an_identifier_tells_deployment_and_command() {
        // Deployment and event are found whatever stands around them, and nothing else is taken.
        let identifier = encode(
            "[\"x\", {\"deploymentId\": \"CodeDeploy/us-east-1/Prod/arn:aws:sds:us-east-1:1:\
             deployment/d-OK0000001\",\"commandName\":\"AfterInstall\",\"n\":2}]",
        );
        let named = read(&identifier).unwrap();
        assert_eq!(named.deployment, "d-OK0000001");
        assert_eq!(named.command, "AfterInstall");
        assert_eq!(read("not one"), None);
    }
}
