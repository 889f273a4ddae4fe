//! Proof that a helper may attach a host.

use std::{fmt, hint::black_box};

use serde::{Deserialize, Serialize};

/// A secret that entitles to attach a host, where the socket does not. It is never shown, whatever it is
/// a part of.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The secret's length, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no secret at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Token {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl PartialEq for Token {
    /// Takes as long for a token that is nearly right as for one that is all wrong. Only its length can
    /// be measured.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.bytes().zip(other.0.bytes());
        // Opaque, so that the compiler does not stop where the answer is clear.
        let differing =
            pairs.fold(0, |differing, (one, other)| black_box(differing | (one ^ other)));
        self.0.len() == other.0.len() && differing == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_equal_and_none_is_shown() {
        let token = |secret: &str| Token::from(secret.to_owned());
        assert_eq!(token("secret"), token("secret"));
        for other in ["", "secre", "secrets", "Secret", "secreT"] {
            assert_ne!(token("secret"), token(other));
        }
        assert_eq!(format!("{:?}", Some(token("secret"))), "Some(Token(…))");
    }
}
