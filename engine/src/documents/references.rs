//! `{{ name }}` in the texts of a document.

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it stands.
    Text(&'a str),
    /// A reference to the parameter of this name.
    Reference(&'a str),
}

/// Takes a text apart. What is between braces and is no name of a parameter stays text, as with
/// SSM; but a reference to another source (`ssm:name`) is one.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(start) = rest[from..].find("{{").map(|at| at + from) {
        let Some(end) = rest[start..].find("}}").map(|at| at + start) else { break };
        let name = rest[start + 2..end].trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_:.-/".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            from = start + 1;
            continue;
        }
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        pieces.push(Piece::Reference(name));
        rest = &rest[end + 2..];
        from = 0;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// The name when a text is one reference and nothing else.
pub(super) fn only_reference(text: &str) -> Option<&str> {
    match pieces(text.trim()).as_slice() {
        [Piece::Reference(name)] => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_with_and_without_blanks_and_nothing_else_is_one() {
        use Piece::{Reference, Text};
        for (text, expected) in [
            ("", vec![]),
            ("a{{b}}c", vec![Text("a"), Reference("b"), Text("c")]),
            ("{{  b_1  }}{{c}}", vec![Reference("b_1"), Reference("c")]),
            ("{{ssm:x}}", vec![Reference("ssm:x")]),
            ("{{ a b }}", vec![Text("{{ a b }}")]),
            ("{{}} {{{a}}}", vec![Text("{{}} {"), Reference("a"), Text("}")]),
            ("a {{ b", vec![Text("a {{ b")]),
            ("${{a}", vec![Text("${{a}")]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
        assert_eq!(only_reference(" {{ a }} "), Some("a"));
        assert_eq!(only_reference("{{a}}b"), None);
    }
}
