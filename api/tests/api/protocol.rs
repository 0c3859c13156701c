//! What is the same for all operations, and the routes beside them.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::StreamExt;
use jiff::Timestamp;
use patchwave_api::{Api, ServeError, Serving, bind, serve};
use patchwave_platform::bus::Link;
use patchwave_platform::topics::News;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{Harness, signed, window_input};

#[tokio::test]
async fn unknown_operations_are_named_in_the_refusal() {
    let api = Harness::new().await;
    for (target, needle) in [
        (
            "AmazonSSM.StartSession",
            "`StartSession` is one of SSM's that Patchwave does not implement; there are no interactive",
        ),
        ("Patchwave.Fly", "`Fly` is not implemented"),
        ("AmazonEC2.RunInstances", "`AmazonEC2`"),
        ("nonsense", "`nonsense`"),
    ] {
        let (status, body) = api.target(target, "{}").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["__type"], "UnknownOperationException");
        assert!(body["message"].as_str().expect("a message").contains(needle), "{body}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_their_place() {
    let api = Harness::new().await;
    let mut wrong_type = window_input();
    wrong_type["Duration"] = json!("three");
    for (body, needle) in [
        ("{".to_owned(), "line 1 column 1"),
        ("[]".to_owned(), "JSON object"),
        (wrong_type.to_string(), "'duration'"),
        (json!({ "MaxResults": "many" }).to_string(), "maxResults"),
    ] {
        let operation =
            if body.contains("MaxResults") { "DescribeMaintenanceWindows" } else { "CreateMaintenanceWindow" };
        let (status, answer) = api.target(&format!("AmazonSSM.{operation}"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(answer["__type"], "SerializationException", "{answer}");
        assert!(answer["message"].as_str().expect("a message").contains(needle), "{answer}");
    }
    let huge = vec![b' '; 2 << 20];
    let (status, answer) = api.target("AmazonSSM.ListCommands", huge).await;
    assert_eq!((status, &answer["__type"]), (StatusCode::BAD_REQUEST, &json!("SerializationException")));
}

#[tokio::test]
async fn answers_carry_the_protocols_headers() {
    let api = Harness::new().await;
    for target in ["AmazonSSM.ListCommands", "AmazonSSM.Nothing"] {
        // An empty body is an empty object.
        let request = signed(&api.admin, "POST", "/", Some(target), Vec::new());
        let response = api.router.clone().oneshot(request).await.expect("the router cannot fail");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/x-amz-json-1.1");
        assert_eq!(headers["x-amzn-requestid"].len(), 36);
        assert_eq!(headers.contains_key("x-amzn-errortype"), target == "AmazonSSM.Nothing");
    }
}

#[tokio::test]
async fn requests_for_other_host_names_are_refused() {
    let api = Harness::new().await;
    for (host, status) in [
        ("127.0.0.1:8080", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("x.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::get("/livez").header("Host", host).body(Body::empty()).expect("a valid request");
        assert_eq!(api.send(request).await.0, status, "{host}");
    }
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let error = bind(address.parse().expect("an address"), &Serving::default()).await.expect_err(address);
        assert!(matches!(error, ServeError::NotLoopback { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(address) && message.contains("127.0.0.0/8"), "{message}");
    }
}

#[tokio::test]
async fn stop_ends_streams_and_the_server() {
    let api = Harness::new().await;
    let serving = Serving::default();
    let listener = bind("127.0.0.1:0".parse().expect("an address"), &serving).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let ports = Api::new(api.store.clone(), api.bus.clone(), api.topics.clone(), api.master_key.clone());
    let server = tokio::spawn(serve(listener, ports, serving, stop.clone()));

    let mut client = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let path = "/topics/patchwave/events";
    let host = address.to_string();
    let headers = api.admin.sign("GET", &host, (path, ""), &HeaderMap::new(), &[], Timestamp::now());
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in &headers {
        request.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
    }
    request.push_str("\r\n");
    client.write_all(request.as_bytes()).await.expect("a request");
    let mut head = [0; 12];
    client.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    stop.cancel();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("the end of the stream");
    server.await.expect("no panic").expect("a graceful stop");
}

#[tokio::test]
async fn published_news_reaches_the_stream_as_events() {
    let api = Harness::new().await;
    let request = api.get("/topics/*/events");
    let response = api.router.clone().oneshot(request).await.expect("the router cannot fail");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let sender = api.topics.sender.lock().expect("no test panics with it").take().expect("a subscription");
    let news = News { topic: "patchwave".to_owned(), payload: "{\"a\":\n1}".to_owned() };
    sender.send(news).await.expect("a subscriber");
    drop(sender);
    let chunks: Vec<_> = response.into_body().into_data_stream().collect().await;
    let text: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.expect("a chunk").to_vec()).collect();
    assert_eq!(String::from_utf8(text).expect("text"), "data: {\"a\": 1}\n\n");

    let wrong = api.get("/topics/a%20b/events");
    let (status, body) = api.send(wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8(body).expect("text").contains("`a b`"));
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let api = Harness::new().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).expect("a valid request");
    let (status, body) = api.send(get("/readyz")).await;
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &answer["ready"]), (StatusCode::OK, &json!(true)), "{answer}");

    api.bus.set_link(Link::Down { reason: "connection refused".to_owned() });
    let (status, body) = api.send(get("/readyz")).await;
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &answer["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert_eq!(answer["checks"]["bus"], json!({ "ok": false, "reason": "connection refused" }));
    assert_eq!(answer["checks"]["store"], json!({ "ok": true }));
    assert_eq!(api.send(get("/livez")).await.0, StatusCode::OK, "alive all the same");
}

#[tokio::test]
async fn store_that_is_away_is_an_answer_to_try_again() {
    let api = Harness::new().await;
    api.store.close().await;
    let (status, body) = api.target("AmazonSSM.ListCommands", "{}").await;
    assert_eq!((status, &body["__type"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("ServiceUnavailable")));
}

#[tokio::test]
async fn metrics_count_what_is_stored() {
    let api = Harness::new().await;
    api.window().await;
    api.nodes(1..4, &[]).await;
    let request = api.get("/metrics");
    let (status, body) = api.send(request).await;
    assert_eq!(status, StatusCode::OK);
    let text = String::from_utf8(body).expect("text");
    for line in [
        "patchwave_windows{state=\"enabled\"} 1",
        "patchwave_nodes{state=\"connected\"} 3",
        "patchwave_timers_pending 1",
        "patchwave_outbox_messages 0",
        "patchwave_bus_link_up 1",
        "patchwave_queue_messages{queue=\"patchwave.dead\"} 4",
    ] {
        assert!(text.lines().any(|one| one == line), "{text} lacks {line}");
    }
}
