//! Signatures against those that botocore and AWS's own documents give.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use patchwave_platform::store::access_keys::SecretAccessKey;
use proptest::prelude::*;
use ring::hmac;
use serde::Deserialize;

use super::canonical::{self, Parts};
use super::claim::Claim;
use super::signature;
use crate::sign::Credentials;
use crate::wire::Error;

/// Written by scripts/sigv4-vectors.py.
const VECTORS: &str = include_str!("../../tests/data/sigv4.json");

#[derive(Deserialize)]
struct Vectors {
    access_key_id: String,
    secret: String,
    now: Timestamp,
    vectors: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Vector {
    fn headers(&self) -> HeaderMap {
        let header = |(name, value): &(String, String)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        self.headers.iter().map(header).collect()
    }

    fn header(&mut self, name: &str) -> &mut String {
        let found = self.headers.iter_mut().find(|(one, _)| one == name);
        found.map(|(_, value)| value).unwrap_or_else(|| panic!("no {name}"))
    }

    /// What the server makes of it.
    fn judge(&self, secret: &str, now: Timestamp) -> Result<Claim, Error> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let headers = self.headers();
        let parts = Parts { method: &self.method, path, query, headers: &headers };
        let claim = Claim::read(&parts, now)?;
        signature::check(&parts, self.body.as_bytes(), &claim, secret)?;
        Ok(claim)
    }

    fn code(&self, secret: &str, now: Timestamp) -> &'static str {
        self.judge(secret, now).map_or_else(|error| error.code(), |_| "accepted")
    }
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).expect("the vectors are JSON")
}

fn named(name: &str) -> Vector {
    vectors().vectors.into_iter().find(|vector| vector.name == name).unwrap_or_else(|| panic!("no vector `{name}`"))
}

#[test]
fn what_botocore_signs_is_accepted_and_with_another_secret_it_is_not() {
    let Vectors { access_key_id, secret, now, vectors } = vectors();
    assert!(vectors.len() > 20);
    for vector in vectors {
        let claim = vector.judge(&secret, now).unwrap_or_else(|error| panic!("{}: {}", vector.name, error.message()));
        assert_eq!(claim.access_key_id, access_key_id);
        assert_eq!(vector.code("another", now), "InvalidSignatureException", "{}", vector.name);
    }
}

#[test]
fn nothing_that_is_signed_can_be_changed() {
    let Vectors { secret, now, .. } = vectors();
    type Change = fn(&mut Vector);
    let changes: [(&str, Change); 8] = [
        ("body", |vector| vector.body.push(' ')),
        ("method", |vector| vector.method = "PUT".to_owned()),
        ("path", |vector| vector.target.push('x')),
        ("query", |vector| vector.target.push_str("?a=1")),
        ("target", |vector| *vector.header("x-amz-target") = "AmazonSSM.SendCommand".to_owned()),
        ("host", |vector| *vector.header("host") = "other:8080".to_owned()),
        ("date", |vector| *vector.header("x-amz-date") = "20260302T123457Z".to_owned()),
        ("region", |vector| {
            let header = vector.header("authorization");
            *header = header.replace("/local/", "/elsewhere/");
        }),
    ];
    for (what, change) in changes {
        let mut vector = named("an operation");
        change(&mut vector);
        assert_eq!(vector.code(&secret, now), "InvalidSignatureException", "{what}");
    }
    let mut presigned = named("a stream of events, presigned");
    presigned.target = presigned.target.replace("X-Amz-Expires=900", "X-Amz-Expires=9000");
    assert_eq!(presigned.code(&secret, now), "InvalidSignatureException");
}

#[test]
fn headers_that_say_what_is_asked_for_must_be_signed() {
    let Vectors { secret, now, .. } = vectors();
    let mut added = named("an operation");
    added.headers.push(("x-amz-other".to_owned(), "1".to_owned()));
    assert_eq!(added.code(&secret, now), "InvalidSignatureException");
    for (from, to) in
        [(";host", ""), (";x-amz-target", ""), ("content-type;host", "host;content-type"), ("host", "HOST")]
    {
        let mut vector = named("an operation");
        let header = vector.header("authorization");
        *header = header.replace(from, to);
        assert_ne!(vector.code(&secret, now), "accepted", "{from} -> {to}");
    }
}

