//! What `zypper --xmlout` prints, as a stream of the few things that matter: where elements begin
//! and end, their attributes, and their text.
//!
//! zypper may be cut off, and tools that it calls may print into its output; what cannot be
//! understood any more ends the stream, it is never a panic.

use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Characters of text kept of one element. The descriptions of kernel patches are long, and nobody
/// here reads them.
const TEXT_CHARS_MAX: usize = 16 * 1024;

/// An element without its content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    /// An attribute's value; empty when it is not there.
    pub(super) fn attribute(&self, key: &str) -> &str {
        self.attributes.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    fn of(start: &BytesStart<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = start.attributes().flatten().map(|attribute| {
            let raw = String::from_utf8_lossy(&attribute.value);
            let value = quick_xml::escape::unescape(&raw).map_or_else(|_| raw.to_string(), |value| value.to_string());
            (text(attribute.key.as_ref()), value)
        });
        Self { attributes: attributes.collect(), name: text(start.name().as_ref()) }
    }
}

/// What happens in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An element begins.
    Start(Element),
    /// An element ends; with the text directly in it.
    End(Element, String),
}

/// Reads a stream, calling `see` for each item in order. An error says where it was cut off.
pub(super) fn read(source: impl BufRead, mut see: impl FnMut(Item)) -> Result<(), quick_xml::Error> {
    let mut reader = Reader::from_reader(source);
    let mut open: Vec<(Element, String)> = Vec::new();
    let mut buffer = Vec::new();
    let add = |open: &mut Vec<(Element, String)>, more: &str| {
        if let Some((_, text)) = open.last_mut()
            && text.len() < TEXT_CHARS_MAX
        {
            text.push_str(more);
        }
    };
    loop {
        match reader.read_event_into(&mut buffer)? {
            Event::Start(start) => {
                let element = Element::of(&start);
                see(Item::Start(element.clone()));
                open.push((element, String::new()));
            }
            Event::Empty(start) => {
                let element = Element::of(&start);
                see(Item::Start(element.clone()));
                see(Item::End(element, String::new()));
            }
            Event::End(_) => {
                if let Some((element, text)) = open.pop() {
                    see(Item::End(element, text));
                }
            }
            Event::Text(text) => add(&mut open, &String::from_utf8_lossy(&text)),
            Event::CData(text) => add(&mut open, &String::from_utf8_lossy(&text)),
            Event::GeneralRef(reference) => {
                let name = String::from_utf8_lossy(&reference).into_owned();
                if let Ok(Some(char)) = reference.resolve_char_ref() {
                    add(&mut open, char.encode_utf8(&mut [0; 4]));
                } else if let Some(text) = resolve_predefined_entity(&name) {
                    add(&mut open, text);
                }
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, read};

    fn ends(text: &str) -> (Vec<(String, String)>, bool) {
        let mut seen = Vec::new();
        let whole = read(text.as_bytes(), |item| {
            if let Item::End(element, text) = item {
                seen.push((element.name.clone() + element.attribute("type"), text));
            }
        });
        (seen, whole.is_ok())
    }

    #[test]
    fn text_belongs_to_its_element_and_references_are_resolved() {
        let (seen, whole) =
            ends("<?xml version='1.0'?>\n<s>a<m type=\"&apos;x\">1 &lt; 2 &#65;<![CDATA[<b>]]></m>b</s>\n");
        assert!(whole);
        assert_eq!(seen, [("m'x".into(), "1 < 2 A<b>".into()), ("s".into(), "ab".into())]);
    }

    #[test]
    fn what_was_understood_before_the_stream_broke_is_kept() {
        for broken in ["<s><m type='a'>x</m><m typ", "<s><m type='a'>x</m></t>", "<s><m type='a'>x</m>&<<"] {
            let (seen, whole) = ends(broken);
            assert_eq!(seen, [("ma".to_owned(), "x".to_owned())], "{broken}");
            assert!(!whole, "{broken}");
        }
    }
}
