//! Functions and endpoints against a server of the test, answer by answer.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::store::Durability;
use crate::store::calls::OwnerKind;
use crate::store::functions::Function;

/// A server that answers each connection with the next of these bytes, and keeps what it was sent.
struct Server {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heard);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let mut chunk = [0; 4096];
                loop {
                    let read = stream.read(&mut chunk).await.unwrap();
                    bytes.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let length = text
                        .to_ascii_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .and_then(|rest| rest.split('\r').next()?.parse::<usize>().ok())
                        .unwrap_or(0);
                    if read == 0 || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length) {
                        keep.lock().unwrap().push(text);
                        break;
                    }
                }
                if answer.is_empty() {
                    // Says nothing, and stays.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        drop(stream);
                    });
                    continue;
                }
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

async fn functions(url: &str, seconds: u32) -> (Functions, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = format!("sqlite://{}", directory.path().join("patchwave.db").display());
    let store = Store::open_with(&path, Durability::None).await.unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let one = Function {
        name: "f".to_owned(),
        url: url.to_owned(),
        timeout_seconds: seconds,
        description: String::new(),
        created_at: now,
        updated_at: now,
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_function(&one).await.unwrap();
    tx.commit().await.unwrap();
    (Functions::new(store).unwrap(), directory)
}

fn stored(call: Call) -> StoredCall {
    StoredCall {
        token: "token-1".to_owned(),
        owner_kind: OwnerKind::Workflow,
        owner_id: String::new(),
        about: String::new(),
        call,
        reference: None,
        requested_at: Timestamp::UNIX_EPOCH,
        deadline_at: None,
        attempts: 1,
        ended_at: None,
        outcome: None,
    }
}

fn call_of(function: &str) -> Call {
    Call::Function(FunctionCall {
        function: function.to_owned(),
        qualifier: Some("live".to_owned()),
        payload: json!({ "n": 1 }),
        client_context: Some("e30=".to_owned()),
        invocation_type: InvocationType::RequestResponse,
    })
}

async fn outcome(answers: Vec<Vec<u8>>, seconds: u32) -> (CallOutcome, Vec<String>) {
    let server = Server::answering(answers).await;
    let (functions, _directory) = functions(&server.url, seconds).await;
    let made = functions.make(&stored(call_of("f")), Duration::from_secs(20)).await.unwrap();
    (made, server.heard())
}

fn error_of(outcome: CallOutcome) -> (String, String) {
    match outcome {
        CallOutcome::Failed(failure) => (failure.error, failure.cause),
        CallOutcome::Succeeded(value) => panic!("succeeded with {value}"),
    }
}

#[tokio::test]
async fn a_function_is_called_as_lambda_is_and_told_the_token() {
    let (made, heard) = outcome(vec![http("200 OK", "", "{\"ok\":true}")], 9).await;
    assert_eq!(made, CallOutcome::Succeeded(json!({ "ok": true })));
    let sent = heard[0].to_ascii_lowercase();
    assert!(sent.starts_with("post /2015-03-31/functions/f/invocations?qualifier=live http/1.1\r\n"), "{sent}");
    for header in ["x-amz-invocation-type: requestresponse", "x-amz-client-context: e30=", "x-patchwave-token: token-1"]
    {
        assert!(sent.contains(header), "{header} is not in {sent}");
    }
    assert!(sent.ends_with("{\"n\":1}"), "{sent}");
}

#[tokio::test]
async fn every_failure_has_the_name_that_lambda_gives_it() {
    for (answer, error, cause) in [
        (
            http("200 OK", "x-amz-function-error: Unhandled\r\n", "{\"errorType\":\"Mine\",\"errorMessage\":\"m\"}"),
            "Mine",
            "errorMessage",
        ),
        (http("200 OK", "x-amz-function-error: Unhandled\r\n", "{}"), "Lambda.Unknown", "{}"),
        (http("404 Not Found", "", "no"), "Lambda.ResourceNotFoundException", "404"),
        (http("400 Bad Request", "", "no"), "Lambda.InvalidRequestContentException", "400"),
        (http("500 Internal Server Error", "", "no"), "Lambda.ServiceException", "500"),
        (http("302 Found", "location: http://127.0.0.1:1/\r\n", ""), "Lambda.ServiceException", "302"),
        (http("200 OK", "", "<html>"), "Lambda.Unknown", "not JSON"),
        (b"garbage\r\n\r\n".to_vec(), "Lambda.ServiceException", ""),
    ] {
        let (found, told) = error_of(outcome(vec![answer], 9).await.0);
        assert_eq!(found, error);
        assert!(told.contains(cause), "{told}");
    }
}

#[tokio::test]
async fn a_function_that_asks_for_a_moment_is_asked_again_and_one_that_may_have_begun_is_not() {
    let busy = http("429 Too Many Requests", "", "");
    let (made, heard) = outcome(vec![busy.clone(), http("200 OK", "", "7")], 15).await;
    assert_eq!((made, heard.len()), (CallOutcome::Succeeded(json!(7)), 2));
    let (made, heard) = outcome(vec![busy.clone(), busy.clone(), busy.clone(), busy], 15).await;
    assert_eq!((error_of(made).0.as_str(), heard.len()), ("Lambda.TooManyRequestsException", 4));
    let (made, heard) = outcome(vec![http("500 Internal Server Error", "", "")], 15).await;
    assert_eq!((error_of(made).0.as_str(), heard.len()), ("Lambda.ServiceException", 1));
}

#[tokio::test]
async fn an_answer_without_end_and_one_that_never_comes_are_bounded() {
    let long = http("200 OK", "", &format!("\"{}\"", "x".repeat(300_000)));
    assert_eq!(error_of(outcome(vec![long], 9).await.0).0, "States.DataLimitExceeded");
    let (found, _) = error_of(outcome(vec![Vec::new()], 1).await.0);
    assert_eq!(found, "States.Timeout");
}

#[tokio::test]
async fn nobody_there_and_nobody_registered_are_told_apart() {
    // Port 1 on loopback: nobody listens.
    let (functions, _directory) = functions("http://127.0.0.1:1", 9).await;
    let made = functions.make(&stored(call_of("f")), Duration::from_secs(20)).await.unwrap();
    assert_eq!(error_of(made).0, "Lambda.ServiceException");
    let made = functions.make(&stored(call_of("g")), Duration::from_secs(20)).await.unwrap();
    let (error, cause) = error_of(made);
    assert_eq!(error, "Lambda.ResourceNotFoundException");
    assert!(cause.contains("`g`"), "{cause}");
    assert_eq!(functions.make(&stored(Call::Token), Duration::from_secs(1)).await, None);
}

#[tokio::test]
async fn an_endpoint_is_called_with_method_query_headers_and_body() {
    let answers = vec![http("201 Created", "x-one: 1\r\n", "{\"id\":5}"), http("503 Service Unavailable", "", "later")];
    let server = Server::answering(answers).await;
    let (functions, _directory) = functions(&server.url, 9).await;
    let call = HttpCall {
        method: "PUT".to_owned(),
        url: format!("{}/things", server.url),
        headers: [("X-Own".to_owned(), "yes".to_owned())].into(),
        query: [("q".to_owned(), vec!["a b".to_owned(), "c".to_owned()])].into(),
        body: Some(json!({ "k": 1 })),
    };
    let made = functions.make(&stored(Call::Http(call.clone())), Duration::from_secs(9)).await.unwrap();
    let CallOutcome::Succeeded(answer) = made else { panic!("{made:?}") };
    assert_eq!((&answer["StatusCode"], &answer["ResponseBody"]), (&json!(201), &json!({ "id": 5 })));
    assert_eq!(answer["Headers"]["x-one"], json!(["1"]));
    let sent = &server.heard()[0];
    assert!(sent.starts_with("PUT /things?q=a+b&q=c HTTP/1.1\r\n") && sent.contains("x-own: yes"), "{sent}");
    let made = functions.make(&stored(Call::Http(call.clone())), Duration::from_secs(9)).await.unwrap();
    assert_eq!(error_of(made), ("States.Http.StatusCode.503".to_owned(), "later".to_owned()));
    let odd = HttpCall { method: "BREW".to_owned(), ..call.clone() };
    assert_eq!(
        error_of(functions.make(&stored(Call::Http(odd)), Duration::from_secs(9)).await.unwrap()).0,
        "States.Runtime"
    );
    let split = HttpCall { headers: [("X".to_owned(), "a\r\nb: c".to_owned())].into(), ..call };
    assert_eq!(
        error_of(functions.make(&stored(Call::Http(split)), Duration::from_secs(9)).await.unwrap()).0,
        "States.Runtime"
    );
}

#[test]
fn only_https_and_loopback_are_reached() {
    for (url, allowed) in [
        ("https://example.com/a", true),
        ("http://127.0.0.1:9000", true),
        ("http://[::1]:9000", true),
        ("http://localhost", true),
        ("http://example.com", false),
        ("http://10.0.0.1", false),
        ("https://169.254.169.254/latest", false),
        ("https://user:password@example.com", false),
        ("ftp://example.com", false),
        ("file:///etc/passwd", false),
        ("x", false),
    ] {
        let checked = check_url(url);
        assert_eq!(checked.is_ok(), allowed, "{url}");
        assert!(!checked.err().unwrap_or_default().contains("user:password"));
    }
}
