//! Daemons that are killed under random commands over their API: whoever got an answer finds what it
//! said in the next daemon, and who got none finds all of it or nothing.
//!
//! `scripts/soak-kill` is this for longer. `VIADUCT_SOAK_SECONDS` is how long, `VIADUCT_SOAK_SEED`
//! where the dice begin.

mod common;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use common::{LIMIT, said, viaduct};
use serde_json::{Value, json};
use viaduct_model::generate::Dice;

/// An ENI is there after a tenth of a second, and gone a good second after its last user.
const TOPOLOGY: &str = "
settings: { lifecycle_scale: 900 }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a }
      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }
      tiny: { id: subnet-tiny, cidr_block: 10.0.3.0/28, availability_zone: a }
    security_groups:
      one: { id: sg-1 }
      two: { id: sg-2 }
      three: { id: sg-3 }
      four: { id: sg-4 }
    instances: { db: { subnet: a } }
functions:
  declared: { subnets: [main/a, main/tiny], security_groups: [main/one] }
";

/// What another file has that is applied while the daemon runs.
const MORE: &str = "  further: { subnets: [main/b], security_groups: [main/two] }\n";

/// Addresses of the subnet `tiny` that are not reserved (ADR-01).
const TINY: usize = 11;

const CLIENTS: usize = 4;

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

/// Why there is none.
#[derive(Debug)]
enum NoAnswer {
    /// Nobody was there to be asked.
    NotAsked,
    /// Somebody may have been.
    NotTold,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<Answer, NoAnswer> {
    let mut stream = UnixStream::connect(socket).map_err(|_| NoAnswer::NotAsked)?;
    let told = |_| NoAnswer::NotTold;
    stream.set_read_timeout(Some(LIMIT)).map_err(told)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n\
         {body}"
    );
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(NoAnswer::NotTold)?;
    let said: usize = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    if body.len() < said {
        return Err(NoAnswer::NotTold);
    }
    let status = head.get(9..12).and_then(|text| text.parse().ok()).ok_or(NoAnswer::NotTold)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// `viaduct run` with the topology and runtime directory that are in this directory.
fn run(directory: &Path) -> Command {
    let mut run = viaduct();
    run.arg("run").arg(directory.join("topology.yaml")).args(["--workers", "1"]);
    run.arg("--runtime-dir").arg(directory.join("run"));
    run
}

/// A daemon of its own directory.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(directory: &Path, options: &[&str]) -> Self {
        let socket = directory.join("run/control.sock");
        let mut run = run(directory);
        run.args(options);
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let child = run.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut daemon = Self { child, socket };
        let begun = Instant::now();
        while ask(&daemon.socket, "GET", "/v1/status", "").is_err() {
            let log = || std::fs::read_to_string(directory.join("log")).unwrap();
            assert!(daemon.child.try_wait().unwrap().is_none(), "it ended: {}", log());
            assert!(begun.elapsed() < LIMIT, "it does not answer: {}", log());
            thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(&self.socket, method, path, body).unwrap()
    }

