//! Waiting for what takes its time.

use std::time::Duration;

use crate::error::Error;

/// Asks again and again until the answer is good. The inner error says what was seen instead, the outer ends it at once.
///
/// # Errors
/// When the answer is not good within `limit`.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Result<T, String>, Error>,
) -> Result<T, Error> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match ask().await? {
            Ok(answer) => return Ok(answer),
            Err(last) if tokio::time::Instant::now() >= deadline => {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    limit,
                    last,
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
