//! Regular expressions as Hugging Face's `tokenizers` reads them: Oniguruma's, in Ruby's syntax.
//!
//! Most expressions mean the same there and here. Those that do not are rewritten or refused:
//!
//! | here | there |
//! |---|---|
//! | `$` and `^`: the ends of the text | of a line; the text's are `\z` and `\A` |
//! | `x{1,3}+`: without giving back | one to three, repeatedly |
//! | `(?s:.)`, `(?m:$)` | `(?m:.)`, `$` |
//! | `\w` with U+200C and U+200D | without them |
//! | `\b`, `[[:alpha:]]`, `[a--b]`, other flags | something else, or nothing |

/// Which way an expression goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Here,
}

/// What means there what `regex` means here.
///
/// # Errors
/// The part that has no such counterpart.
pub(crate) fn to_onig(regex: &str) -> Result<String, &'static str> {
    translate(regex, Way::There)
}

/// What means here what `regex` means there.
///
/// # Errors
/// The part that has no such counterpart.
pub(crate) fn from_onig(regex: &str) -> Result<String, &'static str> {
    translate(regex, Way::Here)
}

fn translate(regex: &str, way: Way) -> Result<String, &'static str> {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    let mut groups = 0_usize;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\\' => escape(rest, way, false, &mut out)?,
            '[' => class(rest, way, &mut out)?,
            '$' | '^' => {
                out.push_str(match (first, way) {
                    ('$', Way::There) => r"\z",
                    ('$', Way::Here) => "(?m:$)",
                    (_, Way::There) => r"\A",
                    (_, Way::Here) => "(?m:^)",
                });
                1
            }
            '{' => interval(rest, way, groups, &mut out)?,
            '(' => {
                if let Some((anchor, length)) = line_anchor(rest, way) {
                    out.push_str(anchor);
                    length
                } else {
                    groups += 1;
                    group(rest, way, &mut out)?
                }
            }
            _ => {
                groups = groups.saturating_sub(usize::from(first == ')'));
                out.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    Ok(out)
}

/// Copies the escape that `rest` begins with; returns its length.
fn escape(rest: &str, way: Way, in_class: bool, out: &mut String) -> Result<usize, &'static str> {
    let Some(escaped) = rest[1..].chars().next() else { return Err("a backslash at the end") };
    match (escaped, way) {
        ('w', Way::There) if in_class => out.push_str(r"\w\x{200C}\x{200D}"),
        ('w', Way::There) => out.push_str(r"[\w\x{200C}\x{200D}]"),
        ('W', Way::There) => out.push_str(r"[^\w\x{200C}\x{200D}]"),
        ('w' | 'W', Way::Here) => return Err(r"\w"),
        ('b' | 'B', _) if !in_class => return Err(r"\b"),
        _ => out.push_str(&rest[..=escaped.len_utf8()]),
    }
    Ok(1 + escaped.len_utf8())
}

/// Copies the class that `rest` begins with; returns its length.
fn class(rest: &str, way: Way, out: &mut String) -> Result<usize, &'static str> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(first) = rest[at..].chars().next() {
        let here = &rest[at..];
        if here.starts_with("[:") {
            return Err("[[:...:]]");
        }
        if (here.starts_with("--") || here.starts_with("~~")) && way == Way::There {
            return Err("a difference of classes");
        }
        match first {
            '\\' => {
                at += escape(here, way, true, out)?;
                continue;
            }
            '[' => {
                depth += 1;
                // A bracket that is the first of the class stands for itself.
                let head = ["[^]", "[]", "[^"].into_iter().find(|head| here.starts_with(head)).unwrap_or("[");
                out.push_str(head);
                at += head.len();
                continue;
            }
            ']' => depth -= 1,
            _ => {}
        }
        out.push(first);
        at += first.len_utf8();
        if depth == 0 {
            return Ok(at);
        }
    }
    Err("a class that does not end")
}

