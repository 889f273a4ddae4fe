//! A daemon in this process, with real devices in unnamed namespaces, which leave nothing behind
//! however a test ends.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod aws;
pub(crate) mod functions;

use std::{
    collections::BTreeMap,
    future::Future,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::oneshot;
use viaduct_client::{
    Attachment as Listed, AttachmentState, Client, ClientError, DropEvent, DropsQuery,
};
use viaduct_daemon::{Error, Options};
use viaduct_tun::{Attachment, Holder, Namespace, netns};

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A function with two environments, two instances, a host of the internet.
pub(crate) const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
    route_tables:
      main:   { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, public_ips: [203.0.113.10] }
    security_groups:
      fn: { egress:  [ { protocol: tcp, ports: 1-9999, to: 0.0.0.0/0 } ] }
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/fn } ] }
    instances:
      db:    { subnet: private, private_ip: 10.0.1.10, security_groups: [db] }
      other: { subnet: private, private_ip: 10.0.1.11, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/fn], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

/// The address of the function's ENI: the lowest that is free (ADR-01).
pub(crate) const FUNCTION_ENI: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 4));
/// The database.
pub(crate) const DB: &str = "10.0.1.10:5432";
/// The web host.
pub(crate) const WEB: &str = "198.51.100.7:80";

/// Whether this machine lets us make namespaces and devices; says so if not.
pub(crate) fn permitted() -> bool {
    let permitted = netns::create_unnamed().map(drop);
    if let Err(error) = &permitted {
        assert!(!rustix::process::geteuid().is_root(), "root cannot create a namespace: {error}");
        println!("skipped: {error}");
        return false;
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: there is no /dev/net/tun");
        return false;
    }
    true
}

/// A daemon on a thread of this process.
pub(crate) struct Daemon {
    pub(crate) options: Options,
    pub(crate) attach_socket: PathBuf,
    pub(crate) control_socket: PathBuf,
    /// Where it answers AWS's APIs over TCP.
    pub(crate) lambda_api: Option<SocketAddr>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    // Removed after the daemon has ended.
    directory: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(set: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let topology = directory.path().join("topology.yaml");
        std::fs::write(&topology, TOPOLOGY).unwrap();
        let mut options = Options::new(topology);
        options.runtime_dir = directory.path().join("run");
        options.workers = Some(2.try_into().unwrap());
        set(&mut options);
        let (lambda_api, shutdown, thread) = run(&options);
        Self {
            lambda_api,
            attach_socket: options.runtime_dir.join("attach.sock"),
            control_socket: options.runtime_dir.join("control.sock"),
            options,
            shutdown: Some(shutdown),
            thread: Some(thread),
            directory,
        }
    }

    /// Ends the daemon as a signal would, and returns what it ended with.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        drop(self.shutdown.take());
        self.thread.take().expect("stopped once").join().expect("the daemon panicked")
    }

    /// Starts it again, as its successor would be.
    pub(crate) fn start_again(&mut self) {
        let (lambda_api, shutdown, thread) = run(&self.options);
        self.lambda_api = lambda_api;
        (self.shutdown, self.thread) = (Some(shutdown), Some(thread));
    }

    /// Asks a question of the control socket.
    pub(crate) fn ask<T, Answer>(&self, question: impl FnOnce(Client) -> Answer) -> T
    where
        Answer: Future<Output = Result<T, ClientError>>,
    {
        self.try_ask(question).unwrap()
    }

    pub(crate) fn try_ask<T, Answer>(
        &self,
        question: impl FnOnce(Client) -> Answer,
    ) -> Result<T, ClientError>
    where
        Answer: Future<Output = Result<T, ClientError>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { question(Client::connect(&self.control_socket).await?).await })
    }

    /// Calls Lambda's API: the status, and the answer's body.
    pub(crate) fn lambda(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) =
            self.request(method, &format!("/2015-03-31/functions{path}"), &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Has a role made that permits what ENIs need; its ARN.
    pub(crate) fn role(&self) -> &'static str {
        for form in [
            "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
            "Action=AttachRolePolicy&RoleName=vpc&PolicyArn=\
             arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
        ] {
            let (status, answer) = self.request("POST", "/", &format!("Version=2010-05-08&{form}"));
            assert!([200, 409].contains(&status), "{answer}");
        }
        "arn:aws:iam::123456789012:role/vpc"
    }

    /// Sends a request to the control socket: the status, and the answer's body.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.control_socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        // Whoever is answered early may find nobody to read the rest.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The hosts that there can be, by name.
    pub(crate) fn attachments(&self) -> BTreeMap<String, Listed> {
        let attachments = self.ask(async |client| client.attachments().await);
        attachments.into_iter().map(|host| (host.name.clone(), host)).collect()
    }

    /// Waits until an attachment is in this state.
    pub(crate) fn until(&self, name: &str, state: AttachmentState) {
        eventually(&format!("{name} is {state:?}"), || {
            let attachments = self.ask(async |client| client.attachments().await);
            attachments.iter().any(|host| host.name == name && host.state == state)
        });
    }

    /// The first drop after a sequence number that `wanted` chooses.
    pub(crate) fn drop_after(
        &self,
        mut after: u64,
        wanted: impl Fn(&DropEvent) -> bool,
    ) -> DropEvent {
        let deadline = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            let query = DropsQuery { after, wait_ms: 5_000 };
            let drops = self.ask(async |client| client.drops(query).await);
            after = drops.next;
            for event in drops.events {
                if wanted(&event) {
                    return event;
                }
                seen.push(event);
            }
        }
        panic!("no such drop; seen: {seen:#?}");
    }

    /// The number of the newest drop.
    pub(crate) fn newest_drop(&self) -> u64 {
        self.ask(async |client| client.drops(DropsQuery::default()).await).next
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let ended = self.stop();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Where it answers over TCP, what ends it, and the thread on which it runs.
type Started = (Option<SocketAddr>, oneshot::Sender<()>, JoinHandle<Result<(), Error>>);

fn run(options: &Options) -> Started {
    let (shutdown, ended) = oneshot::channel::<()>();
    let (ready, wait) = mpsc::channel();
    let options = options.clone();
    let thread = thread::spawn(move || {
        let ready = |it: &viaduct_daemon::Ready| ready.send(it.lambda_api).unwrap();
        viaduct_daemon::run(&options, ready, async {
            let _ = ended.await;
        })
    });
    match wait.recv_timeout(LIMIT) {
        Ok(lambda_api) => (lambda_api, shutdown, thread),
        Err(_) => panic!("the daemon did not become ready: {:?}", thread.join()),
    }
}

/// A host: a namespace whose device is attached.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
}

