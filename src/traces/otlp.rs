//! How is a span written down?
//!
//! As OTLP has it (`opentelemetry/proto/trace/v1/trace.proto`), in protobuf. What we say is
//! little and of one kind, so its hundred lines stand here instead of an SDK that would
//! bring a runtime, a queue and settings of its own. A test reads it with the published
//! definitions.

use super::context::TraceId;

/// A protobuf message, as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while 0x80 <= value {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, value: u32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// A `KeyValue`.
    fn attribute(&mut self, field: u64, name: &str, value: &Value) {
        self.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Number(number) => any.number(3, *number),
            });
        });
    }
}

/// What an attribute says.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// On which side of a call a span stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Server,
    Client,
}

/// A span to be written. Times are in nanoseconds since 1970.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    /// The parent's flags, as far as they are ours to pass on.
    pub(super) flags: u8,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) events: Vec<(u64, &'static str)>,
    pub(super) has_failed: bool,
}

impl Span {
    /// As the next of a `ScopeSpans`.
    pub(super) fn write(&self, to: &mut Message) {
        const KNOWS_WHERE_THE_PARENT_IS: u32 = 0x100;
        const PARENT_IS_REMOTE: u32 = 0x200;

        to.message(2, |span| {
            span.bytes(1, &self.trace.0.to_be_bytes());
            span.bytes(2, &self.id.to_be_bytes());
            if let Some(parent) = self.parent {
                span.bytes(4, &parent.to_be_bytes());
            }
            span.bytes(5, self.name.as_bytes());
            let (kind, is_remote) = match self.kind {
                Kind::Server => (2, self.parent.is_some()),
                Kind::Client => (3, false),
            };
            span.number(6, kind);
            span.fixed64(7, self.began);
            span.fixed64(8, self.ended);
            for (name, value) in &self.attributes {
                span.attribute(9, name, value);
            }
            for (time, name) in &self.events {
                span.message(11, |event| {
                    event.fixed64(1, *time);
                    event.bytes(2, name.as_bytes());
                });
            }
            if self.has_failed {
                span.message(15, |status| status.number(3, 2));
            }
            let remote = if is_remote { PARENT_IS_REMOTE } else { 0 };
            let flags = u32::from(self.flags) | KNOWS_WHERE_THE_PARENT_IS | remote;
            span.fixed32(16, flags);
        });
    }
}

/// An `ExportTraceServiceRequest` with these spans.
pub(super) fn request(spans: &[u8]) -> Vec<u8> {
    const US: &str = "portaria";
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            resource.attribute(1, "service.name", &US.into());
            resource.attribute(1, "service.version", &VERSION.into());
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, US.as_bytes());
                scope.bytes(2, VERSION.as_bytes());
            });
            scope_spans.0.extend_from_slice(spans);
        });
    });
    request.into_bytes()
}
