//! Answers as XML.

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};

/// An element: a name, perhaps a namespace, and in it either text or elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    namespace: Option<&'static str>,
    text: Option<String>,
    elements: Vec<Self>,
}

impl Element {
    /// An element with elements in it, of which there are none yet.
    pub(super) fn parent(name: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: None, text: None, elements: Vec::new() }
    }

    /// An element with text in it.
    pub(super) fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::parent(name) }
    }

    /// The same, with its names in this namespace.
    pub(super) fn of(self, namespace: &'static str) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    /// The same, with one element more in it.
    pub(super) fn with(mut self, element: Self) -> Self {
        self.elements.push(element);
        self
    }

    /// A whole document of it.
    pub(super) fn document(&self) -> String {
        let mut writer = Writer::new(Vec::new());
        let written = writer
            .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
            .and_then(|()| self.write(&mut writer));
        written.expect("a vector takes everything");
        String::from_utf8(writer.into_inner()).expect("made of strings")
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(&self.name);
        if let Some(namespace) = self.namespace {
            start.push_attribute(("xmlns", namespace));
        }
        writer.write_event(Event::Start(start))?;
        if let Some(text) = &self.text {
            writer.write_event(Event::Text(BytesText::new(text)))?;
        }
        for element in &self.elements {
            element.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(&self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_elements_are_in_their_order() {
        let element = Element::parent("a")
            .of("urn:x")
            .with(Element::text("b", "<1 & \"2\">"))
            .with(Element::parent("c").with(Element::text("d", "")));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a xmlns=\"urn:x\">\
                        <b>&lt;1 &amp; &quot;2&quot;&gt;</b><c><d></d></c></a>";
        assert_eq!(element.document(), expected);
    }
}
