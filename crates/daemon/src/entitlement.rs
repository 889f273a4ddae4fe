//! Who may attach what.
//!
//! What a peer says of itself counts for nothing, and what the kernel says of it means nothing between
//! containers. So a socket is an identity, and so is a token:
//!
//! | over | may be attached |
//! |---|---|
//! | the socket in the runtime directory | every host; with [`Options::attach_tokens`](crate::Options), those that the token of the request names |
//! | a socket of [`Options::attach_sockets`](crate::Options) | the hosts that it was made for |
//!
//! The same holds for the question how a host is to be set up. To withdraw an attachment takes the
//! connection that has made it.

use std::{fs, os::unix::fs::MetadataExt, path::Path, path::PathBuf, str::FromStr};

use viaduct_tun::handover::{RefusalReason, Token};

use crate::{error::Error, refusal::Refusal};

/// The shortest token, in bytes: 96 bits in base64, 64 in hexadecimal digits.
const SHORTEST_TOKEN: usize = 16;

/// A host, and what is below it: `function/api` is all environments and versions of a function,
/// `blue` all hosts of a VPC of that name, `*` every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

/// That a text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host, such as function/api or instance/db, nor `*` for all of them")]
pub struct NotAHost;

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let odd = |byte: char| byte.is_whitespace() || byte.is_control() || byte == '*';
        let named = !text.is_empty() && !text.ends_with(['/', ':']) && !text.contains(odd);
        match named || text == "*" {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAHost),
        }
    }
}

impl HostPattern {
    fn covers(&self, name: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with(['/', ':']);
        self.0 == "*" || name.strip_prefix(&self.0).is_some_and(below)
    }
}

/// A socket over which these hosts may be attached, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachSocket {
    /// The hosts. Sockets of one path are one socket, for the hosts of each.
    pub hosts: HostPattern,
    /// Where it is. Its directory must be there.
    pub path: PathBuf,
}

impl FromStr for AttachSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "such as function/api=/run/api/attach.sock";
        let (hosts, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| format!("not a host and a path with `=` between them, {example}"))?;
        let hosts = hosts.parse().map_err(|error: NotAHost| format!("`{hosts}`: {error}"))?;
        Ok(Self { hosts, path: path.into() })
    }
}

/// What may be attached over a socket.
#[derive(Debug)]
pub(crate) enum Entitlement {
    /// Every host.
    All,
    /// These.
    Hosts(Vec<HostPattern>),
    /// Those that a token entitles to.
    Tokens(Tokens),
}

impl Entitlement {
    /// Whether this host may be attached by whoever has this token.
    pub(crate) fn check(&self, name: &str, token: Option<&Token>) -> Result<(), Refusal> {
        let message = match (self, token) {
            (Self::All, _) => return Ok(()),
            (Self::Hosts(hosts), _) => {
                if hosts.iter().any(|hosts| hosts.covers(name)) {
                    return Ok(());
                }
                let hosts: Vec<_> = hosts.iter().map(|hosts| format!("`{}`", hosts.0)).collect();
                format!(
                    "`{name}` is not attached over this socket, which is for {}",
                    hosts.join(", ")
                )
            }
            (Self::Tokens(_), None) => {
                format!("`{name}` is attached with a token (VIADUCT_TOKEN), and there is none")
            }
            (Self::Tokens(tokens), Some(token)) => {
                if tokens.entitle(token, name) {
                    return Ok(());
                }
                format!("`{name}`: this token does not entitle to it")
            }
        };
        Err(Refusal::new(RefusalReason::NotAllowed, message))
    }
}

/// Tokens, and what each entitles to.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<(Token, Vec<HostPattern>)>);