#[test]
fn a_signature_is_of_its_time() {
    let Vectors { secret, now, .. } = vectors();
    let header = named("an operation");
    let presigned = named("a stream of events, presigned");
    for (seconds, of_header, of_presigned) in [
        (0, "accepted", "accepted"),
        (300, "accepted", "accepted"),
        (301, "InvalidSignatureException", "accepted"),
        (900, "InvalidSignatureException", "accepted"),
        (901, "InvalidSignatureException", "RequestExpired"),
        (-300, "accepted", "accepted"),
        (-301, "InvalidSignatureException", "InvalidSignatureException"),
    ] {
        let then = now + SignedDuration::from_secs(seconds);
        assert_eq!(header.code(&secret, then), of_header, "header after {seconds} s");
        assert_eq!(presigned.code(&secret, then), of_presigned, "presigned after {seconds} s");
    }
    let late = header.judge(&secret, now + SignedDuration::from_mins(10)).expect_err("late");
    assert_eq!(
        late.message(),
        "Signature expired: 20260302T123456Z is now earlier than 20260302T123956Z (20260302T124456Z - 5 min.)"
    );
    // Remembered for as long as a process with a slower clock would accept it.
    assert_eq!(header.judge(&secret, now).expect("accepted").expires_at, now + SignedDuration::from_mins(10));
    assert_eq!(presigned.judge(&secret, now).expect("accepted").expires_at, now + SignedDuration::from_mins(20));
}

