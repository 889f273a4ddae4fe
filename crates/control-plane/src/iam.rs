//! Who may do what: policies judged as IAM judges them.
//!
//! # Theory of operation
//!
//! A request is an action, a resource and a [`Context`]: what conditions can ask of it. A statement
//! matches if its actions, its resources and all of its conditions do. A statement that denies wins
//! over all others, else one that allows suffices, else nothing allows the request and it is denied;
//! [`decide`] says which, and names the statement. Nothing is remembered between requests.
//!
//! | compared | how |
//! |---|---|
//! | actions | `*` and `?`, letters of either case the same |
//! | resources | part by part between colons, `*` and `?` within a part; the sixth part is the rest |
//! | condition keys | letters of either case the same |
//! | several keys, several operators | all of them hold |
//! | several values of a policy | one of them compares; none, if the operator is negated |
//! | a key that the request lacks | false; true of a negated operator, of `…IfExists` and of `ForAllValues:` (LAM-75) |
//! | a key with several values | `ForAllValues:` each, `ForAnyValue:` one; without either one, and none if the operator is negated |
//!
//! Two sides ask: Lambda, with the rights of a function's execution role, when it makes and deletes
//! ENIs (LAM-70); and whoever calls the API ([`authorize`]). The condition keys about VPCs are part
//! of a request to create a function or to change its configuration, and of no other (LAM-72):
//!
//! ```
//! use viaduct_control_plane::iam::{Context, Policy, Principal, VPC_IDS, authorize};
//!
//! let policies = vec![Policy::allowing(["lambda:Get*", "lambda:CreateFunction"])];
//! let principal = Principal::new("123456789012", "AKIAEXAMPLE", policies);
//! let resource = "arn:aws:lambda:us-east-1:123456789012:function:api";
//! // The daemon takes it from `Lifecycle::context_of_creation`.
//! let context = Context::default().with(VPC_IDS, ["vpc-1"]);
//! assert!(authorize(&principal, "lambda:CreateFunction", resource, &context).is_ok());
//!
//! let denied = authorize(&principal, "lambda:DeleteFunction", resource, &Context::default());
//! assert_eq!(
//!     denied.unwrap_err().to_string(),
//!     "User: arn:aws:iam::123456789012:user/AKIAEXAMPLE is not authorized to perform: \
//!      lambda:DeleteFunction on resource: arn:aws:lambda:us-east-1:123456789012:function:api \
//!      because no identity-based policy allows the lambda:DeleteFunction action"
//! );
//! ```

mod condition;
mod context;
mod decision;
mod pattern;
mod principal;

pub use viaduct_topology::iam::{
    Comparison, Condition, Effect, Operator, PASSED_TO_SERVICE, Patterns, Policy, Quantifier,
    SECURITY_GROUP_IDS, SUBNET_IDS, Statement, VPC_IDS,
};

pub use self::{
    context::Context,
    decision::{Deciding, Decision, decide},
    principal::{Denied, Principal, Principals, authorize},
};
