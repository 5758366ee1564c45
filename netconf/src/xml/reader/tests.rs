use super::*;

const LIMITS: XmlLimits = XmlLimits {
    max_depth: 8,
    max_attributes: 4,
};

fn read(xml: &str) -> Result<(), XmlError> {
    let mut reader = Reader::new(xml, &LIMITS)?;
    while !matches!(reader.next()?, Event::Eof) {}
    Ok(())
}

fn refused(xml: &str, word: &str) {
    let error = read(xml).expect_err(xml).to_string();
    assert!(error.contains(word), "{xml}: {error}");
}

#[test]
fn what_netconf_forbids_is_refused() {
    refused("<!DOCTYPE a><a/>", "document type");
    refused(
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "document type",
    );
    refused("<a>&x;</a>", "undeclared entity");
    refused("<a b='&x;'/>", "x");
    refused("<a><?php ?></a>", "processing instruction");
    refused("<a/><?xml version='1.0'?>", "XML declaration");
    refused("<?xml version='1.0' encoding='latin1'?><a/>", "UTF-8");
    assert_eq!(
        read("\n<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<a/>\n"),
        Ok(())
    );
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for xml in [
        "<a>",
        "<a></b>",
        "</a>",
        "<a",
        "<a b=c/>",
        "<a b/>",
        "<a b='1' b='2'/>",
        "<1a/>",
        "<a:b:c xmlns:a='x'/>",
        "<a b='<'/>",
        "<a>\u{1}</a>",
        "<a>&#0;</a>",
        "<a b='&#1;'/>",
        "<a>&</a>",
        "<a><!-- -- --></a>",
        "text",
        "<a/>text",
        "<a/><b",
        "<a xmlns:b=''/>",
        "<a xmlns:p='x' xmlns:q='x' p:n='' q:n=''/>",
        "<>",
        "< a/>",
        "<a><![CDATA[</a>",
    ] {
        assert!(read(xml).is_err(), "{xml} was accepted");
    }
    assert_eq!(
        read("<a><p:b/></a>"),
        Err(XmlError::UnboundPrefix {
            offset: 3,
            prefix: "p".into()
        })
    );
    refused("<a p:b='1'/>", "bound to no namespace");
    assert!(matches!(
        Reader::from_bytes(b"<a>\xff</a>", &LIMITS),
        Err(XmlError::NotUtf8 { offset: 3 })
    ));
}

#[test]
fn limits_hold() {
    assert_eq!(read(&("<a>".repeat(8) + &"</a>".repeat(8))), Ok(()));
    refused(&("<a>".repeat(9) + &"</a>".repeat(9)), "nested");
    assert_eq!(read("<a b='' c='' d='' e=''/>"), Ok(()));
    refused("<a b='' c='' d='' e='' f=''/>", "attributes");
    let limits = XmlLimits {
        max_depth: usize::MAX,
        max_attributes: usize::MAX,
    };
    let declarations: String = (0..257).map(|i| format!(" xmlns:p{i}='u'")).collect();
    let xml = format!("<a{declarations}/>");
    let error = Reader::new(&xml, &limits).unwrap().next().unwrap_err();
    assert!(
        error.to_string().contains("256 namespace declarations"),
        "{error}"
    );
}

#[test]
fn elements_cannot_be_blown_up_by_what_they_must_declare() {
    let declarations: String = (0..200).map(|i| format!(" xmlns:p{i}='u{i}'")).collect();
    let xml = format!("<a{declarations}>{}</a>", "<b/>".repeat(100_000));
    let limits = XmlLimits {
        max_depth: 2,
        max_attributes: 200,
    };
    let mut reader = Reader::new(&xml, &limits).unwrap();
    reader.next().unwrap();
    let error = reader.inner().unwrap_err();
    assert!(error.to_string().contains("repeated namespace"), "{error}");

    // Nor one by one.
    let mut reader = Reader::new(&xml, &limits).unwrap();
    reader.next().unwrap();
    let error = loop {
        let tag = reader.next_child().unwrap().unwrap();
        if let Err(error) = reader.whole(&tag) {
            break error;
        }
    };
    assert!(error.to_string().contains("repeated namespace"), "{error}");
}

#[test]
fn a_fragment_declares_what_was_in_scope_and_no_more() {
    let xml = "<r xmlns='urn:r' xmlns:p='urn:p' xmlns:q='urn:q'><c xmlns:q='urn:inner'>\
               <x xmlns='urn:x' p:o='1'><y/></x> <!-- c --> <p:z xmlns:p='urn:own'/></c></r>";
    let mut reader = Reader::new(xml, &LIMITS).unwrap();
    reader.next().unwrap();
    reader.next().unwrap();
    let fragment = reader.inner().unwrap();
    assert_eq!(
        fragment.as_str(),
        "<x xmlns:p=\"urn:p\" xmlns:q=\"urn:inner\" xmlns='urn:x' p:o='1'><y/></x>\
         <p:z xmlns=\"urn:r\" xmlns:q=\"urn:inner\" xmlns:p='urn:own'/>"
    );
    assert!(matches!(reader.next().unwrap(), Event::End));
    assert!(matches!(reader.next().unwrap(), Event::Eof));
    assert_eq!(Fragment::parse(fragment.as_str()).unwrap(), fragment);
}

#[test]
fn a_whole_element_is_taken_with_its_scope() {
    let xml = "<r xmlns:p='urn:p'><p:op><a xmlns=''/>t</p:op><p:next/></r>";
    let mut reader = Reader::new(xml, &LIMITS).unwrap();
    reader.next().unwrap();
    let tag = reader.next_child().unwrap().unwrap();
    assert!(tag.is("urn:p", "op"));
    let fragment = reader.whole(&tag).unwrap();
    assert_eq!(
        fragment.as_str(),
        "<p:op xmlns:p=\"urn:p\"><a xmlns=''/>t</p:op>"
    );
    assert_eq!(reader.next_child().unwrap().unwrap().name, "next");
}
