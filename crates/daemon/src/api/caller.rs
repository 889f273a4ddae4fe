//! Who asks: what the credentials of a request say, and what follows from it.
//!
//! Clients of AWS sign their requests (Signature Version 4). Nothing here knows a secret, so signatures
//! are not checked: what is read is the credential that goes with one,
//! `KEY/DATE/REGION/SERVICE/aws4_request`. The access-key id is somebody that the topology names, or,
//! if it names nobody, anybody ([`Principals::find`]). Who sends a request without credentials is the
//! owner of the control socket, where the listener lets it in at all, and may do everything.

use std::sync::Arc;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use viaduct_control_plane::iam::{Context, Denied, Policy, Principal, Principals, authorize};
use viaduct_topology::model::DEFAULT_ACCOUNT;

/// The region of a request that names none.
const DEFAULT_REGION: &str = "us-east-1";

/// Who asks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    principal: Principal,
    /// Whatever the client is set to: there is one region, and it has every name.
    pub(super) region: Arc<str>,
    /// The service that the client means to speak to, if it says so.
    pub(super) service: Option<String>,
}

/// Why nobody knows who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialError {
    /// The header is there and holds no credential.
    #[error(
        "Authorization header requires 'Credential' parameter: \
         Credential=KEY/DATE/REGION/SERVICE/aws4_request"
    )]
    Unreadable,
    /// The topology names others.
    #[error(
        "The security token included in the request is invalid: its access key id is not among the \
         principals of the topology"
    )]
    Unknown,
}

impl Caller {
    /// Who sends a request with these headers.
    pub(super) fn of(
        headers: &HeaderMap,
        principals: &Principals,
    ) -> Result<Self, CredentialError> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            let everything = Policy::managed("AdministratorAccess").into_iter().collect();
            let principal = Principal::new(DEFAULT_ACCOUNT, "owner", everything);
            return Ok(Self { principal, region: DEFAULT_REGION.into(), service: None });
        };
        let unreadable = CredentialError::Unreadable;
        let value = value.to_str().ok().filter(|value| value.starts_with("AWS4-"));
        let (_, credential) =
            value.and_then(|it| it.split_once("Credential=")).ok_or(unreadable)?;
        let credential = credential.split([',', ' ']).next().unwrap_or_default();
        // From the end: an access-key id may contain anything.
        let mut parts = credential.rsplitn(5, '/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(unreadable);
        let (end, service, region, _date, key) = (part()?, part()?, part()?, part()?, part()?);
        // The region becomes a part of names.
        let in_names = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if end != "aws4_request" || region.len() > 32 || !region.chars().all(in_names) {
            return Err(unreadable);
        }
        let principal = principals.find(key).ok_or(CredentialError::Unknown)?.into_owned();
        Ok(Self { principal, region: region.into(), service: Some(service.to_owned()) })
    }

    /// The account in which they act: twelve digits.
    pub(super) fn account(&self) -> &Arc<str> {
        &self.principal.account
    }

    /// Their name that is unique everywhere.
    pub(super) fn arn(&self) -> String {
        self.principal.arn()
    }

    /// Whether their policies let them do this.
    pub(super) fn may(
        &self,
        action: &str,
        resource: &str,
        context: &Context,
    ) -> Result<(), Denied> {
        authorize(&self.principal, action, resource, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(authorization: &str) -> Result<Caller, CredentialError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        Caller::of(&headers, &Principals::default())
    }

    fn signed(credential: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=00"
        )
    }

    #[test]
    fn an_access_key_of_twelve_digits_is_an_account_and_any_other_is_the_default_one() {
        let found = caller(&signed("111122223333/20260101/eu-west-1/lambda/aws4_request")).unwrap();
        assert_eq!((&**found.account(), &*found.region), ("111122223333", "eu-west-1"));
        assert_eq!(found.service.as_deref(), Some("lambda"));
        let found = caller(&signed("AKIA/a/b/20260101/x/ec2/aws4_request")).unwrap();
        assert_eq!((&**found.account(), &*found.region), (DEFAULT_ACCOUNT, "x"));
        let found = Caller::of(&HeaderMap::new(), &Principals::default()).unwrap();
        assert_eq!((&**found.account(), &*found.region), (DEFAULT_ACCOUNT, DEFAULT_REGION));
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        for credential in [
            "",
            "AKIA",
            "AKIA/20260101/x/lambda/aws5_request",
            "/20260101/x/lambda/aws4_request",
            "AKIA/20260101//lambda/aws4_request",
            "AKIA/20260101/a:b/lambda/aws4_request",
        ] {
            let refused = caller(&signed(credential));
            assert_eq!(refused, Err(CredentialError::Unreadable), "{credential}");
        }
        assert_eq!(caller("Bearer token"), Err(CredentialError::Unreadable));
        assert_eq!(caller("AWS4-HMAC-SHA256 Signature=00"), Err(CredentialError::Unreadable));
    }
}
