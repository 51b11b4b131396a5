//! Which refusals are there?

use ::http::StatusCode;

use super::Delivery;
use crate::language::Language;

macro_rules! table {
    ($($code:ident, $status:ident, $name:literal, $delivery:ident, $english:literal, $portuguese:literal;)*) => {
        /// The table of refusals.
        ///
        /// The name is what clients match on. Never rename one; add a new one instead.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`: ", $english, ".")] $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// Its status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)* }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// Whether the message may have gone out, where nothing else is known.
            pub fn delivery(self) -> Delivery {
                match self { $(Self::$code => Delivery::$delivery,)* }
            }

            /// What kind of refusal it is. Always the same for one code.
            pub fn title(self, language: Language) -> &'static str {
                match self { $(Self::$code => language.pick($english, $portuguese),)* }
            }
        }
    };
}

table! {
    MalformedRequest,           BAD_REQUEST,                     "malformed-request",            NotSent, "Malformed request",         "Requisição malformada";
    InvalidPathParameter,       BAD_REQUEST,                     "invalid-path-parameter",       NotSent, "Path parameter not valid",   "Parâmetro de caminho inválido";
    MalformedJson,              BAD_REQUEST,                     "malformed-json",               NotSent, "Malformed JSON",            "JSON malformado";
    MissingKey,                 UNAUTHORIZED,                    "missing-key",                  NotSent, "Key missing",               "Chave ausente";
    InvalidKey,                 UNAUTHORIZED,                    "invalid-key",                  NotSent, "Key not valid",             "Chave inválida";
    OriginNotAllowed,           FORBIDDEN,                       "origin-not-allowed",           NotSent, "Origin not allowed",        "Origem não permitida";
    KeyUsedInBrowser,           FORBIDDEN,                       "key-used-in-browser",          NotSent, "Server key used in a browser","Chave de servidor usada em um navegador";
    RouteNotAllowed,            FORBIDDEN,                       "route-not-allowed",            NotSent, "Route not allowed",         "Rota não permitida";
    NoSuchRoute,                NOT_FOUND,                       "no-such-route",                NotSent, "No such route",             "Rota inexistente";
    MethodNotAllowed,           METHOD_NOT_ALLOWED,              "method-not-allowed",           NotSent, "Method not allowed",        "Método não permitido";
    IdempotencyKeyRequired,     BAD_REQUEST,                     "idempotency-key-required",     NotSent, "Idempotency key required",  "Chave de idempotência obrigatória";
    IdempotencyKeyMalformed,    BAD_REQUEST,                     "idempotency-key-malformed",    NotSent, "Idempotency key malformed", "Chave de idempotência malformada";
    IdempotencyInProgress,      CONFLICT,                        "idempotency-in-progress",      NotSent, "Message on its way",        "Mensagem a caminho";
    IdempotencyOutcomeUnknown,  CONFLICT,                        "idempotency-outcome-unknown",  Unknown, "Outcome unknown",           "Resultado desconhecido";
    IdempotencyKeyReused,       UNPROCESSABLE_ENTITY,            "idempotency-key-reused",       NotSent, "Idempotency key reused",    "Chave de idempotência reutilizada";
    BodyTimeout,                REQUEST_TIMEOUT,                 "body-timeout",                 NotSent, "Body too slow",             "Corpo lento demais";
    BodyTooLarge,               PAYLOAD_TOO_LARGE,               "body-too-large",               NotSent, "Body too large",            "Corpo grande demais";
    UriTooLong,                 URI_TOO_LONG,                    "uri-too-long",                 NotSent, "URI too long",              "URI longa demais";
    UnsupportedMediaType,       UNSUPPORTED_MEDIA_TYPE,          "unsupported-media-type",       NotSent, "Unsupported media type",    "Tipo de mídia não suportado";
    ExpectationFailed,          EXPECTATION_FAILED,              "expectation-failed",           NotSent, "Expectation failed",        "Expectativa não atendida";
    MisdirectedRequest,         MISDIRECTED_REQUEST,             "misdirected-request",          NotSent, "Misdirected request",       "Requisição mal direcionada";
    InvalidMessage,             UNPROCESSABLE_ENTITY,            "invalid-message",              NotSent, "Message not valid",         "Mensagem inválida";
    RateLimited,                TOO_MANY_REQUESTS,               "rate-limited",                 NotSent, "Too many requests",         "Requisições demais";
    TooManyFailures,            TOO_MANY_REQUESTS,               "too-many-failures",            NotSent, "Too many wrong keys",       "Chaves erradas demais";
    HeadersTooLarge,            REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large",            NotSent, "Headers too large",         "Cabeçalhos grandes demais";
    Internal,                   INTERNAL_SERVER_ERROR,           "internal",                     Unknown, "Internal error",            "Erro interno";
    UpstreamUnreachable,        BAD_GATEWAY,                     "upstream-unreachable",         NotSent, "Upstream unreachable",      "Upstream inacessível";
    UpstreamRejectedCredential, BAD_GATEWAY,                     "upstream-rejected-credential", NotSent, "Upstream rejected the credential","O upstream rejeitou a credencial";
    UpstreamBrokeOff,           BAD_GATEWAY,                     "upstream-broke-off",           Unknown, "Upstream broke off",        "O upstream interrompeu a conexão";
    UpstreamAnswerRefused,      BAD_GATEWAY,                     "upstream-answer-refused",      Sent,    "Upstream answer refused",    "Resposta do upstream recusada";
    Overloaded,                 SERVICE_UNAVAILABLE,             "overloaded",                   NotSent, "Overloaded",                "Sobrecarregado";
    CoolingDown,                SERVICE_UNAVAILABLE,             "cooling-down",                 NotSent, "Cooling down",              "Em pausa";
    StoreUnavailable,           SERVICE_UNAVAILABLE,             "store-unavailable",            NotSent, "Store unavailable",         "Armazenamento indisponível";
    Draining,                   SERVICE_UNAVAILABLE,             "draining",                     NotSent, "Draining",                  "Encerrando";
    UpstreamTimeout,            GATEWAY_TIMEOUT,                 "upstream-timeout",             Unknown, "Upstream timeout",          "O upstream não respondeu a tempo";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `| 401 | `missing-key` | Key missing | … | not_sent |`
    #[test]
    fn the_readme_lists_these_refusals_and_no_others() {
        let mut written: Vec<(u16, String, String)> = include_str!("../../README.md")
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                let status = cells.first()?.parse().ok()?;
                let code = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
                Some((status, code.to_owned(), cells.get(2)?.to_string()))
            })
            .collect();
        written.sort();

        let mut known: Vec<(u16, String, String)> = Code::ALL
            .iter()
            .map(|code| {
                let title = code.title(Language::English).to_owned();
                (code.status().as_u16(), code.name().to_owned(), title)
            })
            .collect();
        known.sort();

        assert_eq!(written, known);
    }
}