    /// `GET /2015-03-31/functions…`; none if there is none.
    fn function(&self, path: &str) -> Option<Value> {
        let answer = self.ask("GET", &format!("/2015-03-31/functions/{path}"), "");
        match answer.status {
            200 => Some(answer.json()),
            404 => None,
            _ => panic!("{path}: {answer:?}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client knows of one of its functions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    memory: u64,
    versions: Vec<u64>,
    /// Where it may be: an update that was taken may still fail.
    subnets: Vec<Vec<String>>,
}

/// What a client asks for.
#[derive(Clone, Debug)]
enum Request {
    Create { memory: u64, subnets: Vec<String>, groups: Vec<String> },
    Remember { memory: u64 },
    Move { subnets: Vec<String>, groups: Vec<String> },
    Publish,
    DeleteVersion(u64),
    Delete,
}

impl Request {
    fn random(dice: &mut Dice, known: Option<&Known>) -> Self {
        let memory = 128 + dice.below(1000) as u64;
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut subnets = dice.some(&names(&["subnet-a", "subnet-b", "subnet-tiny"]), 1, 3);
        let mut groups = dice.some(&names(&["sg-1", "sg-2", "sg-3", "sg-4"]), 1, 3);
        if dice.percent(30) {
            (subnets, groups) = (Vec::new(), Vec::new());
        }
        let Some(known) = known else { return Self::Create { memory, subnets, groups } };
        match dice.below(100) {
            0..40 => Self::Remember { memory },
            40..60 => Self::Publish,
            60..75 => Self::Move { subnets, groups },
            75..85 if !known.versions.is_empty() => {
                Self::DeleteVersion(known.versions[dice.below(known.versions.len())])
            }
            _ => Self::Delete,
        }
    }

    fn send(&self, socket: &Path, name: &str) -> Result<Answer, NoAnswer> {
        let vpc = |subnets: &Vec<String>, groups: &Vec<String>| json!({ "SubnetIds": subnets, "SecurityGroupIds": groups });
        let at = |path: &str| format!("/2015-03-31/functions{path}");
        let (method, path, body) = match self {
            Self::Create { memory, subnets, groups } => (
                "POST",
                at(""),
                json!({
                    "FunctionName": name,
                    "Role": "arn:aws:iam::123456789012:role/vpc",
                    "Runtime": "python3.13",
                    "Handler": "index.handler",
                    "Code": { "ZipFile": "UEsDBA==" },
                    "MemorySize": memory,
                    "VpcConfig": vpc(subnets, groups),
                }),
            ),
            Self::Remember { memory } => {
                ("PUT", at(&format!("/{name}/configuration")), json!({ "MemorySize": memory }))
            }
            Self::Move { subnets, groups } => (
                "PUT",
                at(&format!("/{name}/configuration")),
                json!({ "VpcConfig": vpc(subnets, groups) }),
            ),
            Self::Publish => ("POST", at(&format!("/{name}/versions")), json!({})),
            Self::DeleteVersion(version) => {
                ("DELETE", at(&format!("/{name}?Qualifier={version}")), json!({}))
            }
            Self::Delete => ("DELETE", at(&format!("/{name}")), json!({})),
        };
        ask(socket, method, &path, &body.to_string())
    }

    /// What is known after it is carried out. `version` is the number that was published, if known.
    fn carried_out(&self, known: Option<&Known>, version: Option<u64>) -> Option<Known> {
        if let Self::Create { memory, subnets, .. } = self {
            let subnets = vec![subnets.clone()];
            return Some(Known { memory: *memory, versions: Vec::new(), subnets });
        }
        let mut known = known.cloned()?;
        match self {
            Self::Delete => return None,
            Self::Remember { memory } => known.memory = *memory,
            Self::Move { subnets, .. } => known.subnets.push(subnets.clone()),
            Self::Publish => {
                // Nothing is published twice without a change.
                let version = version.filter(|version| !known.versions.contains(version));
                known.versions.extend(version);
            }
            Self::DeleteVersion(gone) => known.versions.retain(|version| version != gone),
            Self::Create { .. } => {}
        }
        Some(known)
    }
}

/// A client: its functions, and what it asked for without being told what came of it.
struct Client {
    dice: Dice,
    functions: BTreeMap<String, Option<Known>>,
    open: Option<(String, Request)>,
    answers: u32,
}

impl Client {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            dice: Dice::labelled(seed, &format!("client {number}")),
            functions: (0..4).map(|function| (format!("c{number}-{function}"), None)).collect(),
            open: None,
            answers: 0,
        }
    }

    /// Asks until there is no answer.
    fn work(&mut self, socket: &Path) {
        loop {
            let names: Vec<String> = self.functions.keys().cloned().collect();
            let name = names[self.dice.below(names.len())].clone();
            let known = self.functions[&name].clone();
            let request = Request::random(&mut self.dice, known.as_ref());
            match request.send(socket, &name) {
                Err(NoAnswer::NotAsked) => return,
                Err(NoAnswer::NotTold) => {
                    self.open = Some((name, request));
                    return;
                }
                Ok(answer) => match answer.status {
                    200..300 => {
                        self.answers += 1;
                        let version = match request {
                            Request::Publish => {
                                answer.json()["Version"].as_str().map(|text| text.parse().unwrap())
                            }
                            _ => None,
                        };
                        let known = request.carried_out(known.as_ref(), version);
                        self.functions.insert(name, known);
                    }
                    // It is being created or updated.
                    409 => {}
                    _ => panic!("{name} {request:?}: {answer:?}"),
                },
            }
        }
    }

    /// Compares with what the next daemon has. Returns whether what was open was done.
    fn check(&mut self, daemon: &Daemon) -> Option<bool> {
        let mut done = None;
        for (name, known) in &mut self.functions {
            let open = self.open.as_ref().filter(|(open, _)| open == name).map(|(_, it)| it);
            let found = found(daemon, name);
            let before = agrees(known.as_ref(), found.as_ref());
            let after = open.map(|open| {
                // A version that nobody was told of has a number that only the daemon knows.
                let newest = found.as_ref().and_then(|found| found.1.last().copied());
                open.carried_out(known.as_ref(), newest)
            });
            let is_done = after.as_ref().is_some_and(|it| agrees(it.as_ref(), found.as_ref()));
            assert!(before || is_done, "{name}: known {known:?}, open {open:?}, found {found:?}");
            if let Some(after) = after {
                done = Some(is_done && !before);
                if is_done {
                    *known = after;
                }
            }
        }
        self.open = None;
        done
    }
}

/// Memory, versions and subnets.
type Found = (u64, Vec<u64>, Vec<String>);

fn found(daemon: &Daemon, name: &str) -> Option<Found> {
    let function = daemon.function(name)?;
    let configuration = &function["Configuration"];
    let versions = daemon.function(&format!("{name}/versions"))?;
    let versions = versions["Versions"].as_array().unwrap().iter();
    let versions = versions.filter_map(|version| version["Version"].as_str()?.parse().ok());
    let subnets = configuration["VpcConfig"]["SubnetIds"].as_array().unwrap().iter();
    Some((
        configuration["MemorySize"].as_u64().unwrap(),
        versions.collect(),
        subnets.map(|subnet| subnet.as_str().unwrap().to_owned()).collect(),
    ))
}

fn agrees(known: Option<&Known>, found: Option<&Found>) -> bool {
    match (known, found) {
        (None, None) => true,
        (Some(known), Some((memory, versions, subnets))) => {
            known.memory == *memory
                && known.versions == *versions
                && known.subnets.contains(subnets)
        }
        _ => false,
    }
}

/// What is wrong with the ENIs that a daemon shows; none if nothing is. While something happens, the
/// engine is a moment behind.
fn wrong_with_enis(daemon: &Daemon) -> Option<String> {
    let enis = daemon.ask("GET", "/v1/enis", "").json();
    let mut addresses = BTreeMap::new();
    for eni in enis.as_array().unwrap() {
        let at = (eni["subnet"].to_string(), eni["private_ip"].to_string());
        if let Some(other) = addresses.insert(at, eni["id"].to_string()) {
            return Some(format!("{other} has the address of {eni:#}"));
        }
        let has_users = !eni["users"].as_array().unwrap().is_empty();
        let in_engine = !eni["capacity"].is_null();
        let right = match eni["state"].as_str() {
            None => eni["kind"] != "functions",
            Some("pending") => has_users && !in_engine,
            Some("in_use") => has_users && in_engine,
            Some(_) => !has_users,
        };
        if !right {
            return Some(format!("{eni:#}"));
        }
    }
    None
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(seen) => assert!(begun.elapsed() < LIMIT, "{what}: {seen}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// ENIs of functions that nobody declares.
fn further_enis(daemon: &Daemon) -> Vec<Value> {
    let enis = daemon.ask("GET", "/v1/enis", "").json();
    let is_further =
        |eni: &&Value| eni["kind"] == "functions" && eni["users"] != json!(["function/declared"]);
    enis.as_array().unwrap().iter().filter(is_further).cloned().collect()
}

/// Nothing is left of what was deleted, and every address of a small subnet can be had again.
fn nothing_leaks(daemon: &Daemon) {
    for function in daemon.function("?MaxItems=50").unwrap()["Functions"].as_array().unwrap() {
        let name = function["FunctionName"].as_str().unwrap();
        if name != "declared" {
            Request::Delete.send(&daemon.socket, name).unwrap();
        }
    }
    eventually("what nobody uses goes", || match further_enis(daemon).as_slice() {
        [] => Ok(()),
        some => Err(format!("{some:#?}")),
    });
    let groups = ["sg-1", "sg-2", "sg-3", "sg-4"];
    // One of its addresses is the file's function's, which has the group sg-1 alone.
    for set in 2..=TINY {
        let groups = (0..4).filter(|bit| set & (1 << bit) != 0).map(|bit| groups[bit].to_owned());
        let (subnets, groups) = (vec!["subnet-tiny".to_owned()], groups.collect());
        let create = Request::Create { memory: 128, subnets, groups };
        let answer = create.send(&daemon.socket, &format!("last-{set}")).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        eventually("its address is there", || {
            let function = daemon.function(&format!("last-{set}")).unwrap();
            let state = &function["Configuration"]["State"];
            if state == "Active" { Ok(()) } else { Err(function.to_string()) }
        });
    }
}

fn make_role(daemon: &Daemon) {
    for form in [
        "Action=CreateRole&Version=2010-05-08&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&Version=2010-05-08&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        let answer = daemon.ask("POST", "/", form);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn whoever_got_an_answer_finds_it_in_the_next_daemon() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("VIADUCT_SOAK_SECONDS").unwrap_or(10);
    let seed = number("VIADUCT_SOAK_SEED").unwrap_or(1);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("topology.yaml"), TOPOLOGY).unwrap();
    let mut dice = Dice::labelled(seed, "kill");
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| Mutex::new(Client::new(number, seed))).collect();
    let (begun, mut said) = (Instant::now(), Instant::now());
    let (mut deaths, mut open, mut done) = (0, 0, 0);

    let mut daemon = Daemon::start(directory.path(), &[]);
    make_role(&daemon);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let life = Duration::from_millis(dice.between(1, 900) as u64);
        let socket = daemon.socket.clone();
        thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| client.lock().unwrap().work(&socket));
            }
            // Another file now and then, which the next daemon does not know.
            scope.spawn(|| {
                for turn in 0.. {
                    let text = format!("{TOPOLOGY}{}", if turn % 2 == 0 { MORE } else { "" });
                    match ask(&socket, "POST", "/v1/apply?name=other.yaml&dry_run=false", &text) {
                        Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
                        Err(_) => return,
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            });
            thread::sleep(life);
            daemon.child.kill().unwrap();
        });
        drop(daemon);
        deaths += 1;
        let options: &[&str] = if dice.percent(30) { &["--sync"] } else { &[] };
        daemon = Daemon::start(directory.path(), options);
        for client in &clients {
            let was_done = client.lock().unwrap().check(&daemon);
            open += u32::from(was_done.is_some());
            done += u32::from(was_done == Some(true));
        }
        eventually("the ENIs are right", || wrong_with_enis(&daemon).map_or(Ok(()), Err));
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            let answers: u32 = clients.iter().map(|client| client.lock().unwrap().answers).sum();
            let passed = begun.elapsed().as_secs();
            println!(
                "{passed} s of {seconds}: killed {deaths} times, {answers} commands answered and \
                 there, {open} under way, of which {done} were done"
            );
        }
    }
    nothing_leaks(&daemon);
    let answers: u32 = clients.iter().map(|client| client.lock().unwrap().answers).sum();
    println!(
        "killed {deaths} times, {answers} commands answered and there, {open} under way, of which \
         {done} were done"
    );
    assert!(deaths > 1 && answers > 100 && open > 0, "{deaths} {answers} {open}");
}

