//! On loopback, before a daemon that is a socket in a test: what goes through, what does not, and what
//! becomes of who is slow, many or gone.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use viaduct_client::Client;

use super::{LambdaEndpoint, Limits};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=K/1/r/lambda/aws4_request\r\n";
const FUNCTION: &str = "/2015-03-31/functions/f";

/// A server on a thread of its own, and the socket of a daemon that there is not.
struct Endpoint {
    address: SocketAddr,
    daemon: UnixListener,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Endpoint {
    fn start(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let daemon = UnixListener::bind(&socket).unwrap();
        let (address, stop) = (mpsc::channel(), oneshot::channel());
        let thread = thread::spawn({
            let socket = socket.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let client = Client::connect(socket).await.unwrap();
                    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                    let endpoint = LambdaEndpoint::listen(client, any, limits).await.unwrap();
                    address.0.send(endpoint.address().unwrap()).unwrap();
                    tokio::select! {
                        () = endpoint.serve() => {}
                        _ = stop.1 => {}
                    }
                });
            }
        });
        let address = address.1.recv_timeout(LIMIT).unwrap();
        let (stop, thread) = (Some(stop.0), Some(thread));
        let endpoint = Self { address, daemon, socket, stop, thread, _directory: directory };
        // The client that looks whether a daemon is there.
        drop(endpoint.accept());
        endpoint
    }

    /// The next connection to the daemon.
    fn accept(&self) -> UnixStream {
        self.daemon.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.daemon.accept() {
                Ok((stream, _)) => {
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    return stream;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(Instant::now() < deadline, "nothing reaches the daemon");
                    thread::yield_now();
                }
            }
        }
    }

    /// Somebody who comes through an interface endpoint.
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The next request that reaches the daemon: its head, and what its answer is written to.
    fn passed_on(&self) -> (String, BufReader<UnixStream>) {
        let mut reader = BufReader::new(self.accept());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "the head ends: {head:?}");
        }
        (head, reader)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// All that somebody is answered, until the connection ends.
fn all(stream: TcpStream) -> String {
    let answer = until_its_end(stream);
    assert!(!answer.is_empty(), "no answer");
    String::from_utf8(answer).unwrap()
}

/// The same, where no answer is as good.
fn until_its_end(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // Who has said more than was read is told that the rest was not, after the answer.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    answer
}

#[test]
fn a_request_goes_through_and_its_answer_comes_back() {
    let endpoint = Endpoint::start(Limits::default());
    let mut stream = endpoint.send(&format!(
        "POST http://lambda.x.amazonaws.com{FUNCTION}/invocations?Qualifier=1 HTTP/1.1\r\nhost: y\r\n\
         {SIGNED}x-amz-log-type: Tail\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
         content-length: 7\r\n\r\npay"
    ));
    let (head, mut daemon) = endpoint.passed_on();
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], format!("POST {FUNCTION}/invocations?Qualifier=1 HTTP/1.1"));
    assert!(
        lines.contains(&SIGNED.trim_end()) && lines.contains(&"x-amz-log-type: Tail"),
        "{head}"
    );
    assert!(lines.contains(&"content-length: 7") && !head.contains("x-hop"), "{head}");
    // A body goes through as it comes.
    let mut body = [0; 3];
    daemon.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"pay");
    stream.write_all(b"load").unwrap();
    let mut body = [0; 4];
    daemon.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"load");
    let answer = "HTTP/1.1 200 OK\r\nx-amz-executed-version: 1\r\ncontent-length: 3\r\n\r\nout";
    daemon.get_mut().write_all(answer.as_bytes()).unwrap();
    let answer = all(stream);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nout"),
        "{answer}"
    );
    assert!(answer.contains("x-amz-executed-version: 1\r\n"), "{answer}");
}

#[test]
fn a_body_in_pieces_reaches_the_daemon_as_one_request() {
    let endpoint = Endpoint::start(Limits::default());
    // Both say where the body ends, and differ: whoever believed the length would see a second request.
    let _stream = endpoint.send(&format!(
        "POST {FUNCTION}/versions HTTP/1.1\r\nhost: y\r\n{SIGNED}content-length: 3\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /v1/status HTTP/1.1\r\n\r\n"
    ));
    let (head, mut daemon) = endpoint.passed_on();
    assert!(
        head.contains("transfer-encoding: chunked") && !head.contains("content-length"),
        "{head}"
    );
    let mut body = [0; 12];
    daemon.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"2\r\n{}\r\n0\r\n\r\n");
    daemon.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    let mut more = Vec::new();
    daemon.read_to_end(&mut more).unwrap();
    assert!(more.is_empty(), "{}", more.escape_ascii());
}

