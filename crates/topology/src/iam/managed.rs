//! Policies that AWS manages, by name.

use super::Policy;

/// Logging, which every function's role has.
const LOGS: [&str; 3] = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];

/// What Lambda needs to make and delete a function's ENIs (LAM-70).
const ENIS: [&str; 6] = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
];

/// The ARNs of managed policies begin so; some have the folder `service-role/` behind it.
const ARN: &str = "arn:aws:iam::aws:policy/";

impl Policy {
    /// The names of the managed policies that are known here.
    pub const MANAGED: [&'static str; 3] =
        ["AWSLambdaVPCAccessExecutionRole", "AWSLambdaBasicExecutionRole", "AdministratorAccess"];

    /// The managed policy of this name or ARN.
    #[must_use]
    pub fn managed(name: &str) -> Option<Self> {
        let bare = name.strip_prefix(ARN).unwrap_or(name);
        let bare = bare.strip_prefix("service-role/").unwrap_or(bare);
        let mut policy = match bare {
            "AWSLambdaVPCAccessExecutionRole" => Self::allowing(LOGS.into_iter().chain(ENIS)),
            "AWSLambdaBasicExecutionRole" => Self::allowing(LOGS),
            "AdministratorAccess" => Self::allowing(["*"]),
            _ => return None,
        };
        policy.id = Some(bare.to_owned());
        Some(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Facts: LAM-70
    #[test]
    fn lam_70_managed_policies_are_known_by_name_and_by_arn() {
        for name in Policy::MANAGED {
            let policy = Policy::managed(name).expect(name);
            assert_eq!(policy.id.as_deref(), Some(name));
            assert_eq!(Policy::managed(&format!("{ARN}{name}")), Some(policy.clone()));
            assert_eq!(Policy::managed(&format!("{ARN}service-role/{name}")), Some(policy));
        }
        assert_eq!(Policy::managed("AWSLambdaVPCAccess"), None);
    }
}
