//! What happened this time, in English and in Portuguese?
//!
//! Never with a value that the client sent.

use std::borrow::Cow;

use super::{AnswerFault, LimitName, MediaFault, Problem, RequestFault, whole_seconds};
use crate::language::Language;

type Pair = (&'static str, &'static str);

impl Problem {
    /// What happened this time, and what to do about it.
    pub fn detail(&self, language: Language) -> Cow<'static, str> {
        let (english, portuguese): Pair = match self {
            Self::MalformedRequest(fault) => return fault.detail(language),
            Self::MalformedJson(malformed) => return malformed.detail(language).into(),
            Self::InvalidMessage(violations) => {
                return count(violations.list.len(), violations.truncated, language);
            }
            Self::BodyTooLarge { limit } => {
                return language
                    .pick(
                        format!(
                            "The body is larger than the {limit} bytes that this route allows."
                        ),
                        format!("O corpo é maior que os {limit} bytes que esta rota permite."),
                    )
                    .into();
            }
            Self::RateLimited { limit, retry_after } => {
                return limit.detail(whole_seconds(*retry_after), language);
            }
            Self::CoolingDown { retry_after } => {
                let seconds = whole_seconds(*retry_after);
                return language
                    .pick(
                        format!("Wegly asked for a pause. Try again in {seconds} s."),
                        format!("A Wegly pediu uma pausa. Tente novamente em {seconds} s."),
                    )
                    .into();
            }
            Self::InvalidPathParameter => (
                "The chat's id in the path must be a UUID with hyphens.",
                "O id do chat no caminho deve ser um UUID com hifens.",
            ),
            Self::MissingKey => (
                "Send the gateway key as `Authorization: Bearer KEY` or as `X-Portaria-Key: KEY`.",
                "Envie a chave do gateway em `Authorization: Bearer CHAVE` ou em `X-Portaria-Key: CHAVE`.",
            ),
            Self::InvalidKey(_) => (
                "The gateway key opens nothing. It is mistyped, unknown, or not valid at this time.",
                "A chave do gateway não abre nada. Ela está errada, é desconhecida ou não vale neste momento.",
            ),
            Self::OriginNotAllowed { .. } => (
                "This key may not be used from this page. The `Origin`, or without it the `Referer`, must match one of the key's domains.",
                "Esta chave não pode ser usada a partir desta página. O `Origin`, ou na falta dele o `Referer`, deve corresponder a um dos domínios da chave.",
            ),
            Self::KeyUsedInBrowser => (
                "This is a server's key, and a browser sent it. Whoever can read the page can read the key: replace it, and give the page a key with domains.",
                "Esta é uma chave de servidor e foi enviada por um navegador. Quem lê a página lê a chave: substitua-a e dê à página uma chave com domínios.",
            ),
            Self::RouteNotAllowed => (
                "This key may not call this route.",
                "Esta chave não pode chamar esta rota.",
            ),
            Self::NoSuchRoute => (
                "Nothing is served at this path.",
                "Nada é servido neste caminho.",
            ),
            Self::MethodNotAllowed { .. } => (
                "The path is right, the method is not. `Allow` lists those that are.",
                "O caminho está certo, o método não. `Allow` lista os que estão.",
            ),
            Self::IdempotencyKeyRequired => (
                "This route wants a name for each message: send an `Idempotency-Key`, a new one for a new message and the same one for a repeat.",
                "Esta rota quer um nome para cada mensagem: envie um `Idempotency-Key`, um novo para cada mensagem nova e o mesmo para uma repetição.",
            ),
            Self::IdempotencyKeyMalformed => (
                "The `Idempotency-Key` must be 1 to 255 visible ASCII characters, in quotes or not.",
                "O `Idempotency-Key` deve ter de 1 a 255 caracteres ASCII visíveis, entre aspas ou não.",
            ),
            Self::IdempotencyInProgress { .. } => (
                "An earlier request with this `Idempotency-Key` is still on its way. This one sent nothing: ask again for its answer.",
                "Uma requisição anterior com este `Idempotency-Key` ainda está em andamento. Esta não enviou nada: pergunte novamente pela resposta.",
            ),
            Self::IdempotencyOutcomeUnknown => (
                "An earlier request with this `Idempotency-Key` may have sent the message, and nobody knows. It is not sent again. Look at the chat; to send it all the same, use a new key.",
                "Uma requisição anterior com este `Idempotency-Key` pode ter enviado a mensagem, e ninguém sabe. Ela não é enviada de novo. Olhe o chat; para enviá-la mesmo assim, use uma chave nova.",
            ),
            Self::IdempotencyKeyReused => (
                "Another message was sent with this `Idempotency-Key`. A new message wants a new key.",
                "Outra mensagem foi enviada com este `Idempotency-Key`. Uma mensagem nova pede uma chave nova.",
            ),
            Self::BodyTimeout => (
                "The body did not arrive in time.",
                "O corpo não chegou a tempo.",
            ),
            Self::ExpectationFailed => (
                "The only `Expect` that can be met is `100-continue`.",
                "O único `Expect` que pode ser atendido é `100-continue`.",
            ),
            Self::MisdirectedRequest => (
                "The `Host` is not one that is served here.",
                "O `Host` não é um dos que são servidos aqui.",
            ),
            Self::UriTooLong => (
                "The target is longer than 2 KiB.",
                "O destino tem mais de 2 KiB.",
            ),
            Self::HeadersTooLarge => (
                "There are more than 64 header fields, or they are too large together.",
                "Há mais de 64 campos de cabeçalho, ou juntos são grandes demais.",
            ),
            Self::UnsupportedMediaType(fault) => match fault {
                MediaFault::ContentType => (
                    "`Content-Type` must be `application/json`.",
                    "O `Content-Type` deve ser `application/json`.",
                ),
                MediaFault::Charset => (
                    "The charset of `Content-Type` must be UTF-8.",
                    "O charset do `Content-Type` deve ser UTF-8.",
                ),
                MediaFault::ContentEncoding => (
                    "The body must come without `Content-Encoding`.",
                    "O corpo deve vir sem `Content-Encoding`.",
                ),
            },
            Self::TooManyFailures { .. } => (
                "Many wrong keys came from this address. A right key still passes.",
                "Muitas chaves erradas vieram deste endereço. Uma chave certa ainda passa.",
            ),
            Self::Internal { .. } => (
                "A mistake of the gateway's own. It is logged under this request id.",
                "Um erro do próprio gateway. Está registrado sob este id de requisição.",
            ),
            Self::UpstreamUnreachable { .. } => (
                "No connection to Wegly could be made. The message was not sent.",
                "Não foi possível conectar à Wegly. A mensagem não foi enviada.",
            ),
            Self::UpstreamRejectedCredential => (
                "Wegly did not accept the gateway's own token. Your key is fine; tell the gateway's operators.",
                "A Wegly não aceitou o token do próprio gateway. A sua chave está certa; avise quem opera o gateway.",
            ),
            Self::UpstreamBrokeOff { .. } => (
                "The connection to Wegly was lost after the message was written. It may have been sent: a repeat may send it twice.",
                "A conexão com a Wegly caiu depois que a mensagem foi escrita. Ela pode ter sido enviada: repetir pode enviá-la duas vezes.",
            ),
            Self::UpstreamAnswerRefused { fault, .. } => match fault {
                AnswerFault::CutOff => (
                    "Wegly answered, but its answer was cut off. Do not repeat the message.",
                    "A Wegly respondeu, mas a resposta foi cortada. Não repita a mensagem.",
                ),
                AnswerFault::TooLarge => (
                    "Wegly answered, but its answer is larger than the gateway passes on. Do not repeat the message.",
                    "A Wegly respondeu, mas a resposta é maior do que o gateway repassa. Não repita a mensagem.",
                ),
                AnswerFault::Redirect => (
                    "Wegly answered with a redirect, which the gateway never follows.",
                    "A Wegly respondeu com um redirecionamento, que o gateway nunca segue.",
                ),
                AnswerFault::ContainsToken => (
                    "Wegly's answer held a secret of the gateway, so it is not shown. Do not repeat the message.",
                    "A resposta da Wegly continha um segredo do gateway e por isso não é mostrada. Não repita a mensagem.",
                ),
            },
            Self::UpstreamTimeout => (
                "Wegly did not answer in time. The message may have been sent: a repeat may send it twice.",
                "A Wegly não respondeu a tempo. A mensagem pode ter sido enviada: repetir pode enviá-la duas vezes.",
            ),
            Self::Overloaded => (
                "The gateway has as many requests in flight as it may have. Nothing was sent: try again.",
                "O gateway já tem tantas requisições em andamento quanto pode. Nada foi enviado: tente novamente.",
            ),
            Self::StoreUnavailable { .. } => (
                "What the gateway has to remember cannot be had at the moment. Nothing was sent: try again.",
                "O que o gateway precisa lembrar não está disponível no momento. Nada foi enviado: tente novamente.",
            ),
            Self::Draining => (
                "The gateway is about to stop. Nothing was sent: try again.",
                "O gateway está encerrando. Nada foi enviado: tente novamente.",
            ),
        };
        language.pick(english, portuguese).into()
    }
}

