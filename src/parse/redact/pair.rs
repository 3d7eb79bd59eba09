//! Names and values that stand in two fields, as lists of settings have them:
//! `{"name":"DB_PASSWORD","value":"x"}`, `<add key="DbPassword" value="x"/>`,
//! `<property name="password">x</property>`, `setenv("DB_PASSWORD", "x")`.

/// Where the value begins that belongs to the quoted name at `start`, whose quote ends at `end`.
pub(super) fn value_of(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let mark = bytes[end - 1];
    let opened = bytes[..start].strip_suffix(&[mark])?;
    let opened = &opened[..opened.len() - escapes(opened)];
    let next = skip_blanks(bytes, end);
    match bytes.get(next)? {
        b',' if opened.ends_with(b"(") => {
            let second = skip_blanks(bytes, next + 1);
            is_quote(bytes, second).then_some(second)
        }
        b',' => behind_comma(bytes, next),
        b'>' if opened.ends_with(b"=") => Some(next + 1),
        _ if opened.ends_with(b"=") && next > end => behind_value(bytes, next, b'='),
        _ => None,
    }
}

/// Where the value of the next field begins, if that is `"value"`; the quote of this one closes here.
pub(super) fn next_value(bytes: &[u8], at: usize) -> Option<usize> {
    let next = skip_blanks(bytes, at + quote_bytes(bytes, at)?);
    (bytes.get(next) == Some(&b',')).then(|| behind_comma(bytes, next))?
}

fn behind_comma(bytes: &[u8], comma: usize) -> Option<usize> {
    let name = skip_blanks(bytes, comma + 1);
    behind_value(bytes, name + quote_bytes(bytes, name)?, b':')
}

/// Behind the word `value`, its closing quote if it has one, and the separator.
fn behind_value(bytes: &[u8], at: usize, separator: u8) -> Option<usize> {
    let word = bytes.get(at..at + 5)?;
    let closed = at + 5 + quote_bytes(bytes, at + 5).unwrap_or(0);
    let separated = skip_blanks(bytes, closed);
    let is_value = word.eq_ignore_ascii_case(b"value") && bytes.get(separated) == Some(&separator);
    is_value.then(|| skip_blanks(bytes, separated + 1))
}

fn is_quote(bytes: &[u8], at: usize) -> bool {
    quote_bytes(bytes, at).is_some()
}

/// The length of the quote here with the backslashes before it.
fn quote_bytes(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let escapes = rest.iter().take_while(|&&byte| byte == b'\\').count();
    matches!(rest.get(escapes), Some(b'"' | b'\'')).then_some(escapes + 1)
}

/// Backslashes at the end.
fn escapes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .take_while(|&&byte| byte == b'\\')
        .count()
}

fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|&&byte| byte == b' ').count()
}
