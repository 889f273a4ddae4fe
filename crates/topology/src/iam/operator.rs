//! Operators of conditions: how a request's values are compared with a policy's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operator, such as `ForAnyValue:StringNotEqualsIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// What it asks of a key with several values.
    pub quantifier: Option<Quantifier>,
    /// How one value is compared.
    pub comparison: Comparison,
    /// Whether a request without the key satisfies it. Never of [`Comparison::Null`].
    pub if_exists: bool,
}

/// What an operator asks of a key with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantifier {
    /// Every value of the request compares; so it does if there is none (LAM-75).
    ForAllValues,
    /// At least one does.
    ForAnyValue,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// The same text.
    StringEquals,
    /// Another text.
    StringNotEquals,
    /// The same text, letters of either case being the same.
    StringEqualsIgnoreCase,
    /// Another text, letters of either case being the same.
    StringNotEqualsIgnoreCase,
    /// A text that a pattern with `*` and `?` matches.
    StringLike,
    /// One that it does not.
    StringNotLike,
    /// An ARN that a pattern matches part by part. IAM makes no difference between this and the next.
    ArnEquals,
    /// The same.
    ArnLike,
    /// One that it does not.
    ArnNotEquals,
    /// The same.
    ArnNotLike,
    /// `true` or `false`.
    Bool,
    /// Whether the request lacks the key: `true` if it does.
    Null,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::StringEquals,
        Self::StringNotEquals,
        Self::StringEqualsIgnoreCase,
        Self::StringNotEqualsIgnoreCase,
        Self::StringLike,
        Self::StringNotLike,
        Self::ArnEquals,
        Self::ArnLike,
        Self::ArnNotEquals,
        Self::ArnNotLike,
        Self::Bool,
        Self::Null,
    ];

    /// IAM's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StringEquals => "StringEquals",
            Self::StringNotEquals => "StringNotEquals",
            Self::StringEqualsIgnoreCase => "StringEqualsIgnoreCase",
            Self::StringNotEqualsIgnoreCase => "StringNotEqualsIgnoreCase",
            Self::StringLike => "StringLike",
            Self::StringNotLike => "StringNotLike",
            Self::ArnEquals => "ArnEquals",
            Self::ArnLike => "ArnLike",
            Self::ArnNotEquals => "ArnNotEquals",
            Self::ArnNotLike => "ArnNotLike",
            Self::Bool => "Bool",
            Self::Null => "Null",
        }
    }

    /// Whether it holds where none of its values compares.
    #[must_use]
    pub const fn is_negated(self) -> bool {
        matches!(
            self,
            Self::StringNotEquals
                | Self::StringNotEqualsIgnoreCase
                | Self::StringNotLike
                | Self::ArnNotEquals
                | Self::ArnNotLike
        )
    }

    /// Whether its values are `true` and `false`.
    #[must_use]
    pub const fn is_of_truth(self) -> bool {
        matches!(self, Self::Bool | Self::Null)
    }

    /// Whether its values are patterns of ARNs.
    #[must_use]
    pub const fn is_of_arns(self) -> bool {
        matches!(self, Self::ArnEquals | Self::ArnLike | Self::ArnNotEquals | Self::ArnNotLike)
    }
}

impl Quantifier {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ForAllValues, Self::ForAnyValue];

    /// IAM's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForAllValues => "ForAllValues",
            Self::ForAnyValue => "ForAnyValue",
        }
    }
}

impl Operator {
    /// The operator of this name, letter by letter; none if there is no such.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (quantifier, name) = match name.split_once(':') {
            None => (None, name),
            Some((word, name)) => {
                let known = Quantifier::ALL.into_iter().find(|it| it.name() == word);
                (Some(known?), name)
            }
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let comparison = Comparison::ALL.into_iter().find(|it| it.name() == name)?;
        // Whether a key exists is no question if it exists, nor one about each of its values.
        let plain = !if_exists && quantifier.is_none();
        (plain || comparison != Comparison::Null).then_some(Self {
            quantifier,
            comparison,
            if_exists,
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(quantifier) = self.quantifier {
            write!(f, "{}:", quantifier.name())?;
        }
        let if_exists = if self.if_exists { "IfExists" } else { "" };
        write!(f, "{}{if_exists}", self.comparison.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_read_as_it_is_written() {
        let mut count = 0;
        for comparison in Comparison::ALL {
            for quantifier in [None, Some(Quantifier::ForAllValues), Some(Quantifier::ForAnyValue)]
            {
                for if_exists in [false, true] {
                    let operator = Operator { quantifier, comparison, if_exists };
                    let plain = quantifier.is_none() && !if_exists;
                    let sense = comparison != Comparison::Null || plain;
                    let read = Operator::parse(&operator.to_string());
                    assert_eq!(read, sense.then_some(operator), "{operator}");
                    count += usize::from(sense);
                }
            }
        }
        assert_eq!(count, 11 * 6 + 1);
    }

    #[test]
    fn what_is_no_operator_is_none() {
        for name in [
            "",
            "stringequals",
            "StringEqual",
            "ForSomeValues:StringEquals",
            "NumericEquals",
            "IfExists",
        ] {
            assert_eq!(Operator::parse(name), None, "{name}");
        }
    }
}
