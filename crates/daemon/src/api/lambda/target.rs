//! Which function a request is about: its name, its version, and whose it is.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::Deserialize;
use viaduct_control_plane::{
    iam::{Context, Denied},
    lifecycle::{Answer, Function, FunctionName, Lifecycle, Qualifier, Refusal, VersionId},
};
use viaduct_topology::model::is_account;

use super::failure::Failure;
use crate::api::{Running, caller::Caller};

/// Characters of a function's name.
const LONGEST_NAME: usize = 64;

/// What Lambda says a name looks like.
const PATTERN: &str = "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?\
                       (function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";

/// A function, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Who names it.
    pub(super) caller: Caller,
    pub(super) function: FunctionName,
    /// The version, if one is named.
    pub(super) qualifier: Option<Qualifier>,
    /// The one that the name or the request is about.
    pub(super) region: String,
}

impl Target {
    /// The function of this name: `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME` or a whole ARN,
    /// each with or without a qualifier. Only the caller's own account has functions for it.
    pub(super) fn parse(text: &str, caller: &Caller) -> Result<Self, Failure> {
        let no_name = || {
            Failure::validation(&[format!(
                "Value '{text}' at 'functionName' failed to satisfy constraint: Member must satisfy \
                 regular expression pattern: {PATTERN}"
            )])
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, rest) = match parts[..] {
            ["arn", partition, "lambda", region, account, "function", ref rest @ ..]
                if partition.starts_with("aws") && is_account(account) =>
            {
                (region, account, rest)
            }
            [account, "function", ref rest @ ..] if is_account(account) => {
                (&*caller.region, account, rest)
            }
            ["function", ref rest @ ..] if !rest.is_empty() => {
                (&*caller.region, &**caller.account(), rest)
            }
            ref rest => (&*caller.region, &**caller.account(), rest),
        };
        let (name, qualifier) = match *rest {
            [name] => (name, None),
            [name, qualifier] => (name, Some(qualifier)),
            _ => return Err(no_name()),
        };
        // A file's functions may have dots in their names.
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.chars().all(letters) {
            return Err(no_name());
        }
        let function = FunctionName::new(account, name);
        let region = region.to_owned();
        let target = Self { caller: caller.clone(), function, qualifier: None, region };
        if target.function.account != *caller.account() {
            return Err(Failure::access_denied(format!(
                "User: {} is not authorized to access {}: a function is used with an access key of \
                 its own account",
                caller.arn(),
                target.arn(None)
            )));
        }
        match qualifier {
            None => Ok(target),
            Some(qualifier) => target.qualified(qualifier),
        }
    }

