//! What does an application send?

use serde_json::json;

/// A chat.
pub const CHAT: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

/// A message with buttons that keeps every rule.
pub fn message() -> Vec<u8> {
    message_saying("Podemos confirmar a entrega?")
}

/// The same with another text, to be told apart in the ledger.
pub fn message_saying(text: &str) -> Vec<u8> {
    let buttons = json!([
        { "id": "confirm", "title": "Confirmar" },
        { "id": "change", "title": "Mudar a data" },
    ]);
    let message = json!({
        "interactive_type": "button",
        "body": { "text": text },
        "action": { "buttons": buttons },
    });
    message.to_string().into_bytes()
}

/// A message with a list that keeps every rule.
pub fn list_message() -> Vec<u8> {
    let rows = json!([
        { "id": "morning", "title": "Manhã", "description": "Das 8h às 12h" },
        { "id": "afternoon", "title": "Tarde" },
    ]);
    let message = json!({
        "interactive_type": "list",
        "body": { "text": "Quando podemos entregar?" },
        "action": { "button": "Horários", "sections": [{ "title": "Amanhã", "rows": rows }] },
    });
    message.to_string().into_bytes()
}

/// A message to a chat, with a gateway key: valid unless a test spoils it.
pub fn post(chat: &str, key: &str) -> Request {
    Request {
        line: format!("POST /integrations/external/chats/{chat}/messages/interactive HTTP/1.1"),
        headers: Vec::new(),
        body: message(),
    }
    .header("Host", "portaria.test")
    .header("Authorization", format!("Bearer {key}"))
    .header("Content-Type", "application/json")
}

/// A request to be.
#[derive(Clone, Debug)]
pub struct Request {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// Replaces the request line.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.line = line.into();
        self
    }

    /// Adds a header; a second one with the same name stands beside the first.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Takes all headers with this name away.
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces the body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Its bytes on the wire. `Content-Length` is added where no header says how
    /// long the body is.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let says_length = |(name, _): &(String, Vec<u8>)| {
            ["content-length", "transfer-encoding"].contains(&&*name.to_ascii_lowercase())
        };
        if !self.headers.iter().any(says_length) {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
