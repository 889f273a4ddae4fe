//! The JSON Schema of topology files, for editors and for programs that write them.
//!
//! It knows the shape of a file: keys, kinds of values, words, ranges. What depends on two places at
//! once (references, overlaps, quotas) only the loader knows. The tests below hold it to the decoder:
//! the same keys, nothing refused that loads, and nothing taken that is wrong in its shape.

/// The schema of a topology file (JSON Schema 2020-12).
pub const SCHEMA: &str = include_str!("../schema/topology.json");

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use jsonschema::Validator;
    use serde_json::Value as Json;
    use viaduct_topology::{Reason, Report};

    use super::SCHEMA;
    use crate::{
        decode::keys,
        load,
        tree::{self, Node, Value},
    };

    fn schema() -> Json {
        serde_json::from_str(SCHEMA).expect("the schema is JSON")
    }

    fn validator() -> Validator {
        jsonschema::draft202012::new(&schema()).expect("the schema is a schema")
    }

    /// What YAML's readers make of a scalar: an editor's numbers and booleans, or texts alone.
    #[derive(Clone, Copy)]
    enum Scalars {
        Typed,
        Texts,
    }

    /// The file as JSON; `None` if some of it cannot be read as YAML.
    fn json(node: &Node, scalars: Scalars) -> Option<Json> {
        Some(match &node.value {
            Value::Null => Json::Null,
            Value::Refused => return None,
            Value::Scalar(text) => match (scalars, text.as_str()) {
                (Scalars::Typed, "true") => true.into(),
                (Scalars::Typed, "false") => false.into(),
                (Scalars::Typed, number) if number.parse::<i64>().is_ok() => {
                    number.parse::<i64>().ok()?.into()
                }
                (_, text) => text.into(),
            },
            Value::Sequence(items) => {
                items.iter().map(|item| json(item, scalars)).collect::<Option<Json>>()?
            }
            Value::Mapping(entries) => entries
                .iter()
                .map(|(key, value)| Some((key.text.clone(), json(value, scalars)?)))
                .collect::<Option<serde_json::Map<_, _>>>()?
                .into(),
        })
    }

    /// What the schema has against a text, read both ways; `None` if it is no YAML.
    fn refusals(validator: &Validator, text: &str) -> Option<Vec<String>> {
        let mut report = Report::default();
        let root = tree::parse(text, &mut report)?;
        if report.has_errors() {
            return None;
        }
        let mut refusals = Vec::new();
        for scalars in [Scalars::Typed, Scalars::Texts] {
            let instance = json(&root, scalars)?;
            refusals.extend(
                validator
                    .iter_errors(&instance)
                    .map(|error| format!("{}: {error}", error.instance_path())),
            );
        }
        Some(refusals)
    }

    #[test]
    fn it_has_the_decoders_keys_and_no_others() {
        let schema = schema();
        let properties = |object: &Json| -> BTreeSet<String> {
            object["properties"].as_object().into_iter().flatten().map(|it| it.0.clone()).collect()
        };
        let definitions = schema["$defs"].as_object().unwrap();
        let mut described: BTreeSet<&str> = definitions
            .iter()
            .filter(|it| it.1["properties"].is_object())
            .map(|it| it.0.as_str())
            .collect();
        described.insert("topology");
        for (definition, known) in keys::ALL {
            assert!(described.remove(definition), "`{definition}` is not in the schema");
            let object = match *definition {
                "topology" => &schema,
                definition => &definitions[definition],
            };
            let known: BTreeSet<String> = known.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(properties(object), known, "{definition}");
            assert_eq!(object["additionalProperties"], false, "{definition}");
            for (key, value) in object["properties"].as_object().unwrap() {
                let described = value["description"].is_string() || value["$ref"].is_string();
                assert!(described, "`{key}` of `{definition}` has no description");
            }
        }
        assert!(described.is_empty(), "{described:?} are not read");
    }

    #[test]
    fn it_has_every_reason() {
        let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(schema()["$defs"]["reason"]["enum"], Json::from(codes));
    }

    #[test]
    fn every_example_is_as_it_says() {
        let validator = validator();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let mut seen = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let refusals = refusals(&validator, &text).expect("an example is YAML");
                assert!(refusals.is_empty(), "{}: {refusals:#?}", path.display());
                seen += 1;
            }
        }
        assert!(seen >= 8, "only {seen} examples");
    }

    /// Beginnings and endings of what the loader says of mistakes that show in one place alone.
    const OF_SHAPE: [&str; 20] = [
        "unknown key ",
        "expected ",
        "` is not an address",
        "` is not a CIDR block",
        "` is not a number",
        "` is neither true nor false",
        "` is not a protocol",
        "` is not an account",
        "` is not an id of this kind",
        "belongs to ICMP alone",
        "ICMP has no ports",
        "no rule can have number ",
        "there is no managed policy ",
        "a policy has no ",
        "a statement has ",
        "there is no operator ",
        "` is not a Sid",
        "` is not a pattern of actions",
        "` is not a pattern of ARNs",
        "` is not a condition key",
    ];

    #[test]
    fn it_refuses_what_is_wrong_in_shape_and_takes_what_loads() {
        let validator = validator();
        let correct = include_str!("../tests/correct.yaml");
        let mistakes = include_str!("../tests/mistakes.txt");
        assert_eq!(refusals(&validator, correct), Some(Vec::new()));
        let (mut refused, mut taken, mut wrong_about) = (0, 0, Vec::new());
        for mistake in mistakes.split("\n\n") {
            let mut lines = mistake.lines().skip_while(|line| line.starts_with('#'));
            let mut piece = |mark: &str| {
                let line = lines.next().unwrap_or_default();
                let piece = line.strip_prefix(mark).expect("a mistake takes and puts something");
                piece.replace("\\n", "\n").replace("\\t", "\t")
            };
            let (right, wrong) = (piece("- "), piece("+ "));
            let text = correct.replace(&right, &wrong);
            let Some(refusals) = refusals(&validator, &text) else { continue };
            let Err(problems) = load("wrong.yaml", &text) else {
                taken += 1;
                if !refusals.is_empty() {
                    wrong_about.push(format!("it loads:\n{mistake}\n{refusals:#?}"));
                }
                continue;
            };
            let of_shape = problems.iter().find(|problem| {
                let message = &problem.message;
                OF_SHAPE.iter().any(|it| message.starts_with(it) || message.ends_with(it))
            });
            if of_shape.is_some() {
                refused += 1;
                if refusals.is_empty() {
                    wrong_about.push(format!("the schema takes it:\n{mistake}"));
                }
            }
        }
        assert!(wrong_about.is_empty(), "{}", wrong_about.join("\n\n"));
        assert!(refused >= 40 && taken >= 15, "{refused} refused, {taken} taken");
    }
}
