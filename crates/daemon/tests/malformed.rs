//! Requests that are none: random and mutated ones, slow, half, too long and too many, over the control
//! socket and over the port. They are answered as HTTP and Lambda do or hung up on, nothing changes, and
//! packets are forwarded meanwhile.

mod common;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use common::{
    DB, Daemon, Host, LIMIT,
    aws::{Answer, call, function, make_role, signed},
    permitted,
};
use viaduct_client::DropsQuery;
use viaduct_model::generate::Dice;
use viaduct_tun::Holder;

/// Connections to the port at the same time (docs/lambda-api.md).
const MOST: usize = 512;

/// Requests that are mutated.
const MUTATED: usize = 1500;

fn daemon() -> Daemon {
    let daemon = Daemon::start_with(|options| {
        options.lambda_api = Some("127.0.0.1:0".parse().unwrap());
    });
    make_role(&daemon);
    assert_eq!(call(&daemon, "POST", "", &function("f")).status, 201);
    daemon
}

/// Everything that commands change, as text.
fn state(daemon: &Daemon) -> String {
    let functions = daemon.ask(async |client| client.functions().await);
    let versions = daemon.ask(async |client| client.versions().await);
    let events = daemon.ask(async |client| client.events(DropsQuery::default()).await);
    format!("{functions:?}{versions:?}{events:?}")
}

/// A conversation between two hosts that goes on.
struct Conversation {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    drops: u64,
    _holder: Holder,
}

impl Conversation {
    fn begin(daemon: &Daemon) -> Self {
        let holder = Holder::start(&daemon.attach_socket).unwrap();
        let db = Host::attach(&holder, "instance/db");
        db.serve_echo(5432);
        let app = Host::attach(&holder, "function/api/1");
        let (mut echo, _) = app.connect(DB);
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut words = 0;
                while !over.load(Relaxed) {
                    echo.exchange(b'x');
                    words += 1;
                }
                words
            }
        });
        Self { over, thread, drops: daemon.newest_drop(), _holder: holder }
    }

    /// It has gone on, and nothing was lost.
    fn end(self, daemon: &Daemon) {
        self.over.store(true, Relaxed);
        let words = self.thread.join().expect("it came to a halt");
        assert!(words > 0);
        assert_eq!(daemon.newest_drop(), self.drops, "packets were dropped");
    }
}

/// A connection over either way in.
trait Connection: Read + Write {
    fn half_close(&self);
}

