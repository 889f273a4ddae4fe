use std::fs::{self, File};

use redb::Database;
use tempfile::TempDir;
use viaduct_control_plane::lifecycle::{
    Command, Configuration, Delays, FunctionName, Lifecycle, Owner, Places, Time, VpcConfig,
};
use viaduct_model::generate::Dice;
use viaduct_topology::{ResourceId, iam::Policy};

use super::*;

/// A machine that has something of everything: functions with and without ENIs, a version, an ENI
/// that is being made, a role, a failed zone.
fn machine() -> Lifecycle {
    let text = "
organization: { accounts: [111111111111, 222222222222] }
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a }
      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b, shared_with: [222222222222] }
    security_groups: { one: { id: sg-one }, guest: { id: sg-guest, account: 222222222222 } }
";
    let topology = viaduct_config_plane::load("test.yaml", text).unwrap().topology;
    let mut machine =
        Lifecycle::new(Places::of(&topology, []), Delays::default(), Time::from_millis(5));
    let put = Command::PutRole {
        role: "role/with \"quotes\"".into(),
        policies: Policy::managed("AWSLambdaVPCAccessExecutionRole").into_iter().collect(),
    };
    told(&mut machine, put, 10);
    told(&mut machine, create("one", &["subnet-a", "subnet-b"]), 20);
    told(&mut machine, create("detached", &[]), 100_000);
    let function = FunctionName::new("111111111111", "one");
    told(&mut machine, Command::publish(function), 100_001);
    let vpc = VpcConfig::new([ResourceId::named("subnet-b")], [ResourceId::named("sg-guest")]);
    let configuration = Configuration { vpc: vpc.unwrap(), ..Configuration::default() };
    let function = FunctionName::new("222222222222", "one");
    told(&mut machine, Command::create(function, configuration), 100_002);
    told(&mut machine, Command::FailZone { zone: "a".to_owned(), failed: true }, 100_003);
    machine
}

fn create(name: &str, subnets: &[&str]) -> Command {
    let groups = subnets.iter().take(1).map(|_| ResourceId::named("sg-one"));
    let vpc = VpcConfig::new(subnets.iter().map(|subnet| ResourceId::named(subnet)), groups);
    let configuration = Configuration { vpc: vpc.unwrap(), ..Configuration::default() };
    Command::create(FunctionName::new("111111111111", name), configuration)
}

fn told(machine: &mut Lifecycle, command: Command, millis: u64) {
    machine.command(command, Owner::Api, Time::from_millis(millis)).unwrap();
}

/// A directory, and the path of a state file in it that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    (directory, path)
}

fn read_back(path: &Path) -> Records {
    Store::open(path, false).unwrap().expect("there is a file").1
}

