//! Fetching what a command names by its URL: over HTTPS, bounded in size and time.
//!
//! What stands behind a URL's `?` may be a secret (presigned URLs): it is in no message here.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use reqwest::StatusCode;

use super::output::chain;
use crate::transport::https;

/// Tries after the first, each after twice the pause of the one before.
const RETRIES: usize = 3;
/// The first pause, before its jitter.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not fetch `{url}`: {problem}")]
pub struct FetchError {
    /// Without what stands behind its `?`.
    pub url: String,
    /// What went wrong.
    pub problem: String,
    /// Whether another try may help.
    pub is_transient: bool,
}

/// What is there, if it is at most `bytes_max` long. The server is believed by the certificates that
/// this machine trusts; redirections are not followed.
///
/// # Errors
/// [`FetchError`] after a refusal, or when the tries are used up.
pub(super) async fn fetch(url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    let failed = |problem: String, is_transient| FetchError { url: shown.to_owned(), problem, is_transient };
    let (url, client) =
        https::client(url, None).map_err(|_| failed("allowed are https URLs without a user".to_owned(), false))?;
    let once = || async {
        let answer = client.get(url.clone()).timeout(WITHIN).send().await;
        let answer = answer.map_err(|error| failed(chain(&error.without_url()), true))?;
        let status = answer.status();
        if !status.is_success() {
            let is_transient = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(failed(format!("the server answered {status}"), is_transient));
        }
        if answer.content_length().is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(failed(format!("it is longer than {bytes_max} bytes"), false));
        }
        https::body(answer, bytes_max, WITHIN).await.map_err(|error| failed(chain_without_url(error), true))
    };
    once.retry(ExponentialBuilder::default().with_jitter().with_min_delay(PAUSE_MIN).with_max_times(RETRIES))
        .when(|error: &FetchError| error.is_transient)
        .await
}

/// The transport's errors name no URL of their own, but what they wrap may.
fn chain_without_url(error: crate::transport::TransportError) -> String {
    use crate::transport::TransportError;
    match error {
        TransportError::Link { attempted, source } => match source.downcast::<reqwest::Error>() {
            Ok(source) => format!("could not {attempted}: {}", chain(&source.without_url())),
            Err(source) => format!("could not {attempted}: {source}"),
        },
        other => chain(&other),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::fetch;

    /// A server that gives these answers, one for each connection, and then is away.
    async fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/list.yaml?X-Signature=secret", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await.expect("a request");
                stream.write_all(answer.as_bytes()).await.expect("sent");
                stream.shutdown().await.expect("ended");
            }
        });
        url
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn what_a_busy_server_gives_in_the_end_is_fetched() {
        let url = server(vec![answer("503 Busy", ""), answer("200 OK", "patches: []")]).await;
        assert_eq!(fetch(&url, 11).await, Ok(b"patches: []".to_vec()));
    }

    #[tokio::test]
    async fn refusals_redirections_and_what_is_too_long_are_final_and_tell_no_secret() {
        let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(100));
        for (answer, problem) in [
            (answer("403 Forbidden", ""), "the server answered 403 Forbidden"),
            (answer("301 Moved", ""), "the server answered 301"),
            (answer("200 OK", "twelve bytes"), "it is longer than 11 bytes"),
        ] {
            let error = fetch(&server(vec![answer]).await, 11).await.expect_err("refused");
            assert!(error.problem.contains(problem) && !error.is_transient, "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        // A length that was not announced is counted.
        let error = fetch(&server(vec![endless]).await, 11).await.expect_err("refused");
        assert!(!error.to_string().contains("secret"), "{error}");
        for url in ["http://example.org/a?secret", "https://user:secret@example.org/", "s3://bucket/key?secret"] {
            let error = fetch(url, 11).await.expect_err("refused").to_string();
            assert!(error.contains("allowed are https URLs") && !error.contains("?secret"), "{error}");
        }
    }
}
