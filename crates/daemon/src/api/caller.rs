//! Who asks: what the credentials of a request say.
//!
//! Clients of AWS sign their requests (Signature Version 4). Nothing here knows a secret, so signatures
//! are not checked: what is read is the credential that goes with one,
//! `KEY/DATE/REGION/SERVICE/aws4_request`. An access-key id of twelve digits is an account; any other
//! belongs to the account that a topology's VPCs have if they name none. A request without
//! credentials is of that account too, where the listener lets it in at all.

use std::sync::Arc;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use viaduct_topology::DEFAULT_ACCOUNT;

/// The region of a request that names none.
const DEFAULT_REGION: &str = "us-east-1";

/// Who asks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Twelve digits.
    pub(super) account: Arc<str>,
    /// Whatever the client is set to: there is one region, and it has every name.
    pub(super) region: Arc<str>,
    /// The service that the client means to speak to, if it says so.
    pub(super) service: Option<String>,
}

/// The header is there and holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Authorization header requires 'Credential' parameter: \
     Credential=KEY/DATE/REGION/SERVICE/aws4_request"
)]
pub(super) struct NoCredential;

impl Caller {
    /// Who sends a request with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, NoCredential> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            let (account, region) = (DEFAULT_ACCOUNT.into(), DEFAULT_REGION.into());
            return Ok(Self { account, region, service: None });
        };
        let value = value.to_str().ok().filter(|value| value.starts_with("AWS4-"));
        let (_, credential) =
            value.and_then(|it| it.split_once("Credential=")).ok_or(NoCredential)?;
        let credential = credential.split([',', ' ']).next().unwrap_or_default();
        // From the end: an access-key id may contain anything.
        let mut parts = credential.rsplitn(5, '/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(NoCredential);
        let (end, service, region, _date, key) = (part()?, part()?, part()?, part()?, part()?);
        // The region becomes a part of names.
        let in_names = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if end != "aws4_request" || region.len() > 32 || !region.chars().all(in_names) {
            return Err(NoCredential);
        }
        let account = if is_account(key) { key } else { DEFAULT_ACCOUNT };
        let service = Some(service.to_owned());
        Ok(Self { account: account.into(), region: region.into(), service })
    }
}

/// Whether this is the number of an account.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(authorization: &str) -> Result<Caller, NoCredential> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        Caller::of(&headers)
    }

    fn signed(credential: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=00"
        )
    }

    #[test]
    fn an_access_key_of_twelve_digits_is_an_account_and_any_other_is_the_default_one() {
        let found = caller(&signed("111122223333/20260101/eu-west-1/lambda/aws4_request")).unwrap();
        assert_eq!((&*found.account, &*found.region), ("111122223333", "eu-west-1"));
        assert_eq!(found.service.as_deref(), Some("lambda"));
        let found = caller(&signed("AKIA/a/b/20260101/x/ec2/aws4_request")).unwrap();
        assert_eq!((&*found.account, &*found.region), (DEFAULT_ACCOUNT, "x"));
        let found = Caller::of(&HeaderMap::new()).unwrap();
        assert_eq!((&*found.account, &*found.region), (DEFAULT_ACCOUNT, DEFAULT_REGION));
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
            assert_eq!(caller(&signed(credential)), Err(NoCredential), "{credential}");
        }
        assert_eq!(caller("Bearer token"), Err(NoCredential));
        assert_eq!(caller("AWS4-HMAC-SHA256 Signature=00"), Err(NoCredential));
    }
}
