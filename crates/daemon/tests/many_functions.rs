//! Many functions made over the API, twenty to a key, while packets go through the daemon.
//!
//! In plain tests there are 400 over 20 keys. With `VIADUCT_FUNCTIONS=full` there are 10,000 over 500:
//! that is `scripts/soak-functions`.

mod common;

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use common::{DB, Daemon, Echo, Host, TOPOLOGY, eventually, permitted};
use serde_json::json;
use viaduct_client::EniKind;
use viaduct_tun::Holder;

/// Functions of a key.
const SHARING: usize = 20;

/// So long a silence is no pause that forwarding makes: a machine that does other things may be away
/// for a while.
const PAUSE: Duration = Duration::from_secs(5);

fn keys() -> usize {
    match std::env::var("VIADUCT_FUNCTIONS").as_deref() {
        Ok("full") => 500,
        _ => 20,
    }
}

/// The tests' network, with a group more for each key.
fn text(keys: usize) -> String {
    let mut groups = String::new();
    for key in 0..keys {
        writeln!(groups, "      g{key}: {{ id: sg-{key} }}").unwrap();
    }
    let settings = "settings: { enis_per_vpc: 1000, lifecycle: { creation: 1 } }";
    let network = TOPOLOGY
        .replace("    security_groups:\n", &format!("    security_groups:\n{groups}"))
        .replace(
            "      public:  {",
            "      wide: { id: subnet-wide, cidr_block: 10.0.16.0/20 }\n      public:  {",
        );
    format!("{settings}\n{network}")
}

/// Sends one byte after the other there and back until `stop`; the longest that one took, and how
/// many there were.
fn longest(echo: &mut Echo, stop: &AtomicBool) -> (Duration, usize) {
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while !stop.load(Relaxed) {
        let began = Instant::now();
        echo.exchange(b'.');
        longest = longest.max(began.elapsed());
        count += 1;
    }
    (longest, count)
}

// Facts: LAM-03, LAM-06
#[test]
fn lam_06_many_functions_are_made_and_forwarding_shows_no_pause() {
    if !permitted() {
        return;
    }
    let keys = keys();
    let daemon = Daemon::start_with(|options| {
        std::fs::write(&options.topology, text(keys)).unwrap();
    });
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    let (mut echo, _) = Host::attach(&holder, "function/api").connect(DB);
    let role = daemon.role();
    let create = |number: usize| {
        let group = format!("sg-{}", number % keys);
        let function = json!({
            "FunctionName": format!("f{number}"),
            "Role": role,
            "Runtime": "python3.13",
            "Handler": "index.handler",
            "Code": { "ZipFile": "UEsDBA==" },
            "VpcConfig": { "SubnetIds": ["subnet-wide"], "SecurityGroupIds": [group] },
        });
        let (status, made) = daemon.lambda("POST", "", &function);
        assert_eq!(status, 201, "{made:#}");
    };
    let meanwhile = |echo: &mut Echo, work: &dyn Fn()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stream = scope.spawn(|| longest(echo, &stop));
            let began = Instant::now();
            work();
            stop.store(true, Relaxed);
            (stream.join().unwrap(), began.elapsed())
        })
    };
    let ((quiet, count), _) = meanwhile(&mut echo, &|| thread::sleep(Duration::from_secs(2)));
    println!("without: {count} round trips, the longest {quiet:?}");

    let functions = keys * SHARING;
    let ((busy, count), took) = meanwhile(&mut echo, &|| (0..functions).for_each(create));
    println!("with {functions} functions in {took:?}: {count} round trips, the longest {busy:?}");
    let of_functions = || {
        let enis = daemon.ask(async |client| client.enis().await);
        enis.into_iter().filter(|eni| eni.kind == EniKind::Functions && eni.subnet == "subnet-wide")
    };
    eventually("every key has an ENI", || {
        let ready = of_functions().filter(|eni| eni.state == Some(viaduct_client::EniState::InUse));
        ready.count() == keys
    });
    assert!(of_functions().all(|eni| eni.users.len() == SHARING), "LAM-06");
    let list = daemon.ask(async |client| client.functions().await);
    assert_eq!(list.iter().filter(|it| it.made_by == "api").count(), functions);
    assert!(list.iter().all(|function| function.state == "Active"), "{list:#?}");

    let began = Instant::now();
    create(functions);
    println!("one more function: {:?}, over HTTP", began.elapsed());
    let another = Host::attach(&holder, "function/f0");
    another.send_udp("10.0.1.10:5432");
    assert!(busy < PAUSE, "{busy:?}, and {quiet:?} without");
}