impl Tokens {
    /// Reads a file of tokens: in each line one, and hosts behind it. A `#` begins a comment.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { what: "read", path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        if fs::metadata(path).map_err(failed)?.mode() & 0o004 != 0 {
            tracing::warn!(path = %path.display(), "every user can read the tokens");
        }
        Self::parse(&text).map_err(|(line, what)| Error::Tokens {
            path: path.to_owned(),
            line,
            what,
        })
    }

    /// The error is a line's number, and what is wrong there: never the token.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut tokens = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(token) = words.next().map(|token| Token::from(token.to_owned())) else {
                continue;
            };
            if token.len() < SHORTEST_TOKEN {
                let what = format!("a token has {SHORTEST_TOKEN} bytes or more");
                return Err((number, what));
            }
            let hosts: Result<Vec<HostPattern>, _> = words.map(str::parse).collect();
            let hosts = hosts.map_err(|error| (number, error.to_string()))?;
            if hosts.is_empty() {
                return Err((number, "no hosts behind the token".to_owned()));
            }
            tokens.push((token, hosts));
        }
        match tokens.is_empty() {
            true => Err((1, "there is no token in it".to_owned())),
            false => Ok(Self(tokens)),
        }
    }

    /// Compares with every token, so that the time tells nothing of which was nearly right.
    fn entitle(&self, token: &Token, name: &str) -> bool {
        self.0.iter().fold(false, |entitled, (known, hosts)| {
            let equal = known == token;
            entitled | (equal && hosts.iter().any(|hosts| hosts.covers(name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    fn token(text: &str) -> Token {
        text.to_owned().into()
    }

    #[test]
    fn a_pattern_covers_a_host_and_what_is_below_it() {
        for (text, covered, others) in [
            (
                "function/api",
                &["function/api", "function/api/1", "function/api:3", "function/api:3/1"][..],
                &["function/apis/1", "function", "function/web/1", "1/function/api", ""][..],
            ),
            ("function/api/1", &["function/api/1"], &["function/api", "function/api/10"]),
            ("blue", &["blue/instance/db"], &["blues/instance/db", "instance/blue"]),
            ("*", &["instance/db", "blue/instance/db"], &[]),
        ] {
            for name in covered {
                assert!(pattern(text).covers(name), "{text} {name}");
            }
            for name in others {
                assert!(!pattern(text).covers(name), "{text} {name}");
            }
        }
        for text in ["", "function/", "function/*", "a b", "a\n", "**", "function/api:"] {
            assert_eq!(text.parse::<HostPattern>(), Err(NotAHost), "{text:?}");
        }
    }

    #[test]
    fn a_socket_is_a_host_and_a_path() {
        let socket: AttachSocket = "function/api=/run/a=b.sock".parse().unwrap();
        assert_eq!(socket.hosts, pattern("function/api"));
        assert_eq!(socket.path, Path::new("/run/a=b.sock"));
        for text in ["function/api", "function/api=", "=/run/x", "a b=/run/x"] {
            let error = text.parse::<AttachSocket>().unwrap_err();
            assert!(error.contains("function/api"), "{error}");
        }
    }

    #[test]
    fn a_socket_is_for_its_own_hosts() {
        let entitlement = Entitlement::Hosts(vec![pattern("function/api"), pattern("instance/db")]);
        entitlement.check("function/api/2", None).unwrap();
        entitlement.check("instance/db", None).unwrap();
        let refusal = entitlement.check("instance/other", None).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::NotAllowed);
        assert_eq!(
            refusal.message,
            "`instance/other` is not attached over this socket, which is for `function/api`, \
             `instance/db`"
        );
    }

    #[test]
    fn a_token_is_for_its_own_hosts() {
        let text = "
            # Of the ones that call
            0123456789abcdef function/api function/web   # both
            fedcba9876543210 instance/db
        ";
        let entitlement = Entitlement::Tokens(Tokens::parse(text).unwrap());
        let check = |name, secret: Option<&str>| {
            entitlement.check(name, secret.map(token).as_ref()).map_err(|refusal| refusal.message)
        };
        check("function/web/3", Some("0123456789abcdef")).unwrap();
        check("instance/db", Some("fedcba9876543210")).unwrap();
        for secret in ["0123456789abcdef", "fedcba987654321", "fedcba98765432100", ""] {
            let message = check("instance/db", Some(secret)).unwrap_err();
            assert_eq!(message, "`instance/db`: this token does not entitle to it");
        }
        assert!(check("instance/db", None).unwrap_err().contains("VIADUCT_TOKEN"));
        assert!(!format!("{entitlement:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_file_of_tokens_says_which_line_is_wrong_and_no_token() {
        for (text, line, what) in [
            ("\nshort instance/db", 2, "16 bytes"),
            ("0123456789abcdef", 1, "no hosts"),
            ("0123456789abcdef instance/", 1, "not a host"),
            ("# nothing\n", 1, "no token"),
        ] {
            let (found, message) = Tokens::parse(text).unwrap_err();
            assert_eq!(found, line, "{text:?}");
            assert!(message.contains(what) && !message.contains("abcdef"), "{message}");
        }
    }
}