/// Why a file is refused, however often one asks.
fn refused(path: &Path) -> String {
    let refused = || Store::open(path, false).expect_err("it is refused").to_string();
    let error = refused();
    assert_eq!(refused(), error);
    assert!(error.contains("--forget-state"), "{error}");
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn what_is_written_is_read_again_and_what_is_gone_is_gone() {
    for sync in [false, true] {
        let (directory, path) = place();
        assert!(Store::open(&path, sync).unwrap().is_none());
        let mut machine = machine();
        machine.take_output();
        let store = Store::create(&path, sync, &Batch::whole(&machine)).unwrap();
        drop(store);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is beside the file");
        let (store, records) = Store::open(&path, sync).unwrap().unwrap();
        assert_eq!(records, machine.records());

        told(&mut machine, create("two", &["subnet-b"]), 200_000);
        let function = FunctionName::new("111111111111", "one");
        told(&mut machine, Command::DeleteFunction { function, version: None }, 200_001);
        told(&mut machine, Command::DeleteRole("role/with \"quotes\"".into()), 200_002);
        told(&mut machine, Command::FailZone { zone: "a".to_owned(), failed: false }, 200_003);
        machine.advance(Time::from_millis(10_000_000));
        let batch = Batch::of(&machine.take_output(), &machine);
        assert!(!batch.is_empty());
        store.write(&batch).unwrap();
        drop(store);
        assert_eq!(read_back(&path), machine.records());
        assert_eq!(machine.records().functions.len(), 3);
        assert_eq!(machine.records().roles.len(), 0);
    }
}

#[test]
fn the_time_alone_is_a_batch_too() {
    let (_directory, path) = place();
    let mut machine = machine();
    let store = Store::create(&path, false, &Batch::whole(&machine)).unwrap();
    machine.take_output();
    machine.advance(Time::from_millis(100_500));
    let batch = Batch::of(&machine.take_output(), &machine);
    assert!(batch.is_empty());
    store.write(&batch).unwrap();
    drop(store);
    assert_eq!(read_back(&path), machine.records());
}

#[test]
fn a_file_belongs_to_one_daemon() {
    let (directory, path) = place();
    let store = Store::create(&path, false, &Batch::whole(&machine())).unwrap();
    let in_use = |error: Error| assert!(matches!(error, Error::StateInUse { .. }), "{error}");
    in_use(Store::open(&path, false).unwrap_err());
    in_use(Store::forget(&path).unwrap_err());
    in_use(Store::create(&path, false, &Batch::whole(&Lifecycle::default())).unwrap_err());
    assert!(path.exists());
    drop(store);
    assert_eq!(read_back(&path), machine().records());

    // What is forgotten is put aside, the second time beside the first.
    for number in 1..=2 {
        let aside = Store::forget(&path).unwrap().unwrap();
        assert_eq!(aside, directory.path().join(format!("state.redb.forgotten-{number}")));
        assert_eq!(read_back(&aside), machine().records());
        assert!(Store::open(&path, false).unwrap().is_none());
        drop(Store::create(&path, false, &Batch::whole(&machine())).unwrap());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(Store::forget(&path).unwrap(), None);
}

#[test]
fn only_the_owner_may_read_it_and_the_directory_is_made() {
    use std::os::unix::fs::MetadataExt;
    let (directory, _) = place();
    let path = directory.path().join("lib/viaduct/state.redb");
    drop(Store::create(&path, true, &Batch::whole(&machine())).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_cannot_be_read_is_refused_with_what_to_do() {
    let (_directory, path) = place();
    drop(Store::create(&path, false, &Batch::whole(&machine())).unwrap());
    let whole = fs::read(&path).unwrap();
    let because = |what: &str| {
        format!(
            "FILE holds no state that can be read: {what}; put a copy of it in its place, or have \
             --forget-state put it aside and begin anew"
        )
    };

    fs::write(&path, b"").unwrap();
    assert_eq!(refused(&path), because("it is empty"));
    let text = "functions: {}\n".repeat(10_000);
    fs::write(&path, &text).unwrap();
    refused(&path);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&path);

    let spoilt = |spoil: &dyn Fn(&redb::WriteTransaction)| {
        fs::write(&path, &whole).unwrap();
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        spoil(&transaction);
        transaction.commit().unwrap();
        drop(database);
        refused(&path)
    };
    assert_eq!(
        spoilt(&|it| drop(it.open_table(ABOUT).unwrap().insert("format", 2).unwrap())),
        "FILE is of format 2, and this viaduct knows format 1: run the one that wrote it, or have \
         --forget-state put it aside and begin anew"
    );
    assert_eq!(
        spoilt(&|it| drop(it.open_table(ABOUT).unwrap().remove("now").unwrap())),
        because("the row `now` of table `about` is missing")
    );
    let error = spoilt(&|it| assert!(it.delete_table(ABOUT).unwrap()));
    assert!(error.contains("about"), "{error}");
    let row = |key: &'static str, text: &'static str| {
        move |it: &redb::WriteTransaction| {
            drop(it.open_table(ROLES).unwrap().insert(key, text).unwrap());
        }
    };
    assert_eq!(
        spoilt(&row("\"r\"", "[\"r\",{\"owner\":\"Moon\",\"policies\":[]}]")),
        because(
            "\"r\" of table `roles`: unknown variant `Moon`, expected `Api` or `File` at line 1 \
             column 20"
        )
    );
    assert_eq!(
        spoilt(&row("\"r\"", "[\"s\",{\"owner\":\"Api\",\"policies\":[]}]")),
        because("\"r\" of table `roles` has the record of \"s\"")
    );
}

/// A disk that forgets: whatever becomes of a bit, nobody is told what was never so.
#[test]
fn a_file_with_a_wrong_bit_is_refused_or_means_what_it_meant() {
    let (_directory, path) = place();
    let machine = machine();
    let store = Store::create(&path, false, &Batch::whole(&machine)).unwrap();
    // As a daemon leaves it that is killed, and as one leaves it that ends.
    let killed = fs::read(&path).unwrap();
    drop(store);
    let ended = fs::read(&path).unwrap();
    let mut dice = Dice::new(1);
    let mut refusals = 0;
    for whole in [killed, ended] {
        fs::write(&path, &whole).unwrap();
        assert_eq!(read_back(&path), machine.records());
        for turn in 0..150 {
            let mut spoilt = whole.clone();
            // Half of them in the header, where it matters most.
            let end = if turn % 2 == 0 { 512 } else { spoilt.len() };
            spoilt[dice.below(end)] ^= 1 << dice.below(8);
            fs::write(&path, &spoilt).unwrap();
            match Store::open(&path, false) {
                Ok(read) => assert_eq!(read.unwrap().1, machine.records()),
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(refusals > 10, "{refusals}");
}

#[test]
fn after_a_failed_write_the_next_one_writes_what_both_were_to() {
    let (_directory, path) = place();
    let mut machine = machine();
    let store = Store::create(&path, false, &Batch::whole(&machine)).unwrap();
    machine.take_output();
    told(&mut machine, create("two", &["subnet-b"]), 200_000);
    store.fill_disk(true);
    for _ in 0..3 {
        let error = store.write(&Batch::of(machine.output(), &machine)).unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
        assert!(error.contains("No space left on device"), "{error}");
    }
    store.fill_disk(false);
    told(&mut machine, create("three", &["subnet-a"]), 200_001);
    store.write(&Batch::of(machine.output(), &machine)).unwrap();
    drop(store);
    assert_eq!(read_back(&path), machine.records());
}

/// The text of format 1: what is changed here is another format, or must be read in the old one too.
#[test]
fn the_text_of_records_is_that_of_format_1() {
    let (_directory, path) = place();
    drop(Store::create(&path, false, &Batch::whole(&machine())).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let mut found = String::new();
    for definition in [FUNCTIONS, SETS, ROLES] {
        for row in transaction.open_table(definition).unwrap().iter().unwrap() {
            let (key, record) = row.unwrap();
            found += &format!("{} {}\n{}\n", definition.name(), key.value(), record.value());
        }
    }
    let expected = include_str!("format-1.txt");
    if std::env::var_os("VIADUCT_WRITE_FORMAT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/format-1.txt");
        fs::write(path, &found).unwrap();
    }
    assert_eq!(found, expected);
}

#[test]
fn what_an_attempt_left_behind_is_no_hindrance() {
    let (_directory, path) = place();
    fs::write(beside(&path, ".new"), "half of something").unwrap();
    drop(Store::create(&path, false, &Batch::whole(&machine())).unwrap());
    assert_eq!(read_back(&path), machine().records());
    let missing = Path::new("/proc/no/such/place/state.redb");
    let error = Store::create(missing, false, &Batch::whole(&machine())).unwrap_err().to_string();
    assert!(error.starts_with("cannot create /proc/no/such/place"), "{error}");
    assert!(File::open(missing).is_err());
}
