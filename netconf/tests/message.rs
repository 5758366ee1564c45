//! Messages read and written again. `tests/golden/<case>/01-request.xml` is read; what comes of it is compared with
//! `01-rpc.xml` (the request as this crate writes it) or `01-reply.xml` (the error it answers). `UPDATE_GOLDEN=1` writes
//! those instead.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use tranche_netconf::error::{ErrorSeverity, ErrorTag, ErrorType, RpcError};
use tranche_netconf::message::{
    Hello, Notification, Operation, Outcome, Reply, Rpc, RpcReply, ServerMessage, encode_reply,
};
use tranche_netconf::xml::{Fragment, XmlLimits};

const LIMITS: XmlLimits = XmlLimits {
    max_depth: 32,
    max_attributes: 16,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn compare(path: &Path, got: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, format!("{got}\n")).unwrap();
    }
    let expected = fs::read_to_string(path)
        .unwrap_or_else(|_| panic!("{} is missing; the message is\n{got}", path.display()));
    assert_eq!(got, expected.trim_end(), "{}", path.display());
}

#[test]
fn requests_read_as_they_should() {
    let mut cases = 0;
    for case in fs::read_dir(golden()).unwrap() {
        let case = case.unwrap().path();
        let request = fs::read(case.join("01-request.xml")).unwrap();
        match Rpc::parse(&request, &LIMITS) {
            Ok(rpc) => {
                let written = rpc.encode();
                compare(&case.join("01-rpc.xml"), &written);
                let again = Rpc::parse(written.as_bytes(), &LIMITS).unwrap();
                assert_eq!(again.operation.name(), rpc.operation.name());
                assert_eq!(again.encode(), written, "{}", case.display());
            }
            Err(bad) => {
                let outcome = Err(vec![bad.error]);
                let reply = encode_reply(bad.message_id.as_deref(), &bad.attributes, &outcome);
                compare(&case.join("01-reply.xml"), &reply);
            }
        }
        cases += 1;
    }
    assert!(cases > 30, "only {cases} cases");
}

