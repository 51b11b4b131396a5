//! Which requests, and which steps of them?

use std::hint::black_box;

use http::HeaderValue;
use portaria::{
    http::Request,
    json::Document,
    middleware::{answer, domain, front, key, limits, measure, rate_limit, schema, trace},
    trail::Trail,
    upstream::headers,
};

use crate::gateway::{Gateway, LARGE, REFUSED, SMALL, answered, chat, message, name};

/// Something that is done once, and measured. What it leaves is dropped with it, after.
pub(crate) type Job = Box<dyn FnMut()>;

/// A kind of jobs.
pub(crate) struct Scene {
    /// How it is called in `counts.txt`.
    pub(crate) name: &'static str,
    /// The next job.
    pub(crate) job: Box<dyn Fn(usize) -> Job>,
}

/// How many applications and chats take turns.
const TURNS: usize = 64;

/// All of them, in the order of the pipeline.
pub(crate) fn all() -> Vec<Scene> {
    let gateway = Gateway::new(TURNS);
    let mut scenes = requests(&gateway);
    scenes.extend(steps(&gateway));
    scenes
}

/// What could grow with how many applications there are, and how many chats were seen.
pub(crate) fn growth() -> Vec<Scene> {
    let keys = |title, applications| {
        let gateway = Gateway::new(applications);
        scene(title, move |turn| {
            let gateway = gateway.clone();
            let mut request = gateway.known(message(&name(turn % applications), chat(0), SMALL));
            Box::new(move || key::check(&gateway.plan.keys, &mut request).unwrap())
        })
    };
    let chats = |name, count| {
        let gateway = Gateway::new(1);
        let seen = gateway.route().per_chat.clone().unwrap();
        for number in 0..count {
            seen.take(&chat(number)).unwrap();
        }
        scene(name, move |turn| {
            let (seen, chat) = (seen.clone(), chat(turn % count));
            Box::new(move || {
                black_box(seen.take(&chat).unwrap());
            })
        })
    };
    vec![
        keys("keys/10", 10),
        keys("keys/1000", 1_000),
        keys("keys/10000", 10_000),
        chats("chats/10", 10),
        chats("chats/1000", 1_000),
        chats("chats/100000", 100_000),
    ]
}

/// Whole requests.
fn requests(gateway: &Gateway) -> Vec<Scene> {
    let whole = |name, request: fn(usize) -> Request, status| {
        let gateway = gateway.clone();
        scene(name, move |turn| {
            let (gateway, mut request) = (gateway.clone(), Some(request(turn)));
            Box::new(move || {
                let answer = gateway.answer(request.take().unwrap());
                assert_eq!(answer.status(), status);
            })
        })
    };
    vec![
        whole("request/small", |turn| by_turns(turn, SMALL), 200),
        whole("request/large", |turn| by_turns(turn, LARGE), 200),
        whole(
            "request/refused-by-schema",
            |turn| by_turns(turn, REFUSED),
            422,
        ),
        whole(
            "request/over-rate",
            |turn| message("spent", chat(turn), SMALL),
            429,
        ),
        whole(
            "request/unknown-key",
            |turn| message("nobody", chat(turn), SMALL),
            401,
        ),
    ]
}

/// Single steps.
fn steps(gateway: &Gateway) -> Vec<Scene> {
    let step = |name, body: &'static str, run: fn(&Gateway, &mut Request)| {
        let gateway = gateway.clone();
        scene(name, move |turn| {
            let gateway = gateway.clone();
            let mut request = gateway.known(by_turns(turn, body));
            let message = Document::parse(body.into()).unwrap();
            let trail = Trail::of(&request).unwrap();
            trail.message.set(message).unwrap();
            Box::new(move || run(&gateway, &mut request))
        })
    };
    let parse = |name, body: &'static str| {
        scene(name, move |_turn| {
            let mut document = None;
            Box::new(move || {
                black_box(document.insert(Document::parse(body.into()).unwrap()));
            })
        })
    };
    vec![
        step("step/front", SMALL, |gateway, request| {
            front::check(&gateway.plan.front, request).unwrap();
        }),
        step("step/key", SMALL, |gateway, request| {
            key::check(&gateway.plan.keys, request).unwrap();
        }),
        step("step/domain", SMALL, |_gateway, request| {
            domain::check(&(), request).unwrap();
        }),
        step("step/rate", SMALL, |_gateway, request| {
            rate_limit::check(&(), request).unwrap();
        }),
        parse("step/json-small", SMALL),
        parse("step/json-large", LARGE),
        step("step/schema-small", SMALL, |gateway, request| {
            schema::check(&gateway.route().rules, request).unwrap();
        }),
        step("step/schema-large", LARGE, |gateway, request| {
            schema::check(&gateway.route().rules, request).unwrap();
        }),
        step("step/schema-report", REFUSED, |gateway, request| {
            let refused = schema::check(&gateway.route().rules, request);
            let _ = black_box(refused.unwrap_err());
        }),
        step("step/limits", SMALL, |gateway, request| {
            limits::check(&gateway.route().per_chat, request).unwrap();
        }),
        outgoing(gateway),
        look_on(gateway, "step/answer", |_gateway, trail, response| {
            answer::add_fields(&(), trail, response);
        }),
        look_on(gateway, "step/measure", |gateway, trail, response| {
            measure::count(&gateway.shared.metrics, trail, response);
        }),
        look_on(gateway, "step/trace", |_gateway, trail, response| {
            trace::write(&(), trail, response);
        }),
    ]
}

/// The request that goes out.
fn outgoing(gateway: &Gateway) -> Scene {
    let gateway = gateway.clone();
    scene("step/outgoing", move |turn| {
        let (head, _body) = gateway.known(by_turns(turn, SMALL)).into_parts();
        let trail: &std::sync::Arc<Trail> = head.extensions.get().unwrap();
        let (trail, route) = (trail.clone(), gateway.route().route.clone());
        let mut sent = None;
        Box::new(move || {
            let target = route.upstream_target(&trail, &head.uri).unwrap();
            let outgoing = headers::outgoing(&head, &trail, &target, &SMALL.into(), |fields| {
                let token = HeaderValue::from_static("Bearer of-the-upstream");
                fields.insert(http::header::AUTHORIZATION, token);
            });
            black_box(sent.insert(outgoing.unwrap()));
        })
    })
}

/// What is done once the answer is there.
fn look_on(
    gateway: &Gateway,
    name: &'static str,
    look: fn(&Gateway, &Trail, &mut portaria::http::Response),
) -> Scene {
    let gateway = gateway.clone();
    scene(name, move |turn| {
        let gateway = gateway.clone();
        let mut request = gateway.known(by_turns(turn, SMALL));
        rate_limit::check(&(), &mut request).unwrap();
        let trail = Trail::of(&request).unwrap().clone();
        let mut response = answered();
        Box::new(move || look(&gateway, &trail, &mut response))
    })
}

fn scene(name: &'static str, job: impl Fn(usize) -> Job + 'static) -> Scene {
    let job = Box::new(job);
    Scene { name, job }
}

fn by_turns(turn: usize, body: &'static str) -> Request {
    message(&name(turn % TURNS), chat(turn % TURNS), body)
}
