//! What may be called?

use ::http::Method;

use super::Judge;
use crate::{
    config::{Idempotent, Limit, Path},
    middleware::schema::Rules,
    route::{ID, Route},
    schema::Schema,
};

/// A route that can be used.
pub(super) struct Judged {
    pub(super) route: Route,
    pub(super) rules: Rules,
    pub(super) max_body: usize,
    pub(super) per_chat: Option<Limit>,
    pub(super) idempotency: Idempotent,
}

impl Judge<'_> {
    pub(super) fn routes(&mut self) -> Vec<Judged> {
        let all = self.config.routes();
        let mut routes = Vec::new();
        for (index, written) in all.iter().enumerate() {
            let at = Path::new("routes").index(index);
            self.check_name(at.clone().key("name"), &written.name);
            let method = self.method(at.clone().key("method"), &written.method);
            self.check_path(at.clone().key("path"), &written.path);
            if written.max_body.0 == 0 {
                self.mistakes
                    .add(at.clone().key("max_body"), "no message would fit");
            }
            if written.per_chat.is_some() && !written.path.contains(ID) {
                self.mistakes
                    .add(
                        at.clone().key("per_chat"),
                        "the path names no chat to count by",
                    )
                    .hint("put `{id}` into `path`, or leave `per_chat` out");
            }
            let schema = self.schema(at.clone().key("schema"), &written.schema);
            for other in &all[..index] {
                if other.name == written.name {
                    self.mistakes.add(
                        at.clone().key("name"),
                        format!("there are two routes `{}`", written.name),
                    );
                }
                if (&other.path, &other.method) == (&written.path, &written.method) {
                    self.mistakes.add(
                        at.clone().key("path"),
                        format!("`{}` has this method and path already", other.name),
                    );
                }
            }
            if let (Some(method), Some(schema)) = (method, schema) {
                let route = Route {
                    name: written.name.as_str().into(),
                    method,
                    path: written.path.clone(),
                };
                let rules = Rules {
                    schema,
                    mode: written.schema_mode,
                };
                routes.push(Judged {
                    route,
                    rules,
                    max_body: written.max_body.0,
                    per_chat: written.per_chat,
                    idempotency: written.idempotency,
                });
            }
        }
        routes
    }

    fn method(&mut self, at: Path, written: &str) -> Option<Method> {
        let method = Method::from_bytes(written.as_bytes()).ok();
        let carries_a_message = [Method::POST, Method::PUT, Method::PATCH];
        if method
            .as_ref()
            .is_some_and(|method| carries_a_message.contains(method))
        {
            return method;
        }
        self.mistakes
            .add(
                at,
                format!("`{written}` is no method that carries a message"),
            )
            .hint("write `POST`, `PUT` or `PATCH`");
        None
    }

    fn check_path(&mut self, at: Path, path: &str) {
        let rest = path.replacen(ID, "id", 1);
        let segments_are_plain = rest.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && segment
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
            })
        });
        let id_is_a_segment = path.split('/').any(|segment| segment == ID) || !path.contains(ID);
        if !segments_are_plain || !id_is_a_segment {
            self.mistakes
                .add(at, format!("`{path}` is no path of plain segments"))
                .hint("write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment");
        }
    }

    fn schema(&mut self, at: Path, written: &str) -> Option<Schema> {
        let text = match Schema::built_in(written) {
            Some(text) => text.to_owned(),
            None => {
                let path = self.directory.join(written);
                match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        let near = ["wegly", "whatsapp"]
                            .into_iter()
                            .find(|name| strsim::levenshtein(name, written) <= 2);
                        let hint = match near {
                            Some(name) => format!("did you mean `{name}`?"),
                            None => "built in are `wegly` and `whatsapp`; anything else is the path of a JSON Schema file".to_owned(),
                        };
                        self.mistakes
                            .add(at, format!("`{written}` cannot be read: {error}"))
                            .hint(hint);
                        return None;
                    }
                }
            }
        };
        match Schema::compile(&text) {
            Ok(schema) => Some(schema),
            Err(mistakes) => {
                for mistake in mistakes {
                    self.mistakes.add(
                        at.clone(),
                        format!("`{written}` is no schema that can be used: {mistake}"),
                    );
                }
                None
            }
        }
    }
}