#[test]
fn malformed_claims_are_told_what_is_wrong() {
    let Vectors { secret, now, .. } = vectors();
    for (name, from, to, code) in [
        ("authorization", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 ", "IncompleteSignatureException"),
        ("authorization", "Signature=", "Sign=", "IncompleteSignatureException"),
        ("authorization", "SignedHeaders=", "Headers=", "IncompleteSignatureException"),
        ("authorization", "Credential=AKIDEXAMPLE00000/", "Credential=", "IncompleteSignatureException"),
        ("authorization", "/ssm/", "/execute-api/", "InvalidSignatureException"),
        ("authorization", "/aws4_request", "/aws5_request", "InvalidSignatureException"),
        ("authorization", "/20260302/", "/20260301/", "InvalidSignatureException"),
        ("authorization", "Signature=", "Signature=zz", "IncompleteSignatureException"),
        ("x-amz-date", "20260302T123456Z", "2026-03-02T12:34:56Z", "IncompleteSignatureException"),
        ("x-amz-date", "20260302T123456Z", "20260232T123456Z", "IncompleteSignatureException"),
    ] {
        let mut vector = named("an operation");
        let header = vector.header(name);
        assert!(header.contains(from), "{from}");
        *header = header.replace(from, to);
        assert_eq!(vector.code(&secret, now), code, "{from} -> {to}");
    }
    let mut unsigned = named("an operation");
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(unsigned.code(&secret, now), "MissingAuthenticationTokenException");
    let mut both = named("a stream of events, presigned");
    both.headers.push(("authorization".to_owned(), "x".to_owned()));
    assert_eq!(both.code(&secret, now), "IncompleteSignatureException");
    let mut token = named("an operation");
    token.headers.push(("x-amz-security-token".to_owned(), "x".to_owned()));
    assert_eq!(token.code(&secret, now), "UnrecognizedClientException");
    for (from, to) in [
        ("Expires=900", "Expires=0"),
        ("Expires=900", "Expires=604801"),
        ("Expires=900", "Expires=x"),
        ("X-Amz-Date", "X-Date"),
    ] {
        let mut presigned = named("a stream of events, presigned");
        presigned.target = presigned.target.replace(from, to);
        assert_eq!(presigned.code(&secret, now), "IncompleteSignatureException", "{from} -> {to}");
    }
}

#[test]
fn an_unsigned_body_is_refused() {
    let Vectors { secret, now, .. } = vectors();
    let mut vector = named("a hash of the body sent along");
    *vector.header("x-amz-content-sha256") = "UNSIGNED-PAYLOAD".to_owned();
    let error = vector.judge(&secret, now).expect_err("refused");
    assert_eq!(error.code(), "InvalidSignatureException");
    assert!(error.message().contains("unsigned bodies are not accepted"), "{}", error.message());
}

#[test]
fn a_refusal_says_what_should_have_been_signed_and_nothing_of_the_secret() {
    let Vectors { now, .. } = vectors();
    let error = named("an operation").judge("hunter2hunter2hunter2", now).expect_err("refused");
    assert!(error.message().contains("x-amz-target:AmazonSSM.ListCommands\n"), "{}", error.message());
    assert!(!error.message().contains("hunter2"));
}

/// `get-vanilla` of AWS's test suite, and the example of its documents.
#[test]
fn aws_s_own_examples_come_out_the_same() {
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    for (host, query, content_type, service, expected) in [
        (
            "example.amazonaws.com",
            "",
            None,
            "service",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "iam.amazonaws.com",
            "Action=ListUsers&Version=2010-05-08",
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(host));
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        let mut signed = vec!["host", "x-amz-date"];
        if let Some(content_type) = content_type {
            headers.insert("content-type", HeaderValue::from_static(content_type));
            signed.insert(0, "content-type");
        }
        let parts = Parts { method: "GET", path: "/", query, headers: &headers };
        let canonical = canonical::request(&parts, &signed, &canonical::sha256_hex(b"")).expect("text");
        let scope = format!("20150830/us-east-1/{service}/aws4_request");
        let text = canonical::string_to_sign("20150830T123600Z", &scope, &canonical);
        let tag = hmac::sign(&signature::key(SECRET, &scope), text.as_bytes());
        assert_eq!(patchwave_platform::secrets::hex(tag.as_ref()), expected, "{service}");
    }
}

proptest! {
    #[test]
    fn what_we_sign_we_accept(
        path in "/[ -~&&[^?#]]{0,20}",
        query in "[ -~&&[^#]]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..60),
        value in "[ -~]{0,20}",
    ) {
        prop_assume!(!query.contains("X-Amz-"));
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let key = Credentials {
            access_key_id: "AKIDEXAMPLE00000".to_owned(),
            secret_access_key: SecretAccessKey::new(secret.to_owned()).expect("a secret"),
        };
        let now = Timestamp::from_second(1_772_454_896).expect("an instant");
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_str(&value).expect("printable"));
        let added = key.sign("POST", "localhost:1", (&path, &query), &headers, &body, now);
        headers.extend(added);
        headers.insert("host", HeaderValue::from_static("localhost:1"));
        let parts = Parts { method: "POST", path: &path, query: &query, headers: &headers };
        let claim = Claim::read(&parts, now);
        prop_assert!(claim.is_ok(), "{:?}", claim.err().map(|error| error.message().to_owned()));
        let claim = claim.expect("just looked at");
        prop_assert!(signature::check(&parts, &body, &claim, secret).is_ok());
        prop_assert!(signature::check(&parts, b"other", &claim, secret).is_err() || body == b"other");
    }

    #[test]
    fn whatever_comes_is_answered(authorization in "[ -~]{0,200}", date in "[ -~]{0,20}", query in "[ -~&&[^#]]{0,200}") {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&authorization).expect("printable"));
        headers.insert("x-amz-date", HeaderValue::from_str(&date).expect("printable"));
        let parts = Parts { method: "POST", path: "/", query: &query, headers: &headers };
        prop_assert!(Claim::read(&parts, Timestamp::UNIX_EPOCH).is_err());
        let presigned = format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
        let parts = Parts { method: "GET", path: "/", query: &presigned, headers: &HeaderMap::new() };
        prop_assert!(Claim::read(&parts, Timestamp::UNIX_EPOCH).is_err());
    }
}
