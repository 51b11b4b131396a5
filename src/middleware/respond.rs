//! Where does a refusal become an answer?
//!
//! Here is the line. Below it a step returns `Result<Response, Problem>`; above it
//! there are only answers, because hyper closes the connection on an error. A panic
//! below is caught here and becomes an `internal` problem.

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready as ready_or_return},
};

use ::http::Uri;
use futures_util::{
    FutureExt as _,
    future::{CatchUnwind, Either},
};
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    http::{Body, Request, Response},
    problem::Problem,
    stage::Below,
    trail::Trail,
};

/// Makes the layer.
pub fn layer<I: Below>() -> impl Layer<I, Service = Respond<I>> {
    layer_fn(|below| Respond { below })
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Respond<I> {
    below: I,
}

/// What came of the steps below, or the payload of their panic.
type Caught = Result<Result<Response, Problem>, Box<dyn Any + Send>>;

impl<I: Below> Service<Request> for Respond<I> {
    type Response = Response;
    type Error = Infallible;
    type Future = Responding<Either<CatchUnwind<AssertUnwindSafe<I::Future>>, Ready<Caught>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The steps below are always ready; see `stage`.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let trail = req.extensions().get().cloned();
        let uri = req.uri().clone();
        // A gate decides while it is called, so a panic may come here already.
        let answer = match catch_unwind(AssertUnwindSafe(|| self.below.call(req))) {
            Ok(answer) => Either::Left(AssertUnwindSafe(answer).catch_unwind()),
            Err(payload) => Either::Right(ready(Err(payload))),
        };
        Responding { trail, uri, answer }
    }
}

pin_project! {
    /// The future of a [`Respond`].
    pub struct Responding<A> {
        trail: Option<Arc<Trail>>,
        uri: Uri,
        #[pin]
        answer: A,
    }
}

impl<A> Future for Responding<A>
where
    A: Future<Output = Caught>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready_or_return!(this.answer.poll(cx));
        let Some(trail) = this.trail else {
            return Poll::Ready(Ok(bare()));
        };
        // The payload of a panic may hold anything, so it is not looked at.
        let result = answer.unwrap_or_else(|_payload| {
            Err(Problem::Internal {
                what: "a step panicked",
                delivery: trail.delivery(None),
            })
        });
        let response = result.unwrap_or_else(|problem| {
            let mut refusal = problem.into_response(trail, this.uri.path());
            // `portaria explain` tells how far it came.
            refusal.extensions_mut().insert(trail.clone());
            refusal
        });
        Poll::Ready(Ok(response))
    }
}

/// What is answered where even the request's name is missing, which is a bug.
fn bare() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = ::http::StatusCode::INTERNAL_SERVER_ERROR;
    response
}
