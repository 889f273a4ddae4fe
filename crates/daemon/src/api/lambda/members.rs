//! What is configured of a function and has nothing to do with its network: it is held against its
//! shape, carried, and given back.
//!
//! Values are carried as JSON text by the API's names.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    failure::Failure,
    input::Input,
    shape::{Member, Shape},
};

/// Bytes of all environment variables together.
const ENVIRONMENT_LIMIT: usize = 4096;

const ANY: Shape = Shape::Text(0..=2048);

const ARN: Shape = Shape::Pattern("(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()", |text| {
    text.is_empty() || text.starts_with("arn:aws")
});

/// Members of a configuration that are carried.
pub(super) const CARRIED: &[Member] = &[
    Member::new("Runtime", Shape::Pattern("[a-z0-9.]+", is_runtime)),
    Member::new("Handler", Shape::Text(0..=128)),
    Member::new("Description", Shape::Text(0..=256)),
    Member::new("Timeout", Shape::Whole(1..=900)),
    Member::new("MemorySize", Shape::Whole(128..=10_240)),
    Member::new("PackageType", Shape::OneOf(&["Zip", "Image"])),
    Member::new("Architectures", Shape::List(1..=1, &Shape::OneOf(&["x86_64", "arm64"]))),
    Member::new("Environment", Shape::Object(&[Member::new("Variables", VARIABLES)])),
    Member::new("DeadLetterConfig", Shape::Object(&[Member::new("TargetArn", ARN)])),
    Member::new("KMSKeyArn", ARN),
    Member::new(
        "TracingConfig",
        Shape::Object(&[Member::new("Mode", Shape::OneOf(&["Active", "PassThrough"]))]),
    ),
    Member::new("Layers", Shape::List(0..=5, &ARN)),
    Member::new("FileSystemConfigs", Shape::List(0..=1, &Shape::Object(FILE_SYSTEM))),
    Member::new("ImageConfig", Shape::Object(IMAGE)),
    Member::new(
        "EphemeralStorage",
        Shape::Object(&[Member::required("Size", Shape::Whole(512..=10_240))]),
    ),
    Member::new(
        "SnapStart",
        Shape::Object(&[Member::new("ApplyOn", Shape::OneOf(&["PublishedVersions", "None"]))]),
    ),
    Member::new("LoggingConfig", Shape::Object(LOGGING)),
];

const VARIABLES: Shape = Shape::Texts(
    &Shape::Pattern("[a-zA-Z]([a-zA-Z0-9_])+", is_variable),
    &Shape::Text(0..=ENVIRONMENT_LIMIT),
);

const FILE_SYSTEM: &[Member] =
    &[Member::required("Arn", ARN), Member::required("LocalMountPath", Shape::Text(1..=160))];

const IMAGE: &[Member] = &[
    Member::new("EntryPoint", Shape::List(0..=1500, &ANY)),
    Member::new("Command", Shape::List(0..=1500, &ANY)),
    Member::new("WorkingDirectory", Shape::Text(0..=1000)),
];

const LOGGING: &[Member] = &[
    Member::new("LogFormat", Shape::OneOf(&["JSON", "Text"])),
    Member::new("ApplicationLogLevel", Shape::OneOf(LEVELS)),
    Member::new("SystemLogLevel", Shape::OneOf(&["DEBUG", "INFO", "WARN"])),
    Member::new("LogGroup", Shape::Text(1..=512)),
];

const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// Where code comes from. It is not kept: its size and digest are.
pub(super) const CODE: &[Member] = &[
    Member::new("ZipFile", Shape::Text(0..=usize::MAX)),
    Member::new("S3Bucket", Shape::Text(3..=63)),
    Member::new("S3Key", Shape::Text(1..=1024)),
    Member::new("S3ObjectVersion", Shape::Text(1..=1024)),
    Member::new("ImageUri", ANY),
];

fn is_runtime(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    !text.is_empty() && text.chars().all(letters)
}

fn is_variable(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(letters)
}

/// What a request gives of the carried members.
pub(super) fn carried(input: &Input) -> Result<BTreeMap<String, String>, Failure> {
    let variables = input.object("Environment").and_then(|it| it.object("Variables"));
    let bytes = variables.iter().flat_map(Input::texts).map(|(name, text)| name.len() + text.len());
    if bytes.sum::<usize>() > ENVIRONMENT_LIMIT {
        return Err(Failure::invalid(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided exceeded the 4KB limit.",
        ));
    }
    let given = CARRIED.iter().filter_map(|member| Some((member.name, input.value(member.name)?)));
    Ok(given.map(|(name, value)| (name.to_owned(), value.to_string())).collect())
}