#[test]
fn what_does_not_fit_is_refused_and_can_be_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("topology.yaml");
    std::fs::write(&file, TOPOLOGY).unwrap();
    let state = directory.path().join("lib/state.redb");
    let options = ["--state", state.to_str().unwrap()];
    let refused = |mut run: Command| {
        let output = run.args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };

    let daemon = Daemon::start(directory.path(), &options);
    assert!(!directory.path().join("run/state.redb").exists(), "it is elsewhere");
    make_role(&daemon);
    let subnets = vec!["subnet-b".to_owned()];
    let create = Request::Create { memory: 128, subnets, groups: vec!["sg-2".to_owned()] };
    assert_eq!(create.send(&daemon.socket, "f").unwrap().status, 201);
    // Another daemon, of another directory, with the same state.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("topology.yaml"), TOPOLOGY).unwrap();
    let words = refused(run(elsewhere.path()));
    assert!(words.contains(&format!("another daemon uses {}", state.display())), "{words}");
    drop(daemon);

    let without = TOPOLOGY
        .replace("      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }\n", "");
    std::fs::write(&file, &without).unwrap();
    let words = refused(run(directory.path()));
    for word in
        ["topology.yaml does not fit", "state.redb", "subnet-b", "used by f", "--forget-state"]
    {
        assert!(words.contains(word), "{word}: {words}");
    }
    // The topology's own mistakes are said as ever.
    std::fs::write(
        &file,
        TOPOLOGY.replace("db: { subnet: a }", "db: { subnet: a, private_ip: 10.0.1.1 }"),
    )
    .unwrap();
    let words = refused(run(directory.path()));
    assert!(words.contains("10.0.1.1") && !words.contains("--forget-state"), "{words}");
    // Nothing is lost by that: the topology of before has the function.
    std::fs::write(&file, TOPOLOGY).unwrap();
    let daemon = Daemon::start(directory.path(), &options);
    assert!(daemon.function("f").is_some());
    drop(daemon);

    std::fs::write(&file, &without).unwrap();
    let daemon = Daemon::start(directory.path(), &[options[0], options[1], "--forget-state"]);
    assert!(daemon.function("f").is_none() && daemon.function("declared").is_some());
    assert!(directory.path().join("lib/state.redb.forgotten-1").exists());
    drop(daemon);
    drop(Daemon::start(directory.path(), &options));
}
