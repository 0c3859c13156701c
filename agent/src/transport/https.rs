//! What everything that the agent asks over HTTPS has in common: whom it believes to be the server,
//! and how much of an answer it reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::TransportError;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// The longest silence of a stream: three of the gateway's signs of life.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// How long a connection without a request is kept: for a run's few reports, not for heartbeats.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A server's address and a client of it; the server is one of HTTPS, or of HTTP on
/// this machine.
///
/// # Errors
/// [`TransportError::Server`], [`TransportError::Certificates`].
pub(crate) fn client(server: &str, ca_cert: Option<&Path>) -> Result<(Url, Client), TransportError> {
    let refused = |reason: &str| TransportError::Server { url: server.to_owned(), reason: reason.to_owned() };
    let url: Url = server.parse().map_err(|_| refused("not a URL"))?;
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => {}
        ("http", Some(host)) if is_loopback(&host.to_string()) => {}
        ("http", _) => return Err(refused("without TLS anybody on the way could be this node for some minutes")),
        _ => return Err(refused("not a URL of HTTPS")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TransportError::Server {
            url: "***".to_owned(),
            reason: "user and password have no place in it".to_owned(),
        });
    }
    let client = Client::builder()
        .tls_backend_preconfigured(tls(ca_cert)?)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(SILENCE_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .user_agent(concat!("patchwave-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed("prepare HTTPS"))?;
    Ok((url, client))
}

/// Whether that host, of a URL, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(ca_cert: Option<&Path>) -> Result<ClientConfig, TransportError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_cert {
        let bad = |reason: String| TransportError::Certificates { path: path.display().to_string(), reason };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("no certificate in it".to_owned()));
        }
    } else {
        // What cannot be read is not trusted; without any, every connection says so.
        let (_added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(failed("prepare TLS"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Says what was attempted when the link failed.
pub(crate) fn failed<E>(attempted: impl Into<String>) -> impl FnOnce(E) -> TransportError
where
    E: std::error::Error + Send + Sync + 'static,
{
    let attempted = attempted.into();
    move |source| TransportError::Link { attempted, source: Box::new(source) }
}

/// The whole of an answer.
///
/// # Errors
/// [`TransportError::Link`] when it has more than `bytes_max`, or does not end within that time.
pub(crate) async fn body(mut answer: Response, bytes_max: usize, within: Duration) -> Result<Vec<u8>, TransportError> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed("read the server's answer"))? {
            body.extend_from_slice(&chunk);
            if body.len() > bytes_max {
                let source = format!("it is longer than {bytes_max} bytes").into();
                return Err(TransportError::Link { attempted: "read the server's answer".to_owned(), source });
            }
        }
        Ok(body)
    };
    timeout(within, reading).await.map_err(failed("hear the server in time"))?
}

/// The beginning of an answer, as text: as much of it as comes within that time.
pub(crate) async fn beginning(mut answer: Response, bytes_max: usize, within: Duration) -> String {
    let mut read = Vec::new();
    let reading = async {
        while read.len() < bytes_max
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            read.extend_from_slice(&chunk[..chunk.len().min(bytes_max - read.len())]);
        }
    };
    // What came until then is worth showing, too.
    let _ = timeout(within, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers once, with a body that has no end: `words`, and then silence.
    async fn answer_of(words: Vec<u8>) -> Response {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await.expect("a request");
            stream.write_all(b"HTTP/1.1 503 No\r\n\r\n").await.expect("sent");
            // The client need not read all of it.
            let _ = stream.write_all(&words).await;
            std::future::pending::<()>().await;
        });
        let (url, client) = client(&server, None).expect("a client");
        client.get(url).send().await.expect("an answer")
    }

    #[tokio::test]
    async fn no_more_of_a_refusal_is_read_than_is_shown() {
        let answer = answer_of(vec![b'x'; 10_000_000]).await;
        let started = Instant::now();
        assert_eq!(beginning(answer, 4_096, Duration::from_secs(60)).await, "x".repeat(4_096));
        assert!(started.elapsed() < Duration::from_secs(30), "it did not wait for the end");
        let answer = answer_of(b"try again later".to_vec()).await;
        assert_eq!(beginning(answer, 4_096, Duration::from_millis(300)).await, "try again later");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_does_not_end_is_refused() {
        let answer = answer_of(vec![b'x'; 10_000_000]).await;
        let error = body(answer, 4_096, Duration::from_secs(60)).await.expect_err("too long");
        assert!(format!("{error:?}").contains("longer than 4096"), "{error:?}");
        let answer = answer_of(b"{".to_vec()).await;
        let error = body(answer, 4_096, Duration::from_millis(300)).await.expect_err("no end");
        assert!(error.to_string().contains("in time"), "{error}");
    }
}