impl Host {
    pub(crate) fn attach(holder: &Holder, name: &str) -> Self {
        let namespace = netns::create_unnamed().unwrap();
        holder.attach(&Attachment::new(name), &namespace).unwrap();
        Self { namespace }
    }

    /// Serves echo on a port of every address, until the process ends. Each connection is first
    /// told the address of its client.
    pub(crate) fn serve_echo(&self, port: u16) {
        let listener =
            self.namespace.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let peer = stream.peer_addr().unwrap();
                    writeln!(stream, "{peer}").unwrap();
                    let mut copy = stream.try_clone().unwrap();
                    // Ends with the connection, whichever way that ends.
                    let _ = std::io::copy(&mut stream, &mut copy);
                });
            }
        });
    }

    /// Opens a connection to an echo server. Returns it and how the server sees the client.
    pub(crate) fn connect(&self, to: &str) -> (Echo, SocketAddr) {
        self.try_connect(to).unwrap()
    }

    pub(crate) fn try_connect(&self, to: &str) -> std::io::Result<(Echo, SocketAddr)> {
        let to: SocketAddr = to.parse().unwrap();
        let stream = self.namespace.run(|| TcpStream::connect_timeout(&to, LIMIT)).unwrap()?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let mut echo = Echo(stream);
        let mut seen = String::new();
        loop {
            match echo.read_byte()? {
                b'\n' => return Ok((echo, seen.parse().unwrap())),
                byte => seen.push(byte.into()),
            }
        }
    }

    /// Sends one UDP datagram; whether it arrives is another matter.
    pub(crate) fn send_udp(&self, to: &str) {
        let sent = self.namespace.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"viaduct", to)
        });
        sent.unwrap().unwrap();
    }
}

/// A connection to an echo server.
pub(crate) struct Echo(TcpStream);

impl Echo {
    /// Sends a text and waits until it is back.
    pub(crate) fn round_trip(&mut self, text: &[u8]) {
        let mut writer = self.0.try_clone().unwrap();
        let sent = text.to_vec();
        let writing = thread::spawn(move || writer.write_all(&sent));
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).unwrap();
        writing.join().unwrap().unwrap();
        assert!(back == text, "the echo differs");
    }

    /// Sends one byte and waits until it is back.
    pub(crate) fn exchange(&mut self, byte: u8) {
        self.0.write_all(&[byte]).unwrap();
        assert_eq!(self.read_byte().unwrap(), byte);
    }

    /// Sends a text; whether it arrives is another matter.
    pub(crate) fn send(&mut self, text: &[u8]) {
        self.0.write_all(text).unwrap();
    }

    /// Sends a byte, and says whether the answer is that there is no such connection.
    pub(crate) fn is_reset(&mut self) -> bool {
        let answer = self.0.write_all(&[0]).and_then(|()| self.read_byte());
        answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }

    fn read_byte(&mut self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}
