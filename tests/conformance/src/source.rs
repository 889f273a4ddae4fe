//! Rust without what only looks like code: literals and comments.

/// `text` with the inside of every literal and comment replaced by spaces. Lines stay where they are,
/// and the slashes that begin a line comment stay to be seen.
pub(crate) fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let (kept, skipped) = token(rest, before);
        out.push_str(&rest[..kept]);
        let blank = |char| if char == '\n' { '\n' } else { ' ' };
        out.extend(rest[kept..kept + skipped].chars().map(blank));
        // What a literal ends in is no part of a name.
        before = if kept + skipped > next.len_utf8() { ' ' } else { next };
        rest = &rest[kept + skipped..];
    }
    out
}

/// How many bytes at the beginning of `rest` to keep, and how many behind them to blank.
fn token(rest: &str, before: char) -> (usize, usize) {
    if rest.starts_with("//") {
        let end = rest.find('\n').unwrap_or(rest.len());
        return (2, end - 2);
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if !(before.is_alphanumeric() || before == '_')
        && let Some(length) = raw_string(rest)
    {
        return (0, length);
    }
    if rest.starts_with('"') {
        return (0, string(rest));
    }
    if rest.starts_with('\'') {
        return char_literal(rest).map_or((1, 0), |length| (0, length));
    }
    (rest.chars().next().map_or(0, char::len_utf8), 0)
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of `r"…"`, `br#"…"#` and the like.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#']))
    })?;
    let hashes = rest[prefix.len()..].bytes().take_while(|&byte| byte == b'#').count();
    let body = prefix.len() + hashes + 1;
    // `r#name` is a name.
    rest[prefix.len() + hashes..].starts_with('"').then_some(())?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
}

/// The length of `"…"`.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `'x'`; none if this is a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        // The character behind the backslash may be the quote.
        let skipped = escape.chars().next()?.len_utf8();
        return escape[skipped..].find('\'').map(|at| 2 + skipped + at + 1);
    }
    let char = inside.chars().next()?;
    inside[char.len_utf8()..].starts_with('\'').then_some(2 + char.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(source: &str, code: &str) {
        let bare = bare(source);
        assert_eq!(bare.lines().count(), source.lines().count());
        assert_eq!(bare.split_whitespace().collect::<Vec<_>>().join(" "), code);
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        becomes("a { // }\n}", "a { // }");
        becomes("a /* { /* { */ */ }", "a }");
        becomes(r#"a("{ \" {", b"{") }"#, "a( , b ) }");
        becomes("r#\"{ \"{ \n// {\"# }", "}");
        becomes("br\"{\\\" }", "}");
        becomes(r"x('{', '\'', '\u{7b}', b'{') }", "x( , , , b ) }");
    }

    #[test]
    fn what_only_looks_like_a_literal_is_code() {
        becomes("fn f<'a>(x: &'a str) {", "fn f<'a>(x: &'a str) {");
        becomes("r#type {", "r#type {");
        becomes("'outer: loop { for\" }\" }", "'outer: loop { for }");
    }
}