impl RequestFault {
    fn detail(self, language: Language) -> Cow<'static, str> {
        let (english, portuguese): Pair = match self {
            Self::Repeated(name) => {
                return language
                    .pick(
                        format!("The field `{name}` may be sent only once."),
                        format!("O campo `{name}` só pode ser enviado uma vez."),
                    )
                    .into();
            }
            Self::FieldBytes => (
                "A header field has bytes outside visible ASCII.",
                "Um campo de cabeçalho tem bytes fora do ASCII visível.",
            ),
            Self::FieldName => (
                "A header field has an underscore in its name.",
                "Um campo de cabeçalho tem sublinhado no nome.",
            ),
            Self::HostMissing => ("There is no `Host`.", "Não há `Host`."),
            Self::HostInvalid => (
                "There must be exactly one `Host`, a name with or without a port.",
                "Deve haver exatamente um `Host`, um nome com ou sem porta.",
            ),
            Self::TargetForm => (
                "The target must be a path that begins with a slash.",
                "O destino deve ser um caminho que começa com barra.",
            ),
            Self::Query => (
                "The target must have no query.",
                "O destino não deve ter query.",
            ),
            Self::PathForm => (
                "The path must have no percent-encoding, and no empty or dot segments.",
                "O caminho não deve ter codificação percentual nem segmentos vazios ou de pontos.",
            ),
            Self::TwoKeys => (
                "Two keys were sent. Send one, as `Authorization: Bearer KEY` or as `X-Portaria-Key: KEY`.",
                "Duas chaves foram enviadas. Envie uma, em `Authorization: Bearer CHAVE` ou em `X-Portaria-Key: CHAVE`.",
            ),
            Self::BodyCutOff => (
                "The body ended before it was complete.",
                "O corpo terminou antes de estar completo.",
            ),
            Self::LineEnd => (
                "A line of the head does not end in CR LF.",
                "Uma linha do cabeçalho não termina em CR LF.",
            ),
            Self::HeadTooLarge => ("The head is far too large.", "O cabeçalho é grande demais."),
            Self::ContentLength => (
                "`Content-Length` must be a plain number.",
                "O `Content-Length` deve ser um número simples.",
            ),
            Self::TransferEncoding => (
                "The only `Transfer-Encoding` is `chunked`, in HTTP/1.1.",
                "O único `Transfer-Encoding` é `chunked`, em HTTP/1.1.",
            ),
            Self::TwoLengths => (
                "`Content-Length` and `Transfer-Encoding` exclude each other.",
                "`Content-Length` e `Transfer-Encoding` se excluem.",
            ),
            Self::Chunk => (
                "A chunk of the body has a wrong length, an extension, or a trailer after it.",
                "Um bloco do corpo tem tamanho errado, uma extensão ou um trailer depois dele.",
            ),
            Self::Method => (
                "CONNECT and TRACE are not served.",
                "CONNECT e TRACE não são servidos.",
            ),
        };
        language.pick(english, portuguese).into()
    }
}

impl LimitName {
    fn detail(self, seconds: u64, language: Language) -> Cow<'static, str> {
        let (english, portuguese): Pair = match self {
            Self::Key => ("of this key", "desta chave"),
            Self::Chat => ("of this chat", "deste chat"),
            Self::Upstream => (
                "of all applications together",
                "de todas as aplicações juntas",
            ),
        };
        language
            .pick(
                format!("The limit {english} is reached. Try again in {seconds} s."),
                format!("O limite {portuguese} foi atingido. Tente novamente em {seconds} s."),
            )
            .into()
    }
}

fn count(violations: usize, truncated: bool, language: Language) -> Cow<'static, str> {
    if truncated {
        return language
            .pick(
                format!("The message breaks many rules; the first {violations} are listed."),
                format!(
                    "A mensagem viola muitas regras; as primeiras {violations} estão listadas."
                ),
            )
            .into();
    }
    match violations {
        1 => language
            .pick(
                "The message breaks one rule.",
                "A mensagem viola uma regra.",
            )
            .into(),
        _ => language
            .pick(
                format!("The message breaks {violations} rules."),
                format!("A mensagem viola {violations} regras."),
            )
            .into(),
    }
}
