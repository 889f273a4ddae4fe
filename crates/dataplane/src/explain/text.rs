//! Explanations as people read them: plain text; colour is the terminal's business.

use std::fmt;

use super::{Blocker, Component, Explanation, Hop, Verdict, Way};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "request",
            Self::Return => "reply",
        })
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Function => "function",
            Self::Instance => "instance",
            Self::Internet => "internet",
            Self::NetworkInterface => "interface",
            Self::SecurityGroup => "security group",
            Self::NetworkAcl => "network ACL",
            Self::RouteTable => "route table",
            Self::NatGateway => "NAT gateway",
            Self::InternetGateway => "internet gateway",
            Self::VpcPeeringConnection => "peering connection",
            Self::VpcEndpoint => "endpoint",
            Self::Service => "service",
            Self::Vpc => "VPC",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} to {} {}: {}", self.from, self.to, self.traffic, self.verdict)?;
        for (way, hops) in [(Way::Forward, &self.forward), (Way::Return, &self.back)] {
            if !hops.is_empty() {
                writeln!(f, "\n{way}")?;
                table(f, hops)?;
            }
        }
        for (index, blocker) in self.blockers.iter().enumerate() {
            let lead = if index == 0 { "\nrefused:" } else { "also:   " };
            let Blocker { direction, reason, hop, name, .. } = blocker;
            writeln!(f, "{lead} {reason} at hop {hop} of the {direction}, {name}")?;
            if let Some(rule) = &blocker.rule {
                writeln!(f, "         {rule}")?;
            }
            writeln!(f, "         {}", reason.text())?;
        }
        Ok(())
    }
}

/// The hops in columns; what a hop changes is shown below it.
fn table(f: &mut fmt::Formatter<'_>, hops: &[Hop]) -> fmt::Result {
    let width = |text: fn(&Hop) -> String| {
        hops.iter().map(|hop| text(hop).chars().count()).max().unwrap_or(0)
    };
    let what = |hop: &Hop| match hop.component {
        Component::NetworkInterface | Component::Vpc => format!("{} {}", hop.component, hop.name),
        // Other names already say what they are: `main/network_acl/data`.
        _ => hop.name.clone(),
    };
    let name_width = width(what);
    let check_width = width(|hop| hop.check.clone());
    if let Some(first) = hops.first() {
        writeln!(f, "       {}", first.before)?;
    }
    for (hop, number) in hops.iter().zip(1..) {
        let mark = match hop.verdict {
            Verdict::Allow => "ok",
            Verdict::Deny => "NO",
        };
        let line = format!(
            "{number:>3} {mark} {:<name_width$}  {:<check_width$}  {}",
            what(hop),
            hop.check,
            hop.rule.as_deref().unwrap_or_default(),
        );
        writeln!(f, "{}", line.trim_end())?;
        if hop.before != hop.after {
            writeln!(f, "       {}", hop.after)?;
        }
    }
    Ok(())
}
