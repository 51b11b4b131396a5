//! The pipeline: every step of a request, in the order it meets them.
//!
//! Read [`pipeline`] and then [`route`] from top to bottom and you have read the way of
//! a request; from bottom to top, the way of its answer. The order is promised:
//!
//! | step | why here |
//! | --- | --- |
//! | run to end | around everything: whatever was begun is finished, logged and counted, even if the client hangs up |
//! | request id | everything below wants to mention it |
//! | traces, trace, measure, audit | above all that can refuse, so that refusals are seen and counted |
//! | surprise | before those that tell what it found |
//! | answer | so that refusals, too, carry what every answer carries |
//! | CORS | a preflight carries no key, and a page must be able to read its refusal |
//! | **respond** | the line: below it `Err(Problem)`, above it only answers |
//! | room | before any work |
//! | front | before anything of the request is believed |
//! | route | from here on, each route has its own steps |
//! | key | cheap, and the next steps want to know who |
//! | domain | needs the key's list |
//! | rate | counts per key; after the two that cost a caller no quota |
//! | body | a body is never read for a caller who is not allowed in |
//! | schema | needs the whole body |
//! | idempotency | whatever is refused before claims nothing; a repeat costs no limit and no message |
//! | limits | only a message that would really go out counts |
//! | credential | as late as possible: the token meets the request for one step only |
//! | send | the wire |

use std::{convert::Infallible, fmt, sync::Arc};

use tower::{Service, ServiceBuilder, util::option_layer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::{
    http::{Request, Response},
    middleware::{
        answer, audit, body, cors, credential, domain, front, idempotency, key, limits, measure,
        rate_limit, request_id, respond, room,
        run_to_end::{self, Running},
        schema, surprise, trace,
    },
    plan::{Plan, RoutePlan},
    route::{Route, Router},
    shared::Shared,
    stage::{Next, gate, optional, stage, watch},
    traces::{self, Spans},
    trail::Step,
};

/// A finished pipeline. It always answers.
#[derive(Clone)]
pub struct Pipeline(Arc<dyn Fn(Request) -> Running<Result<Response, Infallible>> + Send + Sync>);

impl Pipeline {
    /// Lets these steps answer. They are ready whenever they are asked; see
    /// [`stage`](crate::stage).
    pub fn new<I>(steps: I) -> Self
    where
        I: Service<
                Request,
                Error = Infallible,
                Response = Response,
                Future = Running<Result<Response, Infallible>>,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(move |req| steps.clone().call(req)))
    }

    /// Answers a request. Dropped before it is done, it is finished all the same.
    pub fn answer(&self, req: Request) -> impl Future<Output = Response> + Send + use<> {
        let running = (self.0)(req);
        async move {
            let Ok(response) = running.await;
            response
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipeline(..)")
    }
}

/// What every request meets, whatever its route.
///
/// # Errors
/// Two routes have paths that are the same to a reader; the plan has seen to it.
pub fn pipeline(
    plan: &Plan,
    shared: &Shared,
    upstream: Next,
) -> Result<Pipeline, matchit::InsertError> {
    let routes = plan.routes.iter().map(|plan| {
        (
            Route::clone(&plan.route),
            route(plan, shared, upstream.clone()),
        )
    });
    let stack = ServiceBuilder::new()
        // Finish what was begun.
        .layer(run_to_end::layer(shared.tasks.clone()))
        // Nothing below prints these fields by accident.
        .layer(SetSensitiveRequestHeadersLayer::new([
            ::http::header::AUTHORIZATION,
            key::X_PORTARIA_KEY,
        ]))
        // Give the request a name.
        .layer(request_id::layer(
            plan.request_timeout,
            shared.tracer.clone(),
        ))
        // Tell what it was part of.
        .layer(option_layer(
            shared
                .tracer
                .clone()
                .map(|tracer| watch(Spans::new(tracer, plan), traces::tell)),
        ))
        // One line per request.
        .layer(watch((), trace::write))
        // Count it.
        .layer(watch(shared.metrics.clone(), measure::count))
        // Write down what was decided.
        .layer(option_layer(
            shared.audit.clone().map(|audit| watch(audit, audit::write)),
        ))
        // Is the answer what the upstream documents?
        .layer(watch(plan.expected.clone(), surprise::look))
        // What every answer carries.
        .layer(watch((), answer::add_fields))
        // Let pages read what they may.
        .layer(option_layer(plan.cors.clone().map(cors::Cors::layer)))
        // ---- Below this line a step may refuse; above it there are only answers.
        .layer(respond::layer())
        .layer(gate(Step::Room, shared.room.clone(), room::check))
        .layer(gate(Step::Front, plan.front.clone(), front::check))
        .service(Router::new(routes)?);
    Ok(Pipeline::new(stack))
}

/// What a request for one route meets.
fn route(plan: &RoutePlan, shared: &Shared, upstream: Next) -> Next {
    let once = plan.once.map(|rule| idempotency::Once {
        route: plan.route.name.clone(),
        rule,
        store: shared.records.clone(),
        tasks: shared.tasks.clone(),
    });
    let limits = shared.limits(plan.shared_limits);
    let stack = ServiceBuilder::new()
        // Who is calling?
        .layer(gate(Step::Key, plan.keys.clone(), key::check))
        // From which page?
        .layer(gate(Step::Domain, (), domain::check))
        // How often?
        .layer(rate_limit::layer(limits.clone()))
        // How large, of which kind, and is it strict JSON?
        .layer(stage(Step::Body, plan.body.clone(), body::read))
        // Is the message right?
        .layer(gate(Step::Schema, plan.rules.clone(), schema::check))
        // Have we done this already?
        .layer(optional(once.map(|once| {
            stage(Step::Idempotency, Arc::new(once), idempotency::once)
        })))
        // Does the upstream want one more?
        .layer(limits::layer(plan, limits))
        // With whose token do we knock?
        .layer(stage(
            Step::Credential,
            plan.route.clone(),
            credential::inject,
        ))
        // The wire.
        .service(upstream);
    Next::new(stack)
}