    /// The same, with the qualifier that the request has beside the name.
    fn qualified(mut self, text: &str) -> Result<Self, Failure> {
        let Some(qualifier) = qualifier(text) else {
            return Err(Failure::not_found(format!(
                "Cannot find alias arn: {}:{text}",
                self.arn(None)
            )));
        };
        if self.qualifier.is_some_and(|named| named != qualifier) {
            return Err(Failure::invalid(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        self.qualifier = Some(qualifier);
        Ok(self)
    }

    /// What an answer is about: the version that a command has published, if it has.
    pub(super) fn published(self, answer: Answer) -> Self {
        match answer {
            Answer::Published(number) => {
                Self { qualifier: Some(Qualifier::Version(number)), ..self }
            }
            Answer::Done => self,
        }
    }

    /// The version that is meant: `$LATEST` if none is named.
    pub(super) fn version(&self) -> VersionId {
        let version = self.qualifier.unwrap_or_default();
        VersionId { function: self.function.clone(), version }
    }

    /// Whether who names it may do this with it.
    pub(super) fn may(&self, action: &str, context: &Context) -> Result<(), Denied> {
        self.caller.may(action, &self.arn(self.qualifier), context)
    }

    /// What is read of it, if who names it may do this with it.
    pub(super) fn read<'m>(
        &self,
        action: &str,
        machine: &'m Lifecycle,
    ) -> Result<&'m Function, Failure> {
        self.may(action, &Context::default())?;
        machine.function(&self.function).ok_or_else(|| self.not_found(Qualifier::Latest))
    }

    /// There is no such function, or it has no such version.
    pub(super) fn not_found(&self, version: Qualifier) -> Failure {
        let refusal = Refusal::FunctionNotFound { function: self.function.clone(), version };
        Failure::refused(&refusal, &self.region)
    }

    /// The function's ARN, with a qualifier if there is one.
    pub(super) fn arn(&self, qualifier: Option<Qualifier>) -> String {
        arn(&self.region, &self.function, qualifier)
    }

    /// The name of a function that is to be changed: there is nothing but `$LATEST` to change.
    pub(super) fn changeable(self) -> Result<FunctionName, Failure> {
        match self.qualifier {
            None | Some(Qualifier::Latest) => Ok(self.function),
            Some(Qualifier::Version(number)) => Err(Failure::invalid(format!(
                "version {number} stays as it is: only $LATEST of a function can be changed"
            ))),
        }
    }
}

/// A function's ARN.
pub(super) fn arn(region: &str, function: &FunctionName, qualifier: Option<Qualifier>) -> String {
    let FunctionName { account, name } = function;
    match qualifier {
        None => format!("arn:aws:lambda:{region}:{account}:function:{name}"),
        Some(qualifier) => format!("arn:aws:lambda:{region}:{account}:function:{name}:{qualifier}"),
    }
}

/// The version of this name; none if it can only be an alias's, of which there are none.
fn qualifier(text: &str) -> Option<Qualifier> {
    match text {
        "$LATEST" => Some(Qualifier::Latest),
        number => number.parse().ok().map(Qualifier::Version),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Beside {
    qualifier: Option<String>,
}

/// The function that a path names, in its first parameter.
impl FromRequestParts<Arc<Running>> for Target {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        running: &Arc<Running>,
    ) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, running).await?;
        let Path(name) = Path::<String>::from_request_parts(parts, running)
            .await
            .map_err(|error| Failure::validation(&[error.body_text()]))?;
        let Query(Beside { qualifier }) = Query::try_from_uri(&parts.uri)
            .map_err(|error| Failure::validation(&[error.body_text()]))?;
        let target = Self::parse(&name, &caller)?;
        match qualifier {
            None => Ok(target),
            Some(qualifier) => target.qualified(&qualifier),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use viaduct_control_plane::iam::Principals;

    use super::*;

    fn caller() -> Caller {
        let mut headers = HeaderMap::new();
        let signed = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/lambda/aws4_request";
        headers.insert("authorization", signed.parse().unwrap());
        Caller::of(&headers, &Principals::default()).unwrap()
    }

    #[test]
    fn a_function_has_a_bare_name_a_partial_and_a_whole_arn() {
        let name = FunctionName::new("123456789012", "api");
        for (text, qualifier, region) in [
            ("api", None, "eu-west-1"),
            ("api:3", Some(Qualifier::Version(3)), "eu-west-1"),
            ("api:$LATEST", Some(Qualifier::Latest), "eu-west-1"),
            ("function:api", None, "eu-west-1"),
            ("123456789012:function:api", None, "eu-west-1"),
            ("123456789012:function:api:4", Some(Qualifier::Version(4)), "eu-west-1"),
            ("arn:aws:lambda:us-gov-west-1:123456789012:function:api", None, "us-gov-west-1"),
            ("arn:aws-cn:lambda:x:123456789012:function:api:1", Some(Qualifier::Version(1)), "x"),
        ] {
            let target = Target::parse(text, &caller()).unwrap();
            assert_eq!((&target.function, target.qualifier), (&name, qualifier), "{text}");
            assert_eq!(target.region, region, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_and_so_is_another_account() {
        let refused = |text: &str| format!("{:?}", Target::parse(text, &caller()).unwrap_err());
        for text in ["", ":", "a b", "api:", "api:1:2", "arn:aws:lambda:x:1:function:api", "ä"] {
            let failure = refused(text);
            assert!(failure.contains("ValidationException") || failure.contains("alias"), "{text}");
        }
        assert!(refused(&"a".repeat(65)).contains("ValidationException"));
        assert!(refused("111122223333:function:api").contains("AccessDeniedException"));
        assert!(refused("api:live").contains("Cannot find alias arn: arn:aws:lambda:eu-west-1:"));
    }

    #[test]
    fn a_qualifier_in_the_name_and_one_beside_it_are_the_same() {
        let target = Target::parse("api:3", &caller()).unwrap();
        assert_eq!(target.clone().qualified("3"), Ok(target.clone()));
        assert!(target.clone().qualified("4").is_err());
        assert!(target.changeable().is_err());
        assert_eq!(
            Target::parse("api:$LATEST", &caller()).unwrap().changeable(),
            Ok(FunctionName::new("123456789012", "api"))
        );
    }
}