#[test]
fn what_is_refused_never_reaches_the_daemon() {
    let endpoint = Endpoint::start(Limits::default());
    let long = format!("x: {}\r\n", "y".repeat(70 << 10));
    let many = "x: y\r\n".repeat(200);
    for (request, status, words) in [
        (format!("GET /v1/status HTTP/1.1\r\n{SIGNED}"), 404, "UnknownOperationException"),
        (format!("POST / HTTP/1.1\r\n{SIGNED}"), 404, "no operation of Lambda's API"),
        (format!("CONNECT x:80 HTTP/1.1\r\n{SIGNED}"), 404, "UnknownOperationException"),
        (format!("GET {FUNCTION} HTTP/1.1\r\n"), 403, "MissingAuthenticationTokenException"),
        (format!("GET {FUNCTION} HTTP/1.1\r\n{SIGNED}{long}"), 431, ""),
        (format!("GET {FUNCTION} HTTP/1.1\r\n{SIGNED}{many}"), 431, ""),
        (format!("GET {FUNCTION} HTTP/1.1\r\n{SIGNED}content-length: x\r\n"), 400, ""),
        ("\u{1}\u{2}\r\n".to_owned(), 400, ""),
    ] {
        let answer = all(endpoint.send(&format!("{request}connection: close\r\n\r\n")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80}: {answer}");
        assert!(answer.contains(words), "{request:.80}: {answer}");
    }
    endpoint.daemon.set_nonblocking(true).unwrap();
    assert!(endpoint.daemon.accept().is_err(), "nothing was passed on");
}

#[test]
fn who_goes_away_is_gone_for_the_daemon_too() {
    let endpoint = Endpoint::start(Limits::default());
    let stream = endpoint.send(&format!("GET {FUNCTION} HTTP/1.1\r\nhost: y\r\n{SIGNED}\r\n"));
    let (_, mut daemon) = endpoint.passed_on();
    drop(stream);
    assert_eq!(daemon.read(&mut [0]).unwrap(), 0, "nobody waits for the answer");
}

#[test]
fn a_daemon_that_is_gone_is_lambdas_fault_and_one_that_is_back_answers() {
    let mut endpoint = Endpoint::start(Limits::default());
    std::fs::remove_file(&endpoint.socket).unwrap();
    let request =
        format!("GET {FUNCTION} HTTP/1.1\r\nhost: y\r\n{SIGNED}connection: close\r\n\r\n");
    let answer = all(endpoint.send(&request));
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("ServiceException"), "{answer}");
    assert!(!answer.contains("control.sock"), "{answer}");
    endpoint.daemon = UnixListener::bind(&endpoint.socket).unwrap();
    let stream = endpoint.send(&request);
    let (_, mut daemon) = endpoint.passed_on();
    daemon.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(all(stream).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    // Whoever is let in may say nothing for longer than the test waits.
    let endpoint = Endpoint::start(Limits { of_one: 2, head: 2 * LIMIT, ..Limits::default() });
    let request =
        format!("GET {FUNCTION} HTTP/1.1\r\nhost: y\r\n{SIGNED}connection: close\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push((endpoint.send(&request), endpoint.passed_on().1));
    }
    assert_eq!(until_its_end(endpoint.connect()), b"", "a third is closed at once");
    for (stream, mut daemon) in waiting {
        daemon.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(all(stream).starts_with("HTTP/1.1 200 OK"));
    }
}

#[test]
fn nobody_is_waited_for_who_does_not_go_on() {
    let soon = Duration::from_millis(20);
    let in_head = Limits { head: soon, ..Limits::default() };
    let in_body = Limits { open: soon, last: soon, ..Limits::default() };
    let body =
        format!("POST {FUNCTION}/code HTTP/1.1\r\nhost: y\r\n{SIGNED}content-length: 9\r\n\r\n{{");
    for (limits, begun) in [(in_head, ""), (in_head, "GET /2015-03-31/func"), (in_body, &body)] {
        let endpoint = Endpoint::start(limits);
        let answer = until_its_end(endpoint.send(begun));
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    }
}