/// What is carried of a function's code, in whichever way it is given.
pub(super) fn code(code: &Input) -> Result<BTreeMap<String, String>, Failure> {
    let bucket = (code.text("S3Bucket"), code.text("S3Key"));
    match (code.text("ZipFile"), bucket, code.text("ImageUri")) {
        (Some(zip), (None, None), None) => {
            let zip = BASE64.decode(zip.as_bytes()).map_err(|error| {
                Failure::serialization(format!("code.zipFile is not in base64: {error}"))
            })?;
            if zip.is_empty() {
                return Err(Failure::invalid("Uploaded file must be a non-empty zip"));
            }
            let digest = BASE64.encode(&Sha256::digest(&zip));
            Ok(carry([("CodeSize", json!(zip.len())), ("CodeSha256", json!(digest))]))
        }
        (None, (Some(_), Some(_)), None) => Ok(carry([("CodeSize", json!(0))])),
        (None, (None, None), Some(image)) => {
            Ok(carry([("CodeSize", json!(0)), ("ImageUri", json!(image))]))
        }
        _ => Err(Failure::invalid(
            "Please provide a source for function code: a ZipFile, an S3Bucket with an S3Key, or an \
             ImageUri, and one of them alone.",
        )),
    }
}

fn carry<const N: usize>(values: [(&str, Value); N]) -> BTreeMap<String, String> {
    values.map(|(name, value)| (name.to_owned(), value.to_string())).into()
}

/// Whether a function has a runtime and a handler, if it is to have them.
pub(super) fn is_complete(carried: &BTreeMap<String, String>) -> Result<(), Failure> {
    let image = read(carried, "PackageType").is_some_and(|package| package == "Image");
    let zip = !carried.contains_key("ImageUri");
    if image == zip {
        return Err(Failure::invalid(
            "PackageType and Code do not fit together: Image is for an ImageUri, Zip for the rest.",
        ));
    }
    match ["Runtime", "Handler"].iter().find(|name| zip && !carried.contains_key(**name)) {
        Some(missing) => Err(Failure::invalid(format!(
            "{missing} is mandatory for functions of package type Zip."
        ))),
        None => Ok(()),
    }
}

/// A carried value.
pub(super) fn read(carried: &BTreeMap<String, String>, name: &str) -> Option<Value> {
    serde_json::from_str(carried.get(name)?).ok()
}

/// The carried members as a configuration shows them, with the defaults of what was not given.
pub(super) fn shown(carried: &BTreeMap<String, String>, function: &str) -> Map<String, Value> {
    let mut shown = Map::new();
    let value = |name| read(carried, name);
    let defaults = [
        ("Description", json!("")),
        ("Timeout", json!(3)),
        ("MemorySize", json!(128)),
        ("CodeSize", json!(0)),
        ("PackageType", json!("Zip")),
        ("Architectures", json!(["x86_64"])),
        ("TracingConfig", json!({ "Mode": "PassThrough" })),
        ("EphemeralStorage", json!({ "Size": 512 })),
        ("LoggingConfig", json!({})),
        ("SnapStart", json!({ "ApplyOn": "None" })),
    ];
    for (name, default) in defaults {
        shown.insert(name.to_owned(), value(name).unwrap_or(default));
    }
    if let Some(logging) = shown.get_mut("LoggingConfig").and_then(Value::as_object_mut) {
        logging.entry("LogFormat").or_insert(json!("Text"));
        logging.entry("LogGroup").or_insert(json!(format!("/aws/lambda/{function}")));
    }
    if let Some(snap) = shown.get_mut("SnapStart").and_then(Value::as_object_mut) {
        snap.insert("OptimizationStatus".to_owned(), json!("Off"));
    }
    let as_given = [
        "Runtime",
        "Handler",
        "CodeSha256",
        "Environment",
        "DeadLetterConfig",
        "KMSKeyArn",
        "FileSystemConfigs",
        "LastModified",
    ];
    for name in as_given {
        shown.extend(value(name).map(|value| (name.to_owned(), value)));
    }
    // These two come back in other shapes than they were given in.
    let layers = value("Layers").and_then(|layers| layers.as_array().cloned());
    let layers = layers.map(|it| it.iter().map(|arn| json!({ "Arn": arn })).collect::<Value>());
    shown.extend(layers.map(|layers| ("Layers".to_owned(), layers)));
    let image = value("ImageConfig").map(|image| json!({ "ImageConfig": image }));
    shown.extend(image.map(|image| ("ImageConfigResponse".to_owned(), image)));
    shown
}
