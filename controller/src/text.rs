//! Characters in XML text.

/// Appends text with the characters escaped that mean something in XML, in content as in attribute values.
/// Characters that XML 1.0 has no way to write become U+FFFD.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let mut out = String::new();
        escape(&mut out, "<a b=\"c\">&\u{1}é\n");
        assert_eq!(out, "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}é\n");
    }
}
