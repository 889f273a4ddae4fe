//! Records that no machine has left are refused, with a word on what is wrong.

use viaduct_control_plane::lifecycle::{
    Configuration, EniSet, Function, Lifecycle, Phase, Records,
};

use crate::world::{DELAYS, World, id, places};

/// A function with an ENI in each of two subnets.
fn records() -> Records {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.pass(90);
    world.machine.records()
}

fn refused(spoil: impl FnOnce(&mut Records)) -> String {
    let mut records = records();
    spoil(&mut records);
    Lifecycle::remember(DELAYS, records).unwrap_err().to_string()
}

#[test]
fn what_contradicts_itself_is_refused() {
    assert!(Lifecycle::remember(DELAYS, records()).is_ok());
    let sense = |key: &str, what: &str| {
        format!("the records of the ENIs of 111111111111/{key}/{{sg-one}} make no sense: {what}")
    };
    assert_eq!(
        refused(|records| records.sets[0].enis.clear()),
        sense("subnet-a", "there are none")
    );
    assert_eq!(
        refused(|records| records.sets[0].enis.get_mut(&0).unwrap().id = id("eni-1")),
        sense("subnet-a", "an id is not that of its key and ordinal")
    );
    let twice = |records: &mut Records| {
        let set = &mut records.sets[0];
        let further = set.enis[&0].clone();
        let id = set.key.eni_id(1);
        set.enis.insert(1, viaduct_control_plane::lifecycle::Eni { id, ..further });
    };
    assert_eq!(refused(twice), sense("subnet-a", "an address is held twice"));
    let alone = "whether they have users and how far their life is do not agree";
    assert_eq!(refused(|records| records.functions.clear()), sense("subnet-a", alone));
    let stranded = |records: &mut Records| {
        records.sets[1].phase = Phase::Stranded { why: "spoilt".to_owned() };
    };
    assert_eq!(refused(stranded), sense("subnet-b", alone));
    assert_eq!(
        refused(|records| drop(records.sets.pop())),
        "the records of f and of the ENIs it uses do not agree: they are not of one moment"
    );
    let elsewhere = Lifecycle::restore(places(), DELAYS, {
        let mut records = records();
        records.sets[0].enis.get_mut(&0).unwrap().private_ip = [10, 9, 9, 9].into();
        records
    });
    let expected = "cannot have its address in subnet subnet-a: the subnet is gone, or the address \
                    is taken";
    assert!(elsewhere.unwrap_err().to_string().ends_with(expected));
}

#[test]
fn names_that_are_not_known_are_refused_and_lists_are_put_in_order() {
    let records = records();
    let function = serde_json::to_string(&records.functions[0]).unwrap();
    let set = serde_json::to_string(&records.sets[0]).unwrap();
    let further = |text: &str| text.replacen('{', r#"{"later":1,"#, 1);
    for text in [
        further(&function),
        function.replace(r#""latest":{"#, r#""latest":{"later":1,"#),
        function.replace(r#""configuration":{"#, r#""configuration":{"later":1,"#),
        function.replace("Active", "Deactivated"),
    ] {
        let error = serde_json::from_str::<Function>(&text).unwrap_err().to_string();
        assert!(error.contains("later") || error.contains("Deactivated"), "{error}");
    }
    assert!(serde_json::from_str::<EniSet>(&further(&set)).is_err());
    assert!(serde_json::from_str::<EniSet>(&set.replace(r#""subnet":"#, r#""subnets":"#)).is_err());

    let text =
        r#"{"vpc":{"subnets":["s"],"security_groups":["b","a","b"]},"role":null,"carried":{}}"#;
    let read: Configuration = serde_json::from_str(text).unwrap();
    assert_eq!(read.vpc.security_groups(), [id("a"), id("b")]);
    let half = text.replace(r#"["s"]"#, "[]");
    assert!(serde_json::from_str::<Configuration>(&half).is_err());
}
