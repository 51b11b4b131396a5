//! The three HTTP types of this crate.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tower::BoxError;

/// A request on its way through the pipeline.
pub type Request = ::http::Request<Body>;
/// A response on its way back.
pub type Response = ::http::Response<Body>;

/// The one body type of every stage.
///
/// A struct and not an alias on purpose: the compiler prints its short name, and
/// futures that hold one stay `Send` without a fight.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    /// All there, until it is taken: what every answer is, and every request once it is
    /// read.
    Full(Option<Bytes>),
    /// Still to come from a connection.
    Incoming(Incoming),
    /// Still to come from elsewhere: tests have no connection.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// A body that is still to come.
    pub fn new<B>(inner: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Stream(inner.map_err(Into::into).boxed_unsync()))
    }

    /// A body that is all there.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Full(
            Some(bytes.into()).filter(|bytes| !bytes.is_empty()),
        ))
    }

    /// Its bytes, if it is all there.
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes.clone().unwrap_or_default()),
            Inner::Incoming(_) | Inner::Stream(_) => None,
        }
    }

    /// A body without a byte.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Inner::Incoming(incoming))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BoxError::from),
            Inner::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_none(),
            Inner::Incoming(incoming) => incoming.is_end_stream(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Inner::Incoming(incoming) => incoming.size_hint(),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}
