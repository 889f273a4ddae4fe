//! Policies, as IAM's JSON has them: who may do what, and on which condition.
//!
//! This is the document as data; what is written where, and what is wrong with it, is its reader's
//! affair, and what follows from it is decided in the control plane. Everything in it is understood:
//! whoever makes one has refused what viaduct cannot judge (policy variables, operators on numbers,
//! dates and addresses), because a condition that is ignored is a door that nobody sees open.

mod managed;
mod operator;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::operator::{Comparison, Operator, Quantifier};

/// The condition key of the VPC of a function that is to be made or changed (LAM-72); one at most.
pub const VPC_IDS: &str = "lambda:VpcIds";

/// The condition key of its subnets.
pub const SUBNET_IDS: &str = "lambda:SubnetIds";

/// The condition key of its groups.
pub const SECURITY_GROUP_IDS: &str = "lambda:SecurityGroupIds";

/// The condition key of the function whose code makes a request of its own, which none here has: a
/// role that denies its code what Lambda may do with it uses it (LAM-77).
pub const SOURCE_FUNCTION_ARN: &str = "lambda:SourceFunctionArn";

/// The condition key of the service to which `iam:PassRole` gives a role.
pub const PASSED_TO_SERVICE: &str = "iam:PassedToService";

/// A policy of a role or of somebody who calls the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `Id`, or the name of a policy that AWS manages.
    pub id: Option<String>,
    /// Its statements, in their order; never empty.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// `Sid`
    pub sid: Option<String>,
    /// What it says about what it matches.
    pub effect: Effect,
    /// `Action` or `NotAction`: patterns such as `ec2:Describe*`.
    pub actions: Patterns,
    /// `Resource` or `NotResource`: patterns of ARNs, or `*`.
    pub resources: Patterns,
    /// `Condition`: all of them hold where it matches.
    pub conditions: Vec<Condition>,
}

/// What a statement says about what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It is allowed, unless something denies it.
    Allow,
    /// It is denied, whatever allows it.
    Deny,
}

impl Effect {
    /// The word for it in a policy.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// Patterns of which one must match, or none may. In them `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patterns {
    /// One of these.
    Any(Vec<String>),
    /// None of these: `NotAction`, `NotResource`.
    Not(Vec<String>),
}

/// One key of a `Condition` under one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// How the values are compared.
    pub operator: Operator,
    /// What of the request, such as `lambda:VpcIds`. Letters of either case are the same.
    pub key: String,
    /// With what; one of them suffices, and of a negated operator none may. Never empty.
    pub values: Vec<String>,
}

impl Policy {
    /// A policy with one statement that allows these actions on everything.
    pub fn allowing<'a>(actions: impl IntoIterator<Item = &'a str>) -> Self {
        let statement = Statement {
            sid: None,
            effect: Effect::Allow,
            actions: Patterns::Any(actions.into_iter().map(str::to_owned).collect()),
            resources: Patterns::Any(vec!["*".to_owned()]),
            conditions: Vec::new(),
        };
        Self { id: None, statements: vec![statement] }
    }
}

/// On one line, much as it is written in JSON: to compare policies by, and for people.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.id {
            write!(f, "{id}: ")?;
        }
        for (number, statement) in self.statements.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{statement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sid, effect, actions, resources, conditions } = self;
        if let Some(sid) = sid {
            write!(f, "{sid}: ")?;
        }
        write!(f, "{} {actions} on {resources}", effect.word())?;
        for (number, condition) in conditions.iter().enumerate() {
            let word = if number == 0 { "if" } else { "and" };
            write!(f, " {word} {condition}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(patterns) => f.write_str(&patterns.join(", ")),
            Self::Not(patterns) => write!(f, "all but {}", patterns.join(", ")),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, key, values } = self;
        write!(f, "{key} {operator} [{}]", values.join(", "))
    }
}
