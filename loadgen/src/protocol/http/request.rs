//! The head of a request, as it is sent.

use crate::workload::load::HttpRequest;

/// The bytes of a request to `host`.
pub fn render(request: &HttpRequest, host: &str) -> Vec<u8> {
    let has_host = request.headers.iter().any(|header| {
        header
            .split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("host"))
    });
    let mut lines = vec![format!("GET {} HTTP/1.1", request.path)];
    if !has_host {
        lines.push(format!("Host: {host}"));
    }
    lines.extend(request.headers.iter().cloned());
    if !request.keep_alive {
        lines.push("Connection: close".to_owned());
    }
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}
