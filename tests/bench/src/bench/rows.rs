//! The rows: what is done, over which MTU, through which beds, and what must be reached.

use viaduct_bench::{Direction, Work};

use crate::{
    beds::Kind,
    error::Error,
    figure::{Figure, Goal},
};

/// MTU of a VPC.
const VPC: u32 = 9001;
/// MTU of the internet.
const INTERNET: u32 = 1500;
/// What slirp4netns and pasta have, which is why they are compared at it. Others go as far as they do.
const LARGEST: u32 = 65520;

/// One kind of work at one MTU.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) work: Work,
    pub(crate) mtu: u32,
    pub(crate) beds: Vec<Kind>,
    pub(crate) goals: Vec<Goal>,
}

/// All rows, in the order of the table.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for mtu in [VPC, INTERNET, LARGEST] {
        for streams in [1, 4, 16] {
            rows.push(streams_row(streams, Direction::Up, mtu));
            rows.push(streams_row(streams, Direction::Down, mtu));
        }
    }
    for bytes in [64, 1400] {
        let mut goals = vec![as_fixed_nat(Figure::Delivered)];
        if bytes == 64 {
            goals.insert(0, as_nftables(Figure::Delivered, 1.3, 1.8));
        }
        rows.push(Row {
            name: format!("udp-{bytes}"),
            title: format!("UDP, {bytes} bytes"),
            work: Work::Datagrams { bytes, rate: None },
            mtu: VPC,
            beds: Kind::ALL.to_vec(),
            goals,
        });
    }
    rows.push(Row {
        name: "uso-1400".to_owned(),
        title: "UDP in segments of 1,400 bytes".to_owned(),
        work: Work::Segments { bytes: 1400 },
        mtu: VPC,
        beds: Kind::ALL.to_vec(),
        goals: vec![as_nftables(Figure::Rate, 0.55, 0.8), as_fixed_nat(Figure::Rate)],
    });
    for clients in [1, 16] {
        rows.push(Row {
            name: format!("rr-{clients}"),
            title: format!("request and response, {}", count(clients, "client")),
            work: Work::Exchanges { clients },
            mtu: VPC,
            beds: Kind::ALL.to_vec(),
            goals: if clients == 1 { vec![as_nftables(Figure::P50, 1.0, 0.9)] } else { vec![] },
        });
    }
    for clients in [1, 16, 256] {
        rows.push(Row {
            name: format!("crr-{clients}"),
            title: format!("connect, request, close, {}", count(clients, "client")),
            work: Work::Connections { clients },
            mtu: VPC,
            beds: Kind::ALL.to_vec(),
            goals: if clients == 16 {
                vec![as_nftables(Figure::Requests, 1.1, 1.25)]
            } else {
                vec![]
            },
        });
    }
    rows
}

fn streams_row(streams: u16, direction: Direction, mtu: u32) -> Row {
    let (word, arrow) = match direction {
        Direction::Up => ("up", "to the server"),
        Direction::Down => ("down", "from the server"),
    };
    let against = |against, must, stretch| Goal { figure: Figure::Rate, against, must, stretch };
    let users =
        |must, stretch| [Kind::Pasta, Kind::Slirp4netns].map(|kind| against(kind, must, stretch));
    let mut goals = Vec::new();
    if mtu != LARGEST {
        let (must, stretch) = match streams {
            1 => (0.80, 0.95),
            4 => (0.60, 0.75),
            _ => (0.95, 1.1),
        };
        goals.push(as_nftables(Figure::Rate, must, stretch));
        goals.push(as_fixed_nat(Figure::Rate));
    }
    match mtu {
        INTERNET => goals.extend(users(2.0, 4.0)),
        LARGEST => goals.extend(users(1.3, 2.0)),
        _ => {}
    }
    let beds = Kind::ALL.into_iter().filter(|kind| match kind {
        Kind::Slirp4netns | Kind::Pasta => mtu != VPC,
        Kind::FixedNat | Kind::Veth => mtu != LARGEST,
        _ => true,
    });
    Row {
        name: format!("tcp-{streams}-{word}-{mtu}"),
        title: format!("TCP, {} {arrow}, MTU {mtu}", count(streams, "stream")),
        work: Work::Streams { streams, direction },
        mtu,
        beds: beds.collect(),
        goals,
    }
}

fn as_nftables(figure: Figure, must: f64, stretch: f64) -> Goal {
    Goal { figure, against: Kind::Nftables, must, stretch }
}

/// Every TCP and UDP row: deciding may cost hardly more than not deciding.
fn as_fixed_nat(figure: Figure) -> Goal {
    Goal { figure, against: Kind::FixedNat, must: 0.95, stretch: 1.0 }
}

fn count(number: u16, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Those whose names match one of the patterns, which commas part; `*` stands for anything.
pub(crate) fn matching<'n>(
    patterns: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Result<Vec<&'n str>, Error> {
    let patterns: Vec<&str> = patterns.split(',').map(str::trim).collect();
    for pattern in &patterns {
        if !names.clone().any(|name| matches(pattern, name)) {
            let known: Vec<&str> = names.collect();
            return Err(Error::NoSuch {
                what: "row",
                name: (*pattern).to_owned(),
                known: known.join(", "),
            });
        }
    }
    Ok(names.filter(|name| patterns.iter().any(|pattern| matches(pattern, name))).collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(place) = left.find(part) else { return false };
        left = &left[place + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_its_goals_are_about_its_beds() {
        let rows = all();
        let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
        for row in &rows {
            assert!(row.beds.contains(&Kind::Viaduct) && row.beds.contains(&Kind::Nftables));
            for goal in &row.goals {
                assert!(row.beds.contains(&goal.against), "{}: {goal:?}", row.name);
                assert_eq!(goal.stretch > goal.must, goal.figure.more_is_better(), "{goal:?}");
            }
        }
    }

    #[test]
    fn patterns_select_rows() {
        let names = ["rr-1", "rr-16", "crr-1", "tcp-1-up-9001"];
        let select = |patterns| matching(patterns, names.into_iter()).unwrap();
        assert_eq!(select("rr-1"), ["rr-1"]);
        assert_eq!(select("rr-*"), ["rr-1", "rr-16"]);
        assert_eq!(select("*rr-1, tcp*"), ["rr-1", "crr-1", "tcp-1-up-9001"]);
        assert_eq!(select("tcp-*-up-*"), ["tcp-1-up-9001"]);
        assert_eq!(select("*"), names);
        let error = matching("rr-1,quic", names.into_iter()).unwrap_err().to_string();
        assert!(error.contains("`quic`") && error.contains("rr-16"), "{error}");
    }
}
