//! A hello of 100 MB costs the server no more than its limit. Alone in its process, so that its memory can be seen.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use std::time::Duration;

use common::{eventually, quick, serve};
use tokio::time::timeout;
use tranche_netconf::server::SessionEnd;
use tranche_netconf::transport::ssh::RawChannel;

fn peak_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_hello_of_100_megabytes_is_refused_in_little_memory() {
    let setup = serve(quick()).await;
    let mut channel = RawChannel::open(&setup.config()).await.unwrap();
    let before = peak_kilobytes();
    let piece = bytes::Bytes::from(vec![b'a'; 32 << 10]);
    let mut sent = 0;
    // Once the server has closed it takes no more: sending fails, or waits for ever.
    while sent < 100 << 20
        && let Ok(Ok(())) = timeout(Duration::from_secs(2), channel.send(piece.clone())).await
    {
        sent += piece.len();
    }
    eventually("the session ends", || {
        !setup.toy.ends.lock().unwrap().is_empty()
    })
    .await;
    let (_, end) = setup.toy.ends.lock().unwrap()[0].clone();
    assert_eq!(
        end,
        SessionEnd::BadHello("message longer than 262144 bytes".to_owned())
    );
    let grown = peak_kilobytes() - before;
    assert!(grown < 20 << 10, "the process grew by {grown} kB");
}
