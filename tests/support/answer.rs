//! What does an answer look like?
//!
//! The same type for what the upstream says and for what the client hears, so
//! that a test can say: it came through untouched.

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without any framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer without headers and without a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// What Wegly says to a message that it took.
    pub fn standard() -> Self {
        let body = r#"{"total":1,"records":[{"id":"3c90c3cc-0d44-4b50-8888-8dd25736052a","type":"interactive","origin":"OUTBOUND","from_me":true,"status":"sent"}]}"#;
        Self::new(200)
            .with_header("Content-Type", "application/json")
            .with_body(body)
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Its bytes on the wire. `Content-Length` is added where no header says
    /// how long the body is.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Some Reason\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self
            .header("Content-Length")
            .or(self.header("Transfer-Encoding"))
            .is_none()
        {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// The value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let same = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(same)
            .map(|(_, value)| value.as_str())
    }

    /// The body, read as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the body of {self:?} is no JSON: {error}"),
        }
    }
}
