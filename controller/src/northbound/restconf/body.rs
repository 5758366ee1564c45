//! The body of a request, with its limits of size and time.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use tranche_netconf::error::ErrorTag;

use super::error::Refusal;
use crate::config::Http;

/// Reads a body as text.
///
/// # Errors
/// 413 for one that is too large, 408 for one that takes too long, 400 for one that breaks off or isn't UTF-8.
pub(crate) async fn read(body: Body, http: &Http) -> Result<String, Refusal> {
    let bytes = timeout(http.body_timeout, collect(body, http.body_bytes))
        .await
        .map_err(|_| {
            Refusal::with_status(
                StatusCode::REQUEST_TIMEOUT,
                ErrorTag::OperationFailed,
                format!(
                    "the body did not come within {} s",
                    http.body_timeout.as_secs_f32()
                ),
            )
        })??;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Refusal::new(
            ErrorTag::MalformedMessage,
            format!("the body is not UTF-8 at byte {at}"),
        )
    })
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Refusal::new(
                ErrorTag::MalformedMessage,
                "the body breaks off before its end",
            )
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(Refusal::new(
                ErrorTag::TooBig,
                format!("the body is larger than {limit} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
