//! YAML as the trial files need it: built as values, written in one way, so that quoting is decided here and nowhere else.

/// A value.
pub(super) enum Yaml {
    /// Text; always in quotes, or the MNC 01 would be the number 1.
    Text(String),
    /// A number.
    Number(u64),
    /// A number in hexadecimal, with this many digits.
    Hex(u64, usize),
    /// True or false.
    Flag(bool),
    /// A list; not empty.
    List(Vec<Self>),
    /// Keys and their values in order; not empty.
    Map(Vec<(&'static str, Self)>),
}

impl Yaml {
    /// Text.
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// A document of this value below a comment.
    pub(super) fn document(&self, comment: &[String]) -> String {
        let mut out = String::new();
        for line in comment {
            out.extend(["# ", line, "\n"]);
        }
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Map(entries) => {
                for (key, value) in entries {
                    let end = if value.is_scalar() { ": " } else { ":\n" };
                    out.extend([&indent, *key, end]);
                    value.write(out, depth + 1);
                }
            }
            Self::List(items) => {
                for item in items {
                    let mut text = String::new();
                    item.write(&mut text, depth + 1);
                    out.extend([&indent, "- ", text.trim_start_matches(' ')]);
                }
            }
            Self::Text(text) => out.extend([&quoted(text), "\n"]),
            Self::Number(number) => out.push_str(&format!("{number}\n")),
            Self::Hex(number, digits) => out.push_str(&format!("0x{number:0digits$x}\n")),
            Self::Flag(flag) => out.push_str(&format!("{flag}\n")),
        }
    }

    fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_))
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_and_lists_of_maps_begin_on_the_dash() {
        let value = Yaml::Map(vec![
            ("mnc", Yaml::text("01")),
            ("odd", Yaml::text("a \"b\" \\ c\n")),
            ("sd", Yaml::Hex(10, 6)),
            ("on", Yaml::Flag(true)),
            (
                "list",
                Yaml::List(vec![Yaml::Map(vec![
                    ("a", Yaml::List(vec![Yaml::text("x"), Yaml::text("y")])),
                    ("b", Yaml::Number(2)),
                ])]),
            ),
        ]);
        assert_eq!(
            value.document(&["of a test".to_owned()]),
            "# of a test\nmnc: \"01\"\nodd: \"a \\\"b\\\" \\\\ c\\u000a\"\nsd: 0x00000a\non: true\nlist:\n  \
             - a:\n      - \"x\"\n      - \"y\"\n    b: 2\n"
        );
    }
}
