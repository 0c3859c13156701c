//! Cutting a metadata file into its elements: one package, or one notice, at a time.
//!
//! Nine in ten elements are of no interest, and their text says so before it is parsed: so they are
//! found by their closing tag, which in XML cannot be part of a text, and only what is wanted goes
//! through the XML parser.

use std::io::{self, BufRead, Read};

use memchr::memmem::{self, Finder};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Bytes of one element at most. The largest known, a kernel with all that it provides, is a
/// fiftieth of it; more is no metadata.
const ELEMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes asked of the file at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Calls `each` with every `<name …>…</name>` of `input`, in order.
///
/// # Errors
/// As of `input`, and `InvalidData` for an element that does not end in time.
pub(in crate::packages) fn for_each(
    mut input: impl BufRead,
    name: &str,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let (opening, closing) = (format!("<{name}"), format!("</{name}>"));
    let (opening, closing) = (Finder::new(&opening), Finder::new(&closing));
    let mut buffer: Vec<u8> = Vec::new();
    // Up to where no closing tag was found: it is not searched again.
    let mut searched = 0;
    loop {
        let mut done = 0;
        while let Some(at) = closing.find(&buffer[searched..]) {
            let end = searched + at + closing.needle().len();
            if let Some(start) = first_element(&opening, &buffer[done..end]) {
                each(&buffer[done + start..end]);
            }
            (done, searched) = (end, end);
        }
        buffer.drain(..done);
        searched = buffer.len().saturating_sub(closing.needle().len());
        if buffer.len() > ELEMENT_BYTES_MAX {
            let message = format!("an element `{name}` is longer than the {ELEMENT_BYTES_MAX} bytes allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer)? == 0 {
            return Ok(());
        }
    }
}

/// Where the element begins: `<package>` or `<package type=…>`, and not `<packages>`.
fn first_element(opening: &Finder<'_>, text: &[u8]) -> Option<usize> {
    opening.find_iter(text).find(|at| {
        let after = text.get(at + opening.needle().len());
        after.is_some_and(|byte| matches!(byte, b'>' | b' ' | b'\t' | b'\r' | b'\n'))
    })
}

/// The text of the first `<name>…</name>` in an element, without parsing the rest.
pub(in crate::packages) fn first_text<'a>(element: &'a [u8], opening: &[u8]) -> Option<&'a [u8]> {
    let start = memmem::find(element, opening)? + opening.len();
    let end = start + memchr::memchr(b'<', &element[start..])?;
    Some(element[start..end].trim_ascii())
}

/// One step of a walk through an element.
pub(in crate::packages) enum Step<'a, 'b> {
    /// A tag opens: its name without prefix, and its attributes.
    Open(&'b str, &'b Attributes<'a>),
    /// The text of the tag of this name.
    Text(&'b str, String),
}

/// The attributes of a tag.
pub(in crate::packages) struct Attributes<'a>(BytesStart<'a>);

impl Attributes<'_> {
    /// The value of an attribute; empty when it is not there or not to be understood.
    pub(in crate::packages) fn get(&self, name: &str) -> String {
        let found = self.0.try_get_attribute(name).ok().flatten();
        let value = found.and_then(|attribute| {
            attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
        });
        value.unwrap_or_default()
    }
}

/// Walks through one element; what is not XML from some point on is not looked at from there on.
pub(in crate::packages) fn walk(element: &[u8], mut step: impl FnMut(Step<'_, '_>)) {
    let mut reader = Reader::from_reader(element);
    reader.config_mut().check_end_names = false;
    let (mut name, mut text) = (String::new(), String::new());
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                name = local_name(start.local_name().as_ref());
                text.clear();
                step(Step::Open(&name, &Attributes(start)));
            }
            Ok(Event::Empty(start)) => {
                let name = local_name(start.local_name().as_ref());
                step(Step::Open(&name, &Attributes(start)));
            }
            Ok(Event::Text(part)) => text.push_str(&part.decode().unwrap_or_default()),
            Ok(Event::CData(part)) => text.push_str(&part.decode().unwrap_or_default()),
            Ok(Event::GeneralRef(part)) => {
                let entity = part.decode().unwrap_or_default();
                match part.resolve_char_ref() {
                    Ok(Some(character)) => text.push(character),
                    _ => text.push_str(quick_xml::escape::resolve_predefined_entity(&entity).unwrap_or_default()),
                }
            }
            Ok(Event::End(end)) => {
                let closed = local_name(end.local_name().as_ref());
                // The text of a tag with tags in it is white space.
                if closed == name {
                    step(Step::Text(&closed, text.trim().to_owned()));
                }
                name.clear();
            }
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn local_name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Step, first_text, for_each, walk};

    fn cut(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for_each(text.as_bytes(), "p", |element| seen.push(String::from_utf8(element.to_vec()).unwrap())).unwrap();
        seen
    }

    #[test]
    fn elements_are_cut_whatever_lies_between_them() {
        assert_eq!(cut("<?xml?><ps n=\"2\">\n<p>a</p><p x=\"1\">b</p>\n junk </ps>"), ["<p>a</p>", "<p x=\"1\">b</p>"]);
        assert_eq!(cut("<p>cut off"), Vec::<String>::new());
        assert_eq!(cut(""), Vec::<String>::new());
    }

    #[test]
    fn elements_longer_than_a_chunk_are_whole() {
        let long = format!("<p>{}</p>", "x".repeat(super::CHUNK_BYTES * 3 - 5));
        let seen = cut(&format!("{long}{long}<p>y</p>"));
        assert_eq!(seen.iter().map(String::len).collect::<Vec<_>>(), [long.len(), long.len(), 8]);
    }

    #[test]
    fn walk_gives_tags_attributes_and_texts() {
        let mut seen = Vec::new();
        walk(b"<p><rpm:a v=\"1 &amp; 2\"/><b>x &lt; y&#33;</b><c><![CDATA[z]]></c></p>", |step| match step {
            Step::Open(name, attributes) => seen.push(format!("+{name} {}", attributes.get("v"))),
            Step::Text(name, text) => seen.push(format!("{name}={text}")),
        });
        assert_eq!(seen, ["+p ", "+a 1 & 2", "+b ", "b=x < y!", "+c ", "c=z"]);
        walk(b"<p <<<", |_| {});
    }

    #[test]
    fn first_text_needs_no_parser() {
        assert_eq!(first_text(b"<p><name> bash </name></p>", b"<name>"), Some(&b"bash"[..]));
        assert_eq!(first_text(b"<p><name>bash", b"<name>"), None);
    }
}
