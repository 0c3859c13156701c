//! Whether the broker's limits fit a fleet, asked of its management API where there is one.
//!
//! AMQP itself does not tell a broker's file limit, so without the management plugin on its usual
//! port (10000 above the AMQP port) nothing is said. Asking must never fail or delay anything.

use std::time::Duration;

use lapin::uri::AMQPUri;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Below this, a fleet of a few thousand agents meets the limit. Debian's package starts with 1,024.
const FILES_MIN: u64 = 16_384;
/// From the AMQP port to the management API's: 5672 and 15672.
const MANAGEMENT_OFFSET: u16 = 10_000;
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer longer than this is not read to its end.
const ANSWER_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Node {
    name: String,
    fd_total: Option<u64>,
}

/// Sentences for an operator; none when the broker cannot be asked.
pub(super) async fn warnings(uri: &AMQPUri) -> Vec<String> {
    let Ok(Some(nodes)) = tokio::time::timeout(PATIENCE, ask(uri)).await else { return Vec::new() };
    nodes.iter().filter_map(warning).collect()
}

fn warning(node: &Node) -> Option<String> {
    let limit = node.fd_total.filter(|&limit| limit > 0 && limit < FILES_MIN)?;
    Some(format!(
        "RabbitMQ node {} may open {limit} files, one for each connected agent; raise its limit to at least \
         {FILES_MIN} (systemd: LimitNOFILE)",
        node.name
    ))
}

async fn ask(uri: &AMQPUri) -> Option<Vec<Node>> {
    let authority = &uri.authority;
    let port = authority.port.checked_add(MANAGEMENT_OFFSET)?;
    let mut stream = TcpStream::connect((authority.host.as_str(), port)).await.ok()?;
    let user = base64(&format!("{}:{}", authority.userinfo.username, authority.userinfo.password));
    let request = format!(
        "GET /api/nodes?columns=name,fd_total HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {user}\r\n\r\n",
        authority.host
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split_whitespace().nth(1) != Some("200") {
        return None;
    }
    serde_json::from_str(body).ok()
}

/// RFC 4648, for one header; not worth a dependency.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = (bits >> (18 - 6 * position)) & 63;
            encoded.push(if position > chunk.len() { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_in_rfc_4648() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("guest:guest", "Z3Vlc3Q6Z3Vlc3Q=")]
        {
            assert_eq!(base64(text), expected);
        }
    }

    #[test]
    fn a_low_file_limit_is_named_with_its_remedy() {
        let node = |fd_total| Node { name: "rabbit@host".to_owned(), fd_total };
        assert!(warning(&node(Some(1_024))).is_some_and(|text| text.contains("may open 1024 files")));
        assert_eq!(warning(&node(Some(65_536))), None);
        assert_eq!(warning(&node(None)), None);
    }
}
