//! Just enough HTTP to ask a private RabbitMQ's management API for something.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// `guest:guest`, the user of a private broker.
const AUTHORIZATION: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// A broker whose last fleet has just left deletes twenty thousand queues before it answers, and
/// hangs up on whoever asked meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Sends one request as `guest`, again if it was not answered: only what may be repeated. Fails
/// unless it is answered with 2xx.
pub(super) fn management(port: u16, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let mut answer = exchange();
    while Instant::now() < deadline && answer.as_ref().map_or(true, String::is_empty) {
        std::thread::sleep(Duration::from_millis(100));
        answer = exchange();
    }
    let answer = answer.with_context(|| format!("could not {method} {path} on RabbitMQ's management API"))?;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("RabbitMQ answered `{method} {path}` with `{}`", answer.lines().next().unwrap_or_default());
    }
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
