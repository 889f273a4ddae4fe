//! One request: whether it is passed on, and what is said if it is not.

use std::convert::Infallible;

use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use viaduct_client::{Client, ClientError, is_lambda_path};

/// What becomes of a request's answer: it is the daemon's, or made here.
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// The header by which clients tell exceptions apart.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Headers that are about one connection and not the next (RFC 9110, section 7.6.1), and the one about a
/// body's length, which follows from the body.
static OF_ONE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// LAM-78. In AWS their names lead to public addresses, also where there is an endpoint.
    #[error("Function URLs are not served at interface endpoints: call Invoke")]
    FunctionUrl,
    /// Neither EC2's API is served here, nor IAM's, nor viaduct's own.
    #[error("{0} is no operation of Lambda's API, and there is nothing else here")]
    NotLambda(String),
    /// On the control socket this would be the owner's.
    #[error("Missing Authentication Token: sign the request, with whichever key")]
    Unsigned,
    /// What has failed is logged; strangers are told no paths.
    #[error("The service cannot be reached at the moment")]
    Unavailable,
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::FunctionUrl | Self::Unsigned => StatusCode::FORBIDDEN,
            Self::NotLambda(_) => StatusCode::NOT_FOUND,
            Self::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Lambda's name for it (LAM-61), or one from memory.
    const fn exception(&self) -> &'static str {
        match self {
            Self::FunctionUrl => "AccessDeniedException",
            Self::NotLambda(_) => "UnknownOperationException",
            Self::Unsigned => "MissingAuthenticationTokenException",
            Self::Unavailable => "ServiceException",
        }
    }
}

/// The shape of Lambda's errors.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'r> {
    r#type: &'static str,
    message: &'r str,
}

/// Answers a request: as the daemon does, or with a refusal.
pub(super) async fn answer(
    client: &Client,
    mut request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    without_connection(request.headers_mut());
    // What is looked at is what the daemon would see.
    let passed_on = match look_at(&request) {
        Ok(()) => pass_on(client, request).await.map_err(|error| {
            match error {
                // As when its sender goes away: strangers do not fill the log.
                ClientError::Broken { .. } => tracing::debug!(%error, "a request broke"),
                _ => tracing::warn!(%error, "a request could not be passed on"),
            }
            Refusal::Unavailable
        }),
        Err(refusal) => Err(refusal),
    };
    Ok(match passed_on {
        Ok(answer) => answer.map(Either::Left),
        Err(refusal) => refused(&refusal).map(Either::Right),
    })
}

/// Takes away what was said about one connection. What frames a body goes too: each side frames it anew,
/// so that no two of them can disagree where a request ends.
fn without_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

/// Whether a request is one to pass on.
fn look_at<B>(request: &Request<B>) -> Result<(), Refusal> {
    let (uri, headers) = (request.uri(), request.headers());
    let hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let mut hosts = hosts.chain(uri.authority().map(|host| host.as_str().as_bytes()));
    if hosts.any(is_of_function_url) {
        return Err(Refusal::FunctionUrl);
    }
    if !is_lambda_path(uri.path()) {
        return Err(Refusal::NotLambda(format!("{} {}", request.method(), uri.path())));
    }
    match headers.contains_key(header::AUTHORIZATION) {
        true => Ok(()),
        false => Err(Refusal::Unsigned),
    }
}

/// Whether a host's name is as those of function URLs are: `ID.lambda-url.REGION.on.aws`.
fn is_of_function_url(host: &[u8]) -> bool {
    host.split(|byte| *byte == b'.').any(|label| label.eq_ignore_ascii_case(b"lambda-url"))
}

async fn pass_on(
    client: &Client,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, ClientError> {
    // In whichever form it came: the daemon is asked for a path.
    let asked = request.uri().path_and_query().cloned();
    *request.uri_mut() = asked.map(Uri::from).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    let mut answer = client.relay(request).await?;
    without_connection(answer.headers_mut());
    Ok(answer)
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = refusal.status();
    let at_fault = if status.is_server_error() { "Service" } else { "User" };
    let message = refusal.to_string();
    let body = Body { r#type: at_fault, message: &message };
    let body = serde_json::to_vec(&body).expect("it is text");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE, HeaderValue::from_static(refusal.exception()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a request with this target and these headers.
    fn verdict(target: &str, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        without_connection(request.headers_mut());
        match look_at(&request) {
            Ok(()) => "passed on",
            Err(refusal) => refusal.exception(),
        }
    }

    const SIGNED: (&str, &str) = ("authorization", "AWS4-HMAC-SHA256 Credential=k");
    const FUNCTION: &str = "/2015-03-31/functions/f";

    // Facts: LAM-78
    #[test]
    fn lam_78_function_urls_are_refused_by_whatever_names_them() {
        let url = "abcdefg.lambda-url.eu-central-1.on.aws";
        assert_eq!(verdict(FUNCTION, &[SIGNED, ("host", url)]), "AccessDeniedException");
        assert_eq!(verdict("/", &[("host", "A.Lambda-URL.x:80")]), "AccessDeniedException");
        assert_eq!(verdict(&format!("http://{url}/"), &[("host", "x")]), "AccessDeniedException");
        let both = [SIGNED, ("host", "x"), ("host", url)];
        assert_eq!(verdict(FUNCTION, &both), "AccessDeniedException");
        let api = "lambda.eu-central-1.amazonaws.com";
        assert_eq!(verdict(FUNCTION, &[SIGNED, ("host", api)]), "passed on");
        assert_eq!(verdict("/abc.lambda-url.x/", &[SIGNED]), "UnknownOperationException");
    }

    #[test]
    fn nothing_but_lambdas_api_is_passed_on_and_nothing_unsigned() {
        for target in ["/", "/v1/status", "/v1/apply?name=x", "/metrics", "*", "http://x/v1/invoke"]
        {
            assert_eq!(verdict(target, &[SIGNED]), "UnknownOperationException", "{target}");
        }
        assert_eq!(verdict(FUNCTION, &[]), "MissingAuthenticationTokenException");
        assert_eq!(verdict(&format!("http://x{FUNCTION}"), &[SIGNED]), "passed on");
        // Credentials that would stay behind are none.
        let dropped = verdict(FUNCTION, &[SIGNED, ("connection", "close, Authorization")]);
        assert_eq!(dropped, "MissingAuthenticationTokenException");
    }

    #[test]
    fn what_is_about_one_connection_stays_on_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("authorization", "key"),
            ("x-amz-log-type", "Tail"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        without_connection(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["authorization", "x-amz-log-type"]);
    }
}
