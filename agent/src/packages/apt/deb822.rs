//! The format of dpkg's status, apt's lists, Release files and `.sources`: stanzas of
//! `Field: value` lines, separated by empty lines.

use std::io::{self, BufRead};

/// Longest line that is kept whole, in bytes. Longer ones (a few packages have enormous dependency
/// fields) are cut: no field read here comes near it, and memory stays bounded.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One line of such a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `Field: value`, both without surrounding blanks.
    Field(&'a [u8], &'a [u8]),
    /// A continuation of the field before, without surrounding blanks.
    Continued(&'a [u8]),
    /// The end of a stanza. Several may follow each other, and the file may end without one.
    End,
}

/// What a reader wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next line.
    Line,
    /// The end of this stanza: nothing else in it is of interest. The cheap way through a list of
    /// 60,000 packages of which some hundreds matter.
    End,
}

/// Calls `each` for every line. Comments and lines without a colon are left out; an `End` is
/// added at the end of the file.
pub(super) fn for_each_line(input: impl BufRead, mut each: impl FnMut(Line<'_>)) -> io::Result<()> {
    for_each_line_wanted(input, |line| {
        each(line);
        Next::Line
    })
}

/// As [`for_each_line`], but `each` may skip to the end of the stanza.
pub(super) fn for_each_line_wanted(mut input: impl BufRead, mut each: impl FnMut(Line<'_>) -> Next) -> io::Result<()> {
    let mut line = Vec::with_capacity(4096);
    loop {
        line.clear();
        if read_line(&mut input, &mut line)? == 0 {
            each(Line::End);
            return Ok(());
        }
        let next = match line.first() {
            Some(b' ' | b'\t') if !line.trim_ascii().is_empty() => each(Line::Continued(line.trim_ascii())),
            Some(b'#') => Next::Line,
            _ if line.trim_ascii().is_empty() => each(Line::End),
            _ => match line.iter().position(|&b| b == b':') {
                Some(colon) => each(Line::Field(line[..colon].trim_ascii(), line[colon + 1..].trim_ascii())),
                None => Next::Line,
            },
        };
        if next == Next::End {
            skip_stanza(&mut input)?;
            each(Line::End);
        }
    }
}

/// Reads up to and including the next line feed; keeps the first [`LINE_BYTES_MAX`] bytes.
/// Returns how many bytes were taken from the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut taken = 0;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(taken);
        }
        let end = buffer.iter().position(|&b| b == b'\n');
        let length = end.map_or(buffer.len(), |at| at + 1);
        let room = LINE_BYTES_MAX.saturating_sub(line.len()).min(length);
        line.extend_from_slice(&buffer[..room]);
        input.consume(length);
        taken += length;
        if end.is_some() {
            return Ok(taken);
        }
    }
}

/// Reads up to and including the next empty line.
fn skip_stanza(input: &mut impl BufRead) -> io::Result<()> {
    let mut at_line_start = true;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&b| {
            let empty_line = at_line_start && b == b'\n';
            at_line_start = b == b'\n';
            empty_line
        });
        let length = end.map_or(buffer.len(), |at| at + 1);
        input.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// A field's value as text. Bytes that are no UTF-8 are replaced: names and versions are ASCII,
/// so what is wrong simply will not match.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LINE_BYTES_MAX, Line, Next, for_each_line, for_each_line_wanted};

    fn lines(input: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        for_each_line(input, |line| {
            seen.push(match line {
                Line::Field(name, value) => {
                    format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                }
                Line::Continued(value) => format!("+{}", String::from_utf8_lossy(value)),
                Line::End => "end".to_owned(),
            });
        })
        .unwrap();
        seen
    }

    #[test]
    fn fields_continuations_comments_and_ends_are_told_apart() {
        let input = b"# head\nPackage: a\nDescription:  x: y \n more\n .\n\nPackage:b\r\n  \nnonsense\nVersion: 1";
        assert_eq!(
            lines(input),
            ["Package=a", "Description=x: y", "+more", "+.", "end", "Package=b", "end", "Version=1", "end"]
        );
    }

    #[test]
    fn overlong_line_is_cut_and_the_next_one_is_whole() {
        let mut input = vec![b'D', b':'];
        input.resize(3 * LINE_BYTES_MAX, b'x');
        input.extend_from_slice(b"\nVersion: 2\n");
        let seen = lines(&input);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].len(), LINE_BYTES_MAX);
        assert_eq!(seen[1], "Version=2");
    }

    #[test]
    fn skipped_stanza_ends_where_the_next_begins_whatever_the_buffer() {
        let input = b"Package: a\nX: 1\n y\n\nPackage: b\nX: 2\n\nPackage: c\nX: 3";
        for capacity in 1..input.len() {
            let mut seen = Vec::new();
            for_each_line_wanted(BufReader::with_capacity(capacity, &input[..]), |line| match line {
                Line::Field(b"Package", b"a" | b"c") => Next::End,
                Line::Field(_, value) => {
                    seen.push(String::from_utf8_lossy(value).into_owned());
                    Next::Line
                }
                Line::Continued(_) | Line::End => Next::Line,
            })
            .unwrap();
            assert_eq!(seen, ["b", "2"], "capacity {capacity}");
        }
    }
}
