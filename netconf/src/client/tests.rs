//! The client against servers that do as the script says, in memory and on simulated time.

use super::*;
use crate::capability::{BASE_1_0, BASE_1_1};
use crate::error::{ErrorTag, RpcError};
use crate::message::{Hello, encode_reply};
use crate::transport::memory::{MemoryLink, pair};

const BASE: &str = "xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'";

#[derive(Debug)]
struct Script {
    link: MemoryLink,
    framing: Framing,
}

impl Script {
    /// Sends the server's hello and reads the client's.
    async fn new(mut link: MemoryLink, base: &str, session_id: Option<u32>) -> Self {
        let hello = Hello {
            capabilities: vec![base.to_owned()],
            session_id,
        };
        let bytes = framing::encode(Framing::EndOfMessage, hello.encode().as_bytes()).unwrap();
        link.transmitter.transmit(bytes.into()).await.unwrap();
        link.receiver.receive().await.unwrap();
        let framing = if base == BASE_1_1 {
            Framing::Chunked
        } else {
            Framing::EndOfMessage
        };
        Self { link, framing }
    }

    async fn send(&mut self, message: &str) {
        let bytes = framing::encode(self.framing, message.as_bytes()).unwrap();
        self.link.transmitter.transmit(bytes.into()).await.unwrap();
    }

    async fn request(&mut self) -> String {
        String::from_utf8(self.link.receiver.receive().await.unwrap().to_vec()).unwrap()
    }
}

fn config() -> ClientConfig {
    let auth = Auth::Password(String::new());
    let mut config =
        ClientConfig::new("memory", "alice", auth, HostKeyCheck::Pinned(String::new()));
    config.notification_queue = 1;
    config
}

type Connected = (Client, mpsc::Receiver<Notification>, Script);

async fn connect(base: &str, session_id: Option<u32>) -> Result<Connected, Error> {
    let (ours, theirs) = pair(8);
    let config = config();
    let finish = std::future::ready(());
    let (client, script) = tokio::join!(
        Client::over(ours, &config, finish),
        Script::new(theirs, base, session_id)
    );
    client.map(|(client, notifications)| (client, notifications, script))
}

#[tokio::test]
async fn hellos_of_servers_that_break_the_rules_are_refused() {
    let error = connect(BASE_1_1, None).await.unwrap_err().to_string();
    assert!(error.contains("no session-id"), "{error}");
    let error = connect("urn:x", Some(1)).await.unwrap_err().to_string();
    assert!(error.contains("neither"), "{error}");
}

#[tokio::test]
async fn replies_find_their_request_in_any_order_in_both_framings() {
    for base in [BASE_1_0, BASE_1_1] {
        let (client, _notifications, mut script) = connect(base, Some(1)).await.unwrap();
        let server = async {
            assert!(script.request().await.contains("message-id=\"1\""));
            assert!(script.request().await.contains("message-id=\"2\""));
            script
                .send(&format!(
                    "<rpc-reply {BASE} message-id='99'><ok/></rpc-reply>"
                ))
                .await;
            script
                .send(&format!(
                    "<rpc-reply {BASE} message-id='2'><ok/></rpc-reply>"
                ))
                .await;
            script
                .send(&format!(
                    "<rpc-reply {BASE} message-id='1'><data><a/></data></rpc-reply>"
                ))
                .await;
        };
        let (data, done, ()) =
            tokio::join!(client.get(None, None), client.discard_changes(), server);
        assert!(data.unwrap().as_str().starts_with("<a"));
        done.unwrap();
    }
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_an_error() {
    let (client, _notifications, mut script) = connect(BASE_1_1, Some(1)).await.unwrap();
    let server = async {
        script.request().await;
        script
            .send(&format!(
                "<rpc-reply {BASE} message-id='1'><ok/></rpc-reply>"
            ))
            .await;
    };
    let (data, ()) = tokio::join!(client.get(None, None), server);
    assert_eq!(
        data.unwrap_err().to_string(),
        "protocol error: get was answered with <ok/>"
    );
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_server_breaks_the_protocol() {
    for (garbage, why) in [
        ("nonsense".to_owned(), "broke the framing"),
        ("\n#2\n<a\n##\n".to_owned(), "not well formed"),
        ("\n#4\n<a/>\n##\n".to_owned(), "unexpected <a>"),
    ] {
        let (client, _notifications, mut script) = connect(BASE_1_1, Some(1)).await.unwrap();
        let server = async {
            script.request().await;
            script
                .link
                .transmitter
                .transmit(garbage.clone().into())
                .await
                .unwrap();
        };
        let (data, ()) = tokio::join!(client.get(None, None), server);
        let error = data.unwrap_err();
        assert!(
            matches!(&error, Error::Closed { reason } if reason.contains(why)),
            "{error}"
        );
        assert!(client.is_closed());
        assert!(client.closed().await.contains(why));
    }
}

#[tokio::test]
async fn an_error_without_message_id_ends_the_session_with_its_text() {
    let (client, _notifications, mut script) = connect(BASE_1_1, Some(1)).await.unwrap();
    let error = RpcError::new(ErrorTag::MalformedMessage, "what was that?");
    script
        .send(&encode_reply(None, &[], &Err(vec![error])))
        .await;
    assert!(client.closed().await.contains("what was that?"));
}

#[tokio::test(start_paused = true)]
async fn notifications_wait_for_their_receiver_and_none_is_lost() {
    let (_client, mut notifications, mut script) = connect(BASE_1_1, Some(1)).await.unwrap();
    let server = tokio::spawn(async move {
        for i in 0..20 {
            let content = Fragment::parse(&format!("<e xmlns='urn:e'>{i}</e>")).unwrap();
            let event_time = "2026-01-01T00:00:00Z".to_owned();
            script
                .send(
                    &Notification {
                        event_time,
                        content,
                    }
                    .encode(),
                )
                .await;
        }
        script
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for i in 0..20 {
        let content = notifications.recv().await.unwrap().content;
        assert_eq!(content.elements().unwrap()[0].text, i.to_string());
    }
    drop(server.await.unwrap());
    assert!(
        notifications.recv().await.is_none(),
        "the end of the session ends the queue"
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_client_ends_the_session() {
    let (client, _notifications, mut script) = connect(BASE_1_1, Some(1)).await.unwrap();
    let clone = client.clone();
    drop(client);
    assert!(!clone.is_closed());
    drop(clone);
    assert!(script.link.receiver.receive().await.is_none());
}