impl Connection for TcpStream {
    fn half_close(&self) {
        // It may be closed already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Connection for UnixStream {
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn to_the_port(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.lambda_api.unwrap()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn to_the_socket(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(&daemon.control_socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// All that comes until the end.
fn received(stream: &mut impl Read) -> Vec<u8> {
    let mut received = Vec::new();
    // Who did not read everything ends a connection this way.
    let _ = stream.read_to_end(&mut received);
    received
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request for a function, which is granted.
fn is_answered(daemon: &Daemon) {
    let headers = format!("connection: close\r\n{}", signed("AKIA", "lambda"));
    let mut stream = to_the_port(daemon);
    stream.write_all(&request("GET", "/2015-03-31/functions/f", &headers, "")).unwrap();
    let answer = String::from_utf8(received(&mut stream)).unwrap();
    assert_eq!(Answer::of(&answer).status, 200, "{answer}");
}

/// Requests that are read, or refused for more reasons than a mutation takes away.
fn seeds() -> Vec<Vec<u8>> {
    let (lambda, ec2) = (signed("AKIA", "lambda"), signed("AKIA", "ec2"));
    let functions = "/2015-03-31/functions";
    let refused = r#"{"FunctionName":"g h","Role":"arn:aws:iam::111122223333:role/none","Timeout":901,"Code":{"ZipFile":"?"},"VpcConfig":{"SubnetIds":["x"],"SecurityGroupIds":[]}}"#;
    let change = r#"{"RevisionId":"x","MemorySize":1,"Environment":{"Variables":{"1":"2"}},"VpcConfig":{"SubnetIds":["y"]}}"#;
    let publish = r#"{"RevisionId":"x","CodeSha256":"y","Description":[]}"#;
    let tags = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Ax%3A123456789012%3Afunction%3Anone";
    vec![
        request("POST", functions, &lambda, refused),
        request("PUT", &format!("{functions}/none/configuration"), &lambda, change),
        request("POST", &format!("{functions}/none/versions"), &lambda, publish),
        request("GET", &format!("{functions}/?FunctionVersion=ALL&MaxItems=1"), &lambda, ""),
        request("GET", &format!("{functions}/123456789012:function:f:$LATEST"), &lambda, ""),
        request("DELETE", &format!("{functions}/api"), &lambda, ""),
        request(
            "POST",
            &format!("{functions}/f/invocations"),
            &lambda,
            r#"{"a":[1,2,{"b":null}]}"#,
        ),
        request("POST", tags, &lambda, r#"{"Tags":{"a":"b"}}"#),
        request("DELETE", &format!("{tags}?tagKeys=a"), &lambda, ""),
        request(
            "POST",
            "/",
            &ec2,
            "Action=DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1=*",
        ),
        request("POST", "/", &ec2, "Action=DescribeNetworkInterfaces&MaxResults=5&NextToken=YQ"),
        request("GET", "/v1/connections?limit=1&attachment=function/api/1", "", ""),
        request("GET", "/v1/events?after=0&wait_ms=0", "", ""),
        request("POST", "/v1/faults/zone?zone=none&failed=maybe", "", ""),
        request(
            "POST",
            "/v1/apply?name=x&dry_run=true",
            "content-type: text/plain\r\n",
            "vpcs: []",
        ),
        request("POST", "/v1/invoke", "", r#"{"function":"none","payload":"?"}"#),
        request("POST", "/v1/invocations?id=7", "", r#"{"how":"timed_out"}"#),
    ]
}

/// Changes a few bytes, words or lengths of a request.
fn mutate(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff\xfe",
        b"%",
        b"%00",
        b"..",
        b"//",
        b"\"",
        b"[[[[",
        b"{}",
        b"18446744073709551616",
        b"-1",
        b"transfer-encoding: chunked\r\n",
        b"HTTP/2.0",
        b"null",
    ];
    for _ in 0..dice.between(1, 4) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.between(1, 12)).min(bytes.len());
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, dice.one(&WORDS).iter().copied())),
            3 => drop(bytes.splice(at..end, dice.one(&WORDS).iter().copied())),
            4 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    bytes
}

#[test]
fn random_and_mutated_requests_change_nothing() {
    if !permitted() {
        return;
    }
    let daemon = daemon();
    let conversation = Conversation::begin(&daemon);
    let before = state(&daemon);
    let (mut dice, seeds) = (Dice::new(7), seeds());
    for number in 0..MUTATED {
        let sent = match number % 8 {
            0 => (0..dice.below(400)).map(|_| dice.number() as u8).collect(),
            _ => mutate(seeds[dice.below(seeds.len())].clone(), &mut dice),
        };
        let mut stream: Box<dyn Connection> = match dice.percent(50) {
            true => Box::new(to_the_port(&daemon)),
            false => Box::new(to_the_socket(&daemon)),
        };
        // Who is refused early finds nobody to read the rest.
        let _ = stream.write_all(&sent);
        if dice.percent(20) {
            // Gone without a word.
            continue;
        }
        stream.half_close();
        let answer = received(&mut stream);
        let shown = || format!("{}\n{}", sent.escape_ascii(), answer.escape_ascii());
        let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        let status = status.and_then(|status| status.parse::<u16>().ok());
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", shown());
        let is_known = |status| status < 500 || shown().contains("no agent runs functions");
        assert!(status.is_none_or(is_known), "{}", shown());
        if number % 50 == 0 {
            assert_eq!(state(&daemon), before, "{}", shown());
        }
    }
    assert_eq!(state(&daemon), before);
    is_answered(&daemon);
    conversation.end(&daemon);
}

#[test]
fn who_waits_or_does_not_read_keeps_nobody_out() {
    if !permitted() {
        return;
    }
    let daemon = daemon();
    let conversation = Conversation::begin(&daemon);
    let before = state(&daemon);
    // Silent, in the middle of a head, and in the middle of a body: more than there are places.
    let head =
        format!("POST /2015-03-31/functions HTTP/1.1\r\nhost: x\r\n{}", signed("A", "lambda"));
    let body = format!("{head}content-length: 1000\r\n\r\n{{\"FunctionName\":");
    let waiting = |number: usize| {
        let mut stream = to_the_port(&daemon);
        // One in eight holds its place until its body's time is over.
        let part = match number % 8 {
            0 => &body,
            4 => "",
            _ => &head,
        };
        stream.write_all(part.as_bytes()).unwrap();
        stream
    };
    let mut waiting: Vec<TcpStream> = (0..MOST + MOST / 2).map(waiting).collect();
    is_answered(&daemon);
    assert_eq!(received(&mut waiting[4]), b"", "the oldest that was silent has made room");

    // Answers that nobody reads.
    let list = request("GET", "/2015-03-31/functions", &signed("A", "lambda"), "");
    let unread = [(); 4].map(|()| {
        let mut stream = to_the_port(&daemon);
        stream.set_nonblocking(true).unwrap();
        while stream.write_all(&list).is_ok() {}
        stream
    });
    is_answered(&daemon);
    drop(unread);

    // Whoever asks properly is answered, many at the same time too.
    drop(waiting);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| (0..8).for_each(|_| is_answered(&daemon)));
        }
    });
    assert_eq!(state(&daemon), before);
    conversation.end(&daemon);
}

#[test]
fn what_ends_in_the_middle_or_is_too_long_changes_nothing() {
    if !permitted() {
        return;
    }
    let daemon = daemon();
    let conversation = Conversation::begin(&daemon);
    let before = state(&daemon);
    let whole = request(
        "POST",
        "/2015-03-31/functions",
        &signed("AKIA", "lambda"),
        &function("g").to_string(),
    );
    for length in 0..whole.len() {
        let mut stream = to_the_port(&daemon);
        stream.write_all(&whole[..length]).unwrap();
        stream.half_close();
        let answer = received(&mut stream);
        let is_refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(is_refused, "{length}: {}", answer.escape_ascii());
    }
    assert_eq!(state(&daemon), before);

    let long = |headers: &str| {
        let mut stream = to_the_port(&daemon);
        let head = format!("GET /2015-03-31/functions HTTP/1.1\r\n{headers}\r\n");
        let _ = stream.write_all(head.as_bytes());
        stream.half_close();
        let answer = received(&mut stream);
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
    };
    long(&format!("host: {}\r\n", "x".repeat(16 << 10)));
    long(&"a: b\r\n".repeat(101));
    assert_eq!(state(&daemon), before);
    is_answered(&daemon);
    conversation.end(&daemon);
}
