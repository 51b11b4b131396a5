//! What is called?
//!
//! Finds the route of a method and a path, and hands the request to the part of the
//! pipeline that is the route's own. The path that goes out is made anew from the
//! chat's parsed UUID: no byte of the client's target reaches the upstream.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{HeaderValue, Method, Uri};
use tower::Service;
use uuid::Uuid;

use crate::{
    http::{Request, Response},
    problem::Problem,
    stage::{Answering, Next},
    trail::{Step, Trail},
};

/// Where the chat's UUID stands in a path.
pub const ID: &str = "{id}";

/// A method and a path that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name from the config; safe to log.
    pub name: Arc<str>,
    /// Its method.
    pub method: Method,
    /// Its path, with `{id}` at most once.
    pub path: String,
}

impl Route {
    /// The path that goes out.
    ///
    /// # Errors
    /// Without the chat, the order of the steps is wrong.
    pub fn upstream_path(&self, trail: &Trail) -> Result<String, Problem> {
        let Some(at) = self.path.find('{') else {
            return Ok(self.path.clone());
        };
        let (before, after) = (&self.path[..at], &self.path[at + ID.len()..]);
        let chat = trail.chat.get();
        let chat = chat.ok_or_else(|| Problem::bug("a path without its chat"))?;
        let mut buffer = Uuid::encode_buffer();
        Ok([before, chat.hyphenated().encode_lower(&mut buffer), after].concat())
    }

    /// The target that goes out for this one.
    ///
    /// # Errors
    /// As with [`upstream_path`](Self::upstream_path).
    pub fn upstream_target(&self, trail: &Trail, asked: &Uri) -> Result<Uri, Problem> {
        let path = self.upstream_path(trail)?;
        // Mostly it is what was asked for, to the last byte, and need not be read again.
        let is_same = asked.path_and_query().is_some_and(|asked| *asked == *path);
        if is_same && asked.authority().is_none() {
            return Ok(asked.clone());
        }
        Uri::try_from(path).map_err(|_| Problem::bug("a checked path became no URI"))
    }
}

/// All routes, each with what its requests meet below.
#[derive(Clone, Debug)]
pub struct Router(Arc<matchit::Router<Vec<(Route, Next)>>>);

impl Router {
    /// Puts them together.
    ///
    /// # Errors
    /// Two paths are the same to a reader, or one is no path.
    pub fn new(
        routes: impl IntoIterator<Item = (Route, Next)>,
    ) -> Result<Self, matchit::InsertError> {
        let mut router = matchit::Router::<Vec<(Route, Next)>>::new();
        for (route, next) in routes {
            // Several methods may share a path.
            let shared = router.at_mut(&route.path).ok().filter(|found| {
                found
                    .value
                    .first()
                    .is_some_and(|(first, _)| first.path == route.path)
            });
            match shared {
                Some(found) => found.value.push((route, next)),
                None => router.insert(route.path.clone(), vec![(route, next)])?,
            }
        }
        Ok(Self(Arc::new(router)))
    }

    fn find(&self, trail: &Trail, method: &Method, path: &str) -> Result<&Next, Problem> {
        let found = self.0.at(path).map_err(|_| Problem::NoSuchRoute)?;
        let Some((route, next)) = found
            .value
            .iter()
            .find(|(route, _)| route.method == *method)
        else {
            return Err(Problem::MethodNotAllowed {
                allow: allow(found.value),
            });
        };
        let _ = trail.route.set(route.name.clone());
        if let Some(id) = found.params.get("id") {
            let chat = parse_hyphenated(id).ok_or(Problem::InvalidPathParameter)?;
            let _ = trail.chat.set(chat);
        }
        Ok(next)
    }
}

impl Service<Request> for Router {
    type Response = Response;
    type Error = Problem;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let found = Trail::of(&req).and_then(|trail| {
            trail.enter(Step::Route);
            self.find(trail, req.method(), req.uri().path())
        });
        match found {
            Ok(next) => next.run(req),
            Err(problem) => Box::pin(std::future::ready(Err(problem))),
        }
    }
}

fn allow(routes: &[(Route, Next)]) -> HeaderValue {
    let methods: Vec<&str> = routes
        .iter()
        .map(|(route, _)| route.method.as_str())
        .collect();
    HeaderValue::try_from(methods.join(", ")).unwrap_or(HeaderValue::from_static("POST"))
}

/// A UUID in its hyphenated form alone; the crate takes others too.
fn parse_hyphenated(text: &str) -> Option<Uuid> {
    let is_hyphenated = text.len() == 36;
    is_hyphenated.then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_a_hyphenated_uuid_and_nothing_else() {
        for (text, expected) in [
            ("3c90c3cc-0d44-4b50-8888-8dd25736052a", true),
            ("3C90C3CC-0D44-4B50-8888-8DD25736052A", true),
            ("3c90c3cc0d444b5088888dd25736052a", false),
            ("{3c90c3cc-0d44-4b50-8888-8dd25736052a}", false),
            ("urn:uuid:3c90c3cc-0d44-4b50-8888-8dd25736052a", false),
            ("3c90c3cc-0d44-4b50-8888-8dd25736052", false),
            ("3c90c3cc-0d444-b50-8888-8dd25736052a", false),
            ("3c90c3cc-0d44-4b50-8888-8dd25736052g", false),
        ] {
            assert_eq!(parse_hyphenated(text).is_some(), expected, "{text}");
        }
    }
}
