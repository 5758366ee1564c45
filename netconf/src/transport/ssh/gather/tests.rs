use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;

use super::*;

/// A stream and what the other end sees, with room for `room` bytes on the way.
fn stream(room: usize) -> (Gather<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    (Gather::new(ours), theirs)
}

/// What has come at the other end by now.
async fn arrived(theirs: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let mut buffer = ReadBuf::new(&mut bytes);
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(theirs).poll_read(&mut context, &mut buffer) {
        Poll::Ready(read) => {
            read.unwrap();
            buffer.filled().to_vec()
        }
        Poll::Pending => Vec::new(),
    }
}

#[tokio::test]
async fn what_is_written_goes_when_a_read_finds_nothing() {
    let (mut ours, mut theirs) = stream(1 << 20);
    theirs.write_all(b"ab").await.unwrap();
    ours.write_all(b"one ").await.unwrap();
    ours.flush().await.unwrap();
    assert_eq!(ours.read_u8().await.unwrap(), b'a');
    ours.write_all(b"two").await.unwrap();
    assert_eq!(ours.read_u8().await.unwrap(), b'b');
    assert_eq!(arrived(&mut theirs).await, b"");
    let reading = tokio::spawn(async move { ours.read_u8().await.unwrap() });
    yield_now().await;
    assert_eq!(arrived(&mut theirs).await, b"one two");
    theirs.write_all(b"c").await.unwrap();
    assert_eq!(reading.await.unwrap(), b'c');
}

#[tokio::test]
async fn a_peer_that_takes_nothing_holds_the_writer_back() {
    let (mut ours, mut theirs) = stream(1000);
    let bytes: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let expected = bytes.clone();
    let writing = tokio::spawn(async move {
        for packet in bytes.chunks(700) {
            ours.write_all(packet).await.unwrap();
        }
        ours.shutdown().await.unwrap();
    });
    for _ in 0..10 {
        yield_now().await;
    }
    assert!(!writing.is_finished());
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    writing.await.unwrap();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn large_writes_keep_their_place() {
    let (mut ours, mut theirs) = stream(1 << 20);
    let large = vec![7; 2 * WRITE_BYTES];
    ours.write_all(b"first").await.unwrap();
    ours.write_all(&large).await.unwrap();
    ours.write_all(b"last").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [b"first".as_slice(), &large, b"last"].concat());
}

#[tokio::test]
async fn the_last_words_are_said_when_it_is_dropped() {
    let (mut ours, mut theirs) = stream(1 << 20);
    ours.write_all(b"goodbye").await.unwrap();
    drop(ours);
    let mut all = String::new();
    theirs.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "goodbye");
}

#[tokio::test]
async fn the_end_and_a_broken_stream_are_told() {
    let (mut ours, theirs) = stream(1 << 20);
    drop(theirs);
    assert_eq!(ours.read(&mut [0; 4]).await.unwrap(), 0);
    ours.write_all(b"x").await.unwrap();
    let error = ours.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
