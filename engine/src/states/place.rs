//! Where in a JSON text a member stands.

/// Line and column, both from 1, of the value at a JSON pointer. The text must be JSON; for what is
/// not there, the place of the last part of the pointer that is.
#[must_use]
pub(super) fn place(text: &str, pointer: &str) -> (usize, usize) {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.blanks();
    let mut found = scanner.at;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !scanner.enter(&part) {
            break;
        }
        found = scanner.at;
    }
    let before = text.get(..found).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

/// Reads over a text that is known to be JSON; on anything else it stops where it is.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn blanks(&mut self) {
        while self.peek().is_ascii_whitespace() {
            self.at += 1;
        }
    }

    /// Goes to the value of a member, or to an item; `false` where there is none.
    fn enter(&mut self, part: &str) -> bool {
        let is_object = match self.peek() {
            b'{' => true,
            b'[' => false,
            _ => return false,
        };
        self.at += 1;
        let mut index = 0_usize;
        loop {
            self.blanks();
            if matches!(self.peek(), b'}' | b']' | 0) {
                return false;
            }
            let matches = if is_object {
                let start = self.at;
                self.string();
                let key = self.bytes.get(start..self.at).unwrap_or_default();
                let is = serde_json::from_slice::<String>(key).is_ok_and(|key| key == part);
                self.blanks();
                self.at += 1;
                self.blanks();
                is
            } else {
                part.parse() == Ok(index)
            };
            if matches {
                return true;
            }
            self.value();
            self.blanks();
            if self.peek() != b',' {
                return false;
            }
            self.at += 1;
            index += 1;
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while !matches!(self.peek(), b'"' | 0) {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }

    /// Passes over one value, without recursion: depth is counted.
    fn value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                0 => return,
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return,
                _ => self.at += 1,
            }
            if depth == 0 {
                self.blanks();
                if matches!(self.peek(), b',' | b'}' | b']' | 0) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_pointer_is_found_with_line_and_column() {
        let text = "{\n  \"a\": [1, {\"b\\\"/c\": \"}\"}],\n  \"d\": {}\n}";
        for (pointer, expected) in [
            ("", (1, 1)),
            ("/a", (2, 8)),
            ("/a/0", (2, 9)),
            ("/a/1", (2, 12)),
            ("/a/1/b\"~1c", (2, 22)),
            ("/d", (3, 8)),
            // Not there: its parent is shown.
            ("/d/missing", (3, 8)),
            ("/a/7", (2, 8)),
        ] {
            assert_eq!(place(text, pointer), expected, "{pointer}");
        }
    }
}