/// Copies the `{1,3}` and what follows directly, if it is one; returns its length.
fn interval(rest: &str, way: Way, groups: usize, out: &mut String) -> Result<usize, &'static str> {
    let end = rest.find('}').unwrap_or(0);
    let is_interval = end > 1 && rest[1..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    if !is_interval {
        out.push('{');
        return Ok(1);
    }
    let length = end + 1;
    out.push_str(&rest[..length]);
    let mut after = rest[length..].chars();
    match after.next() {
        // At the end of an alternative nothing could make it give back.
        Some('+') if way == Way::There && groups == 0 && matches!(after.next(), None | Some('|')) => Ok(length + 1),
        Some('+') => Err("{...}+"),
        Some('?') if !rest[..length].contains(',') => Err("{...}?"),
        _ => Ok(length),
    }
}

/// An anchor of a line, as it is written on the other side, and its length here.
fn line_anchor(rest: &str, way: Way) -> Option<(&'static str, usize)> {
    let anchors = [("(?m:$)", "$"), ("(?m:^)", "^")];
    let found = anchors.into_iter().find(|(here, _)| way == Way::There && rest.starts_with(here))?;
    Some((found.1, found.0.len()))
}

/// Copies the parenthesis and the flags behind it; returns their length.
fn group(rest: &str, way: Way, out: &mut String) -> Result<usize, &'static str> {
    out.push('(');
    let Some(flags) = rest.strip_prefix("(?") else { return Ok(1) };
    let length = flags.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-').count();
    if length == 0 || !matches!(flags.as_bytes().get(length), Some(b':' | b')')) {
        return Ok(1);
    }
    out.push('?');
    for flag in flags[..length].chars() {
        out.push(match (flag, way) {
            ('i' | 'x' | '-', _) => flag,
            ('s', Way::There) => 'm',
            ('m', Way::Here) => 's',
            _ => return Err("a flag in (?...)"),
        });
    }
    Ok(2 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_rewritten() {
        for (here, there) in [
            (r"a$|^b|[$^]\$", r"a\z|\Ab|[$^]\$"),
            (r"\p{N}{1,3}+|\s++$", r"\p{N}{1,3}|\s++\z"),
            (r"\w+|[^\s\w]", r"[\w\x{200C}\x{200D}]+|[^\s\w\x{200C}\x{200D}]"),
            (r"\W", r"[^\w\x{200C}\x{200D}]"),
            (r"(?s:.+)|(?i:'s)|(?:x)|(?=y)|(?<n>z)", r"(?m:.+)|(?i:'s)|(?:x)|(?=y)|(?<n>z)"),
            (r"[]$]|[^]$]|[a[$]b]|\[$", r"[]$]|[^]$]|[a[$]b]|\[\z"),
            (r"a{|{a}|x{2,}", r"a{|{a}|x{2,}"),
        ] {
            assert_eq!(to_onig(here).as_deref(), Ok(there));
        }
        for (there, here) in [(r"a$|^b|\z", r"a(?m:$)|(?m:^)b|\z"), (r"(?m:.)|(?i:x)", r"(?s:.)|(?i:x)")] {
            assert_eq!(from_onig(there).as_deref(), Ok(here));
            assert_eq!(to_onig(here).as_deref(), Ok(there));
        }
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for (regex, part) in [
            (r"\bx", r"\b"),
            ("[[:alpha:]]", "[[:...:]]"),
            ("[a-z--b]", "a difference of classes"),
            ("x{1,3}+y", "{...}+"),
            ("(?:x{1,3}+)", "{...}+"),
            ("x{3}?", "{...}?"),
            ("(?m)x$", "a flag in (?...)"),
            ("[a", "a class that does not end"),
            ("a\\", "a backslash at the end"),
        ] {
            assert_eq!(to_onig(regex), Err(part));
        }
        assert_eq!(from_onig(r"\w+"), Err(r"\w"));
        assert_eq!(from_onig(r"\p{N}{1,3}+"), Err("{...}+"));
    }
}
