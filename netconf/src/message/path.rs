//! `error-path` in two forms: `/a:b/c[k='v']`, where a name without prefix has that of the step before it (JSON, RFC 7951
//! 6.11), and `/a:b/a:c[a:k='v']`, where every name has its own (XML, RFC 7950 9.13.2).

/// The form for XML: every name with its prefix.
pub(crate) fn qualified(path: &str) -> String {
    rewrite(path, |_, prefix, local| format!("{prefix}:{local}"))
}

/// The form of JSON: a prefix stands where it changes.
pub(super) fn shortened(path: &str) -> String {
    rewrite(path, |inherited, prefix, local| {
        if prefix == inherited {
            local.to_owned()
        } else {
            format!("{prefix}:{local}")
        }
    })
}

/// The prefixes in a path, each once.
pub(crate) fn prefixes(path: &str) -> Vec<&str> {
    let mut out = Vec::new();
    names(path, |name| {
        if let Name::In { prefix, .. } = name
            && !out.contains(&prefix)
        {
            out.push(prefix);
        }
    });
    out
}

/// A piece of a path.
enum Name<'p> {
    /// A name in the namespace of `prefix`, and the prefix that it would have if it had none.
    In {
        inherited: &'p str,
        prefix: &'p str,
        local: &'p str,
    },
    /// Anything else.
    Other(&'p str),
}

fn rewrite(path: &str, name: impl Fn(&str, &str, &str) -> String) -> String {
    let mut out = String::with_capacity(2 * path.len());
    names(path, |piece| match piece {
        Name::In {
            inherited,
            prefix,
            local,
        } => out.push_str(&name(inherited, prefix, local)),
        Name::Other(text) => out.push_str(text),
    });
    out
}

/// Takes a path apart; what is in quotes stays whole.
fn names<'p>(path: &'p str, mut each: impl FnMut(Name<'p>)) {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let (mut rest, mut step, mut depth) = (path, "", 0usize);
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            c if starts(c) => rest
                .find(|c: char| !(c.is_alphanumeric() || "_-.:".contains(c)))
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        match first {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let (prefix, local) = piece.split_once(':').unwrap_or((step, piece));
        if !starts(first) || prefix.is_empty() {
            each(Name::Other(piece));
            continue;
        }
        each(Name::In {
            inherited: step,
            prefix,
            local,
        });
        if depth == 0 {
            step = prefix;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gets_its_prefix_and_loses_it_again() {
        for (short, long) in [
            ("/", "/"),
            ("/a:b", "/a:b"),
            ("/a:b/c[k='v']", "/a:b/a:c[a:k='v']"),
            (
                "/a:b/c[k=\"it's x:y/z\"][l='2']/m:d/e",
                "/a:b/a:c[a:k=\"it's x:y/z\"][a:l='2']/m:d/m:e",
            ),
            ("/a:b[.='x']/c[3]", "/a:b[.='x']/a:c[3]"),
            ("/b/c", "/b/c"),
            ("/a:b['unfinished", "/a:b['unfinished"),
        ] {
            assert_eq!(qualified(short), long);
            assert_eq!(shortened(long), short);
            assert_eq!(shortened(short), short);
            assert_eq!(qualified(long), long);
        }
        assert_eq!(prefixes("/a:b/c[k='x:y']/m:d/a:e"), ["a", "m"]);
    }
}