fn back(outcome: &Outcome) -> RpcReply {
    let text = encode_reply(Some("7"), &[], outcome);
    match ServerMessage::parse(text.as_bytes(), &LIMITS) {
        Ok(ServerMessage::Reply(reply)) => reply,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_reply_reads_back_as_it_was_written() {
    let data = Fragment::parse("<a xmlns=\"urn:a\"><b>1 &lt; 2</b></a>").unwrap();
    for reply in [
        Reply::Ok,
        Reply::Data(data.clone()),
        Reply::Data(Fragment::default()),
        Reply::Output(data),
        Reply::Schema("\nmodule a {\n}\n<&>]]>\n".to_owned()),
    ] {
        let mut read = back(&Ok(reply.clone()));
        if let Ok(Reply::Data(data) | Reply::Output(data)) = &mut read.outcome {
            // Self-contained now: declares the default namespace it stood in, which its own declaration hides.
            assert!(!data.as_str().contains("netconf:base"), "{data}");
        }
        assert_eq!(
            read,
            RpcReply {
                message_id: Some("7".to_owned()),
                outcome: Ok(reply)
            }
        );
    }
    assert_eq!(
        back(&Ok(Reply::Output(Fragment::default()))).outcome,
        Ok(Reply::Ok)
    );
}

#[test]
fn every_error_tag_reads_back_as_it_was_written() {
    for tag in ErrorTag::ALL {
        let mut error = RpcError::new(tag, "why: a < b")
            .at("/tranche-wifi:wifi/vif[name='a']")
            .with_app_tag("must-violation")
            .with_info("bad-element", "vif")
            .with_path_namespaces(|module| Some(format!("urn:{module}")));
        error.info_xml =
            Fragment::parse("<non-unique xmlns=\"urn:ietf:params:xml:ns:yang:1\">/x</non-unique>")
                .unwrap();
        for error_type in ErrorType::ALL {
            error.error_type = error_type;
            assert_eq!(
                back(&Err(vec![error.clone(); 2])).outcome,
                Err(vec![error.clone(); 2])
            );
        }
        error.severity = ErrorSeverity::Warning;
        assert_eq!(back(&Err(vec![error.clone()])).outcome, Err(vec![error]));
    }
}

#[test]
fn the_names_of_an_error_path_are_prefixed_and_the_prefixes_declared() {
    let path = "/tranche-wifi:wifi/vif[name='a:b']/other:leaf";
    let namespace = |module: &str| (module != "other").then(|| format!("urn:{module}"));
    let error = RpcError::new(ErrorTag::InvalidValue, "no").at(path);
    let plain = encode_reply(None, &[], &Err(vec![error.clone()]));
    assert!(plain.contains(&format!("<error-path>{path}</error-path>")));
    let error = error.with_path_namespaces(namespace);
    let reply = encode_reply(None, &[], &Err(vec![error.clone()]));
    let expected = "<error-path xmlns:tranche-wifi=\"urn:tranche-wifi\">/tranche-wifi:wifi\
                    /tranche-wifi:vif[tranche-wifi:name='a:b']/other:leaf</error-path>";
    assert!(reply.contains(expected), "{reply}");
    assert_eq!(back(&Err(vec![error.clone()])).outcome, Err(vec![error]));
}

#[test]
fn an_unknown_error_tag_is_kept_in_the_message() {
    let text = "<rpc-reply xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' message-id='1'><rpc-error>\
                <error-tag>too-tired</error-tag><error-message>no</error-message></rpc-error></rpc-reply>";
    let Ok(ServerMessage::Reply(reply)) = ServerMessage::parse(text.as_bytes(), &LIMITS) else {
        panic!()
    };
    let errors = reply.outcome.unwrap_err();
    assert_eq!(errors[0].tag, ErrorTag::OperationFailed);
    assert_eq!(
        errors[0].message.as_deref(),
        Some("no (error-tag \"too-tired\")")
    );
}

#[test]
fn every_attribute_of_a_request_comes_back() {
    let request = "<nc:rpc xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0' xmlns='urn:x' \
                   xmlns:u='urn:u' message-id='a&quot;&#10;b' u:user='&lt;fred&gt;' plain='1'><nc:get/></nc:rpc>";
    let rpc = Rpc::parse(request.as_bytes(), &LIMITS).unwrap();
    assert_eq!(rpc.message_id, "a\"\nb");
    let reply = encode_reply(Some(&rpc.message_id), &rpc.attributes, &Ok(Reply::Ok));
    assert_eq!(
        reply,
        "<rpc-reply xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\" message-id=\"a&quot;&#10;b\" \
         xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" xmlns:u=\"urn:u\" \
         u:user=\"&lt;fred&gt;\" plain=\"1\"><ok/></rpc-reply>"
    );
}

#[test]
fn hellos_and_notifications_read_back() {
    let hello = Hello {
        capabilities: vec!["urn:a?b=c&d=e".to_owned(), "urn:b".to_owned()],
        session_id: Some(4_294_967_295),
    };
    assert_eq!(Hello::parse(hello.encode().as_bytes(), &LIMITS), Ok(hello));
    let notification = Notification {
        event_time: "2026-01-01T00:00:00.5Z".to_owned(),
        content: Fragment::parse("<e xmlns=\"urn:e\"><x/></e>").unwrap(),
    };
    let read = Notification::parse(notification.encode().as_bytes(), &LIMITS).unwrap();
    assert_eq!(read, notification);
}

#[test]
fn bad_hellos_say_what_is_wrong() {
    let base = "xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'";
    for (hello, why) in [
        ("<hello/>".to_owned(), "expected <hello>"),
        (format!("<rpc {base}/>"), "expected <hello>, got <rpc>"),
        (
            format!("<hello {base}><session-id>0</session-id></hello>"),
            "bad <session-id>",
        ),
        (format!("<hello {base}><x/></hello>"), "<x> in <hello>"),
        (
            format!("<hello {base}><capabilities><x/></capabilities></hello>"),
            "among capabilities",
        ),
        (format!("<hello {base}>"), "not well formed"),
        (format!("<hello {base}/><hello/>"), "root"),
    ] {
        let error = Hello::parse(hello.as_bytes(), &LIMITS).expect_err(&hello);
        assert!(error.contains(why), "{hello}: {error}");
    }
}

#[test]
fn an_operation_of_a_module_is_taken_whole() {
    let request = "<rpc xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' message-id='1'>\
                   <t:op xmlns:t='urn:t'><t:leaf>t:id</t:leaf></t:op></rpc>";
    let rpc = Rpc::parse(request.as_bytes(), &LIMITS).unwrap();
    let Operation::Other {
        namespace,
        name,
        element,
    } = rpc.operation
    else {
        panic!()
    };
    assert_eq!((namespace.as_str(), name.as_str()), ("urn:t", "op"));
    let read = element.elements().unwrap();
    assert_eq!(read[0].child_text("leaf"), Some("t:id"));
}
