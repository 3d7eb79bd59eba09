//! Where a log stream is in the AWS console, and which partition a Region belongs to.

use std::fmt::Write as _;

use crate::event::{EpochMs, Target};

/// A partition: the beginning of its Regions' names, its own name, and its console's domain where
/// that is public knowledge.
const PARTITIONS: [(&str, &str, Option<&str>); 7] = [
    ("cn-", "aws-cn", Some("console.amazonaws.cn")),
    (
        "us-gov-",
        "aws-us-gov",
        Some("console.amazonaws-us-gov.com"),
    ),
    ("us-iso-", "aws-iso", None),
    ("us-isob-", "aws-iso-b", None),
    ("us-isof-", "aws-iso-f", None),
    ("eu-isoe-", "aws-iso-e", None),
    ("eusc-", "aws-eusc", Some("console.amazonaws-eusc.eu")),
];

/// The commercial partition: all other Regions.
const COMMERCIAL: (&str, Option<&str>) = ("aws", Some("console.aws.amazon.com"));

/// Longest link that is made: twice encoded, a letter of a name becomes up to 20.
const LINK_BYTES_MAX: usize = 2_048;

fn partition_and_domain(region: &str) -> (&'static str, Option<&'static str>) {
    PARTITIONS
        .into_iter()
        .find(|(prefix, ..)| region.starts_with(prefix))
        .map_or(COMMERCIAL, |(_, partition, domain)| (partition, domain))
}

/// The partition of a Region, as it stands in ARNs.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    partition_and_domain(region).0
}

/// A link to a stream's events from a time on. `None` where the console's address is not known,
/// or the link would be too long to be useful: no link is better than a wrong one.
pub(crate) fn link(region: &str, log: &Target, from_ms: EpochMs) -> Option<String> {
    let domain = partition_and_domain(region).1?;
    let mut link = format!(
        "https://{region}.{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/"
    );
    encode(&mut link, &log.group);
    link.push_str("/log-events/");
    encode(&mut link, &log.stream);
    write!(link, "$3Fstart$3D{from_ms}").expect("writing to a string cannot fail");
    (link.len() <= LINK_BYTES_MAX).then_some(link)
}

/// The console's own encoding of names behind the `#`: percent-encoded twice, with `$` for `%`.
fn encode(link: &mut String, name: &str) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            write!(link, "$25{byte:02X}").expect("writing to a string cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(group: &str, stream: &str) -> Target {
        Target {
            group: group.to_owned(),
            stream: stream.to_owned(),
        }
    }

    /// The link is right in every partition whose console has a public address, and absent in the
    /// others: shown by a table.
    #[test]
    fn links_lead_to_the_partitions_own_console() {
        let log = target("/codedeploy/scripts", "d-1/i-0a");
        let link = |region| link(region, &log, 1_700_000_000_000);
        for (region, partition_name, host) in [
            ("eu-west-1", "aws", "eu-west-1.console.aws.amazon.com"),
            ("us-east-1", "aws", "us-east-1.console.aws.amazon.com"),
            ("cn-north-1", "aws-cn", "cn-north-1.console.amazonaws.cn"),
            (
                "us-gov-west-1",
                "aws-us-gov",
                "us-gov-west-1.console.amazonaws-us-gov.com",
            ),
            (
                "eusc-de-east-1",
                "aws-eusc",
                "eusc-de-east-1.console.amazonaws-eusc.eu",
            ),
        ] {
            assert_eq!(partition(region), partition_name);
            assert_eq!(
                link(region).unwrap(),
                format!(
                    "https://{host}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/\
                     $252Fcodedeploy$252Fscripts/log-events/d-1$252Fi-0a$3Fstart$3D1700000000000"
                )
            );
        }
        for (region, partition_name) in [
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eu-isoe-west-1", "aws-iso-e"),
        ] {
            assert_eq!((partition(region), link(region)), (partition_name, None));
        }
    }

    /// A name with any letters is encoded, and one that makes a giant of the link has none.
    #[test]
    fn odd_names_are_encoded() {
        let odd = link("eu-west-1", &target("/a", "ä #?&%$"), 0).unwrap();
        assert!(
            odd.contains("/log-events/$25C3$25A4$2520$2523$253F$2526$2525$2524$3Fstart$3D0"),
            "{odd}"
        );
        assert_eq!(link("eu-west-1", &target("/a", &"ä".repeat(256)), 0), None);
    }
}
