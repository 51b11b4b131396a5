//! How does a function become a step of the pipeline?
//!
//! In one of three shapes, by what the step has to see:
//!
//! ```text
//! gate   fn(&S, &mut Request) -> Result<(), Problem>                     decides at once
//! stage  async fn(Arc<S>, Request, Next) -> Result<Response, Problem>    may wait, sees the answer
//! watch  fn(&S, &Trail, &mut Response)                                   only looks on
//! ```
//!
//! A gate and a watch cost no allocation. A stage costs one, for its future, and buys
//! short compiler errors: its type does not depend on what is below it.
//!
//! This is the only clever file. No step ever says "not ready": what is full is
//! refused by [`room`](crate::middleware::room), not queued. So a step may call a
//! clone of what is below it without asking first.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready as ready_or_return},
};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    http::{Request, Response},
    problem::Problem,
    trail::{Step, Trail},
};

/// What becomes of a request below a step.
pub type Answering = BoxFuture<'static, Result<Response, Problem>>;

/// What a step asks of what is below it.
///
/// An alias for tower's trait with this crate's types filled in. The future is one type
/// for all, so that a gate passes on what it gets from below as it is.
pub trait Below:
    Service<Request, Response = Response, Error = Problem, Future = Answering>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<I> Below for I where
    I: Service<Request, Response = Response, Error = Problem, Future = Answering>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A step that decides at once, from the request alone.
pub fn gate<S, I>(
    step: Step,
    state: S,
    check: fn(&S, &mut Request) -> Result<(), Problem>,
) -> impl Layer<I, Service = Gate<S, I>>
where
    S: Clone,
    I: Below,
{
    layer_fn(move |below| Gate {
        step,
        state: state.clone(),
        check,
        below,
    })
}

/// See [`gate`].
#[derive(Clone, Debug)]
pub struct Gate<S, I> {
    step: Step,
    state: S,
    check: fn(&S, &mut Request) -> Result<(), Problem>,
    below: I,
}

impl<S, I: Below> Service<Request> for Gate<S, I> {
    type Response = Response;
    type Error = Problem;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        self.below.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let passed = Trail::of(&req)
            .map(|trail| trail.enter(self.step))
            .and_then(|()| (self.check)(&self.state, &mut req));
        match passed {
            Ok(()) => self.below.call(req),
            Err(problem) => Box::pin(ready(Err(problem))),
        }
    }
}

/// A step that may wait, and that sees the answer.
pub fn stage<S, Run, Fut, I>(
    step: Step,
    state: Arc<S>,
    run: Run,
) -> impl Layer<I, Service = Stage<S, Run>>
where
    // Asked for here already, so that a mistake is reported at the call of `stage`.
    Run: Fn(Arc<S>, Request, Next) -> Fut + Clone,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    I: Below,
{
    layer_fn(move |below| Stage {
        step,
        state: state.clone(),
        run: run.clone(),
        next: Next::new(below),
    })
}

/// See [`stage`].
#[derive(Debug)]
pub struct Stage<S, Run> {
    step: Step,
    state: Arc<S>,
    run: Run,
    next: Next,
}

impl<S, Run: Clone> Clone for Stage<S, Run> {
    fn clone(&self) -> Self {
        Self {
            step: self.step,
            state: self.state.clone(),
            run: self.run.clone(),
            next: self.next.clone(),
        }
    }
}

impl<S, Run, Fut> Service<Request> for Stage<S, Run>
where
    Run: Fn(Arc<S>, Request, Next) -> Fut,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    type Response = Response;
    type Error = Problem;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        match Trail::of(&req) {
            Ok(trail) => trail.enter(self.step),
            Err(problem) => return Box::pin(ready(Err(problem))),
        }
        Box::pin((self.run)(self.state.clone(), req, self.next.clone()))
    }
}

/// A step that is a gate or a stage, as the config says.
#[derive(Clone, Debug)]
pub enum Either<G, S> {
    /// It decides at once.
    Gate(G),
    /// It may have to wait.
    Stage(S),
}

impl<G: Layer<I>, S: Layer<I>, I> Layer<I> for Either<G, S> {
    type Service = Either<G::Service, S::Service>;

    fn layer(&self, below: I) -> Self::Service {
        match self {
            Self::Gate(gate) => Either::Gate(gate.layer(below)),
            Self::Stage(stage) => Either::Stage(stage.layer(below)),
        }
    }
}

impl<G: Below, S: Below> Service<Request> for Either<G, S> {
    type Response = Response;
    type Error = Problem;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        match self {
            Self::Gate(gate) => gate.poll_ready(cx),
            Self::Stage(stage) => stage.poll_ready(cx),
        }
    }

    fn call(&mut self, req: Request) -> Answering {
        match self {
            Self::Gate(gate) => gate.call(req),
            Self::Stage(stage) => stage.call(req),
        }
    }
}

/// A step that a route may do without.
pub fn optional<L, I>(step: Option<L>) -> impl Layer<I, Service = Next>
where
    L: Layer<I, Service: Below>,
    I: Below,
{
    layer_fn(move |below: I| match &step {
        Some(step) => Next::new(step.layer(below)),
        None => Next::new(below),
    })
}

/// What is below the current stage.
#[derive(Clone)]
pub struct Next(Arc<dyn Fn(Request) -> Answering + Send + Sync>);

impl Next {
    /// Hides the type of what is below.
    pub fn new(below: impl Below) -> Self {
        Self(Arc::new(move |req| below.clone().call(req)))
    }

    /// The same for what ends a pipeline, whose future may be of any type.
    pub fn ending<E>(end: E) -> Self
    where
        E: Service<Request, Response = Response, Error = Problem, Future: Send + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(move |req| Box::pin(end.clone().call(req))))
    }

    /// Passes the request on.
    pub fn run(&self, req: Request) -> Answering {
        (self.0)(req)
    }
}

impl Service<Request> for Next {
    type Response = Response;
    type Error = Problem;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Answering {
        self.run(req)
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Next(..)")
    }
}

/// A step that only looks on, once the answer is there.
pub fn watch<S, I>(
    state: S,
    look: fn(&S, &Trail, &mut Response),
) -> impl Layer<I, Service = Watch<S, I>> + Clone
where
    S: Clone,
{
    layer_fn(move |below| Watch {
        state: state.clone(),
        look,
        below,
    })
}

/// See [`watch`].
#[derive(Clone, Debug)]
pub struct Watch<S, I> {
    state: S,
    look: fn(&S, &Trail, &mut Response),
    below: I,
}

impl<S, I> Service<Request> for Watch<S, I>
where
    S: Clone,
    I: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = I::Error;
    type Future = Watched<S, I::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.below.poll_ready(cx)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        Watched {
            state: self.state.clone(),
            look: self.look,
            trail: Trail::of(&req).ok().cloned(),
            answer: self.below.call(req),
        }
    }
}

pin_project! {
    /// The future of a [`Watch`].
    pub struct Watched<S, A> {
        state: S,
        look: fn(&S, &Trail, &mut Response),
        trail: Option<Arc<Trail>>,
        #[pin]
        answer: A,
    }
}

impl<S, A, E> Future for Watched<S, A>
where
    A: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready_or_return!(this.answer.poll(cx))?;
        if let Some(trail) = this.trail {
            (this.look)(this.state, trail, &mut response);
        }
        Poll::Ready(Ok(response))
    }
}
