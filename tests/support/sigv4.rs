//! AWS Signature Version 4 as the service checks it, with its error texts; and a signer for the
//! raw client of the stand-in's own tests.

use jiff::Timestamp;
use ring::{digest, hmac};

use super::http::Request;
use super::state::Refusal;

/// How far the client's clock may be off.
const SKEW_MS_MAX: i64 = 5 * 60 * 1000;

/// Headers that must be signed when they are sent.
const SIGNED_WHEN_SENT: [&str; 3] = ["host", "content-type", "content-encoding"];

/// One set of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// `AKIA…` or `ASIA…`.
    pub(crate) id: String,
    /// The secret.
    pub(crate) secret: String,
    /// Session token of temporary credentials.
    pub(crate) token: Option<String>,
}

impl Key {
    /// The static credentials that the test world gives to the agent.
    pub(crate) fn fixed() -> Self {
        Self {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        }
    }

    /// Temporary credentials, told apart by a number.
    pub(crate) fn temporary(number: u32) -> Self {
        Self {
            id: format!("ASIAEXAMPLE{number:09}"),
            secret: format!("secret-of-{number}/EXAMPLE+KEY"),
            token: Some(format!("token-of-{number}//EXAMPLE==")),
        }
    }
}

/// Checks a request as the service does. `known` gives the key of an id.
///
/// # Errors
/// With the service's code and text; malformed and wrong signatures are breaches, an unknown key
/// or a clock that is off are not.
pub(crate) fn verify(
    request: &Request,
    service: &str,
    known: impl Fn(&str) -> Option<Key>,
    now_ms: i64,
) -> Result<String, Refusal> {
    let header = request.header("authorization").ok_or_else(|| {
        Refusal::breach(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    })?;
    let incomplete = |what: &str| {
        let text = format!("Authorization header {what}. Authorization={header}");
        Refusal::breach("IncompleteSignatureException", &text)
    };
    let fields = header
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(|| incomplete("has an unknown algorithm"))?;
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(|| incomplete(&format!("requires '{name}' parameter")))
    };
    let (credential, signed, signature) = (
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
    );
    let scope: Vec<&str> = credential.split('/').collect();
    let [id, day, region, signed_service, "aws4_request"] = scope[..] else {
        return Err(incomplete("has a bad credential scope"));
    };
    if signed_service != service {
        return Err(incomplete("should be scoped to correct service"));
    }
    let date = request
        .header("x-amz-date")
        .ok_or_else(|| incomplete("requires existence of 'X-Amz-Date' header"))?;
    check_signed_headers(request, signed)?;
    let key = known(id).ok_or_else(|| {
        Refusal::plain(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    })?;
    if request.header("x-amz-security-token") != key.token.as_deref() {
        return Err(Refusal::breach(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    }
    check_date(date, day, now_ms)?;
    let wanted = signature_of(
        request,
        &key,
        &Scope {
            day,
            region,
            service,
        },
        signed,
    );
    if wanted != signature {
        return Err(Refusal::breach(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        ));
    }
    Ok(id.to_owned())
}

/// Signs a request in place; `host` and everything that shall be signed is there already.
pub(crate) fn sign(request: &mut Request, key: &Key, now_ms: i64) {
    sign_for("logs", request, key, now_ms);
}

/// The same for any service.
pub(crate) fn sign_for(service: &str, request: &mut Request, key: &Key, now_ms: i64) {
    let date = amz_date(now_ms);
    request.headers.push(("x-amz-date".into(), date.clone()));
    if let Some(token) = &key.token {
        request
            .headers
            .push(("x-amz-security-token".into(), token.clone()));
    }
    let mut names: Vec<&str> = request.headers.iter().map(|(n, _)| n.as_str()).collect();
    names.retain(|name| *name != "content-length" && *name != "transfer-encoding");
    names.sort_unstable();
    let signed = names.join(";");
    let scope = Scope {
        day: &date[..8],
        region: "eu-west-1",
        service,
    };
    let signature = signature_of(request, key, &scope, &signed);
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}/{}/{service}/aws4_request, SignedHeaders={signed}, Signature={signature}",
        key.id, scope.day, scope.region
    );
    request.headers.push(("authorization".into(), value));
}

/// `20261121T065949Z`.
pub(crate) fn amz_date(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

struct Scope<'a> {
    day: &'a str,
    region: &'a str,
    service: &'a str,
}

fn check_signed_headers(request: &Request, signed: &str) -> Result<(), Refusal> {
    let signed: Vec<&str> = signed.split(';').collect();
    if !signed.is_sorted() || !signed.contains(&"host") {
        return Err(Refusal::breach(
            "IncompleteSignatureException",
            "'Host' must be a 'SignedHeader' in the AWS Authorization, and all must be sorted.",
        ));
    }
    for (name, _) in &request.headers {
        let must = name.starts_with("x-amz-") || SIGNED_WHEN_SENT.contains(&name.as_str());
        if must && !signed.contains(&name.as_str()) {
            return Err(Refusal::breach(
                "InvalidSignatureException",
                &format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            ));
        }
    }
    match signed.iter().find(|name| request.header(name).is_none()) {
        Some(name) => Err(Refusal::breach(
            "InvalidSignatureException",
            &format!("signed header '{name}' was not sent"),
        )),
        None => Ok(()),
    }
}

fn check_date(date: &str, day: &str, now_ms: i64) -> Result<(), Refusal> {
    let sent_ms = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|time| time.timestamp().as_millisecond())
        .map_err(|error| {
            Refusal::breach(
                "IncompleteSignatureException",
                &format!("bad date: {error}"),
            )
        })?;
    if !date.starts_with(day) {
        let text = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP";
        return Err(Refusal::breach("InvalidSignatureException", text));
    }
    let now = amz_date(now_ms);
    // Whole seconds, as the header is.
    let now_ms = now_ms - now_ms % 1000;
    let limit = amz_date(now_ms - SKEW_MS_MAX);
    if sent_ms < now_ms - SKEW_MS_MAX {
        let text =
            format!("Signature expired: {date} is now earlier than {limit} ({now} - 5 min.)");
        return Err(Refusal::plain("InvalidSignatureException", &text));
    }
    let limit = amz_date(now_ms + SKEW_MS_MAX);
    if sent_ms > now_ms + SKEW_MS_MAX {
        let text = format!(
            "Signature not yet current: {date} is still later than {limit} ({now} + 5 min.)"
        );
        return Err(Refusal::plain("InvalidSignatureException", &text));
    }
    Ok(())
}

fn signature_of(request: &Request, key: &Key, scope: &Scope<'_>, signed: &str) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut canonical = format!("{}\n{path}\n{query}\n", request.method);
    for name in signed.split(';') {
        let values: Vec<String> = request
            .headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        canonical.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    canonical.push_str(&format!("\n{signed}\n"));
    match request.header("x-amz-content-sha256") {
        Some(hash) => canonical.push_str(hash),
        None => canonical.push_str(&hex(digest::digest(&digest::SHA256, &request.body).as_ref())),
    }
    let date = request.header("x-amz-date").unwrap_or_default();
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{}/{}/{}/aws4_request\n{hash}",
        scope.day, scope.region, scope.service
    );
    let mut chain = format!("AWS4{}", key.secret).into_bytes();
    for part in [
        scope.day,
        scope.region,
        scope.service,
        "aws4_request",
        &to_sign,
    ] {
        let step = hmac::Key::new(hmac::HMAC_SHA256, &chain);
        chain = hmac::sign(&step, part.as_bytes()).as_ref().to_vec();
    }
    hex(&chain)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
