// Shared by the build script and the crate: what a YANG file is, read without a full parser.

/// The opening of a YANG file.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Module or submodule name.
    name: String,
    /// Latest revision.
    revision: Option<String>,
    /// The module it is a part of, for a submodule.
    belongs_to: Option<String>,
}

/// Reads the header of a module; `None` if the text does not start with one.
fn header(text: &str) -> Option<Header> {
    let mut words = tokens(text);
    let submodule = match words.next()?.as_str() {
        "module" => false,
        "submodule" => true,
        _ => return None,
    };
    let name = words.next()?;
    let (mut revision, mut belongs_to, mut depth) = (None::<String>, None, 0usize);
    while let Some(word) = words.next() {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "revision" if depth == 1 => {
                let date = words.next()?;
                if revision.as_ref().is_none_or(|r| *r < date) {
                    revision = Some(date);
                }
            }
            "belongs-to" if depth == 1 && submodule => belongs_to = words.next(),
            _ => {}
        }
    }
    Some(Header { name, revision, belongs_to })
}

/// The words, strings and braces of a YANG text; comments are skipped, strings lose their quotes.
fn tokens(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if let Some(comment) = rest.strip_prefix("//") {
                rest = comment.split_once('\n').map_or("", |(_, r)| r);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                rest = comment.split_once("*/").map_or("", |(_, r)| r);
            } else {
                break;
            }
        }
        let first = rest.chars().next()?;
        let end = match first {
            '{' | '}' | ';' => 1,
            '"' | '\'' => {
                let mut escaped = false;
                let close = rest[1..].char_indices().find(|&(_, ch)| {
                    let hit = ch == first && !escaped;
                    escaped = first == '"' && ch == '\\' && !escaped;
                    hit
                });
                let (at, _) = close?;
                let word = rest[1..=at].to_owned();
                rest = &rest[at + 2..];
                return Some(word);
            }
            _ => rest
                .find(|ch: char| ch.is_whitespace() || "{};".contains(ch))
                .unwrap_or(rest.len()),
        };
        let word = rest[..end].to_owned();
        rest = &rest[end..];
        Some(word)
    })
}
