//! Lambda's API through an interface endpoint: from an instance of a VPC without a way to the internet to
//! the function's output, and whatever does not get there.

mod common;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{ChildStderr, Output, Stdio},
};

use common::{Killed, Lab, eventually, has, permitted, repository, said, viaduct};
use serde_json::{Value, json};

const SERVICE: &str = "com.amazonaws.eu-central-1.lambda";
const API: &str = "http://lambda.eu-central-1.amazonaws.com";
const FUNCTIONS: &str = "http://lambda.eu-central-1.amazonaws.com/2015-03-31/functions";

/// The example's network, and what answers at its service.
struct Setting {
    // Ends before the lab, in which it runs.
    server: Killed,
    lab: Lab,
    /// What it says, so that it has somebody to say it to.
    _errors: BufReader<ChildStderr>,
}

impl Setting {
    fn new(scenario: &str) -> Self {
        let lab = Lab::of_file(scenario, &repository("config/lambda-endpoint.yaml"));
        let mut server = viaduct();
        server.args(["lambda-endpoint", SERVICE, "--lab", &lab.name]).stderr(Stdio::piped());
        let mut server = Killed(server.spawn().unwrap());
        let mut listening = String::new();
        let mut errors = BufReader::new(server.0.stderr.take().unwrap());
        errors.read_line(&mut listening).unwrap();
        assert_eq!(listening, format!("service/{SERVICE} answers Lambda's API at 198.18.0.1:80\n"));
        Self { server, lab, _errors: errors }
    }

    /// What curl says on a host: the answer's body, and in a last line its status.
    fn curl(&self, host: &str, arguments: &[&str]) -> Output {
        let line = ["curl", "-sS", "--path-as-is", "--max-time", "20", "-w", "\n%{http_code}"];
        self.lab.exec(host, &[&line[..], arguments].concat()).output().unwrap()
    }

    /// A signed request, and what it is answered with.
    fn ask(&self, host: &str, method: &str, url: &str, body: &str) -> (u16, String) {
        let signed = "authorization: AWS4-HMAC-SHA256 \
                      Credential=AKIA/20260101/eu-central-1/lambda/aws4_request, Signature=00";
        let output = self.curl(host, &["-X", method, "-H", signed, "--data-binary", body, url]);
        assert!(output.status.success(), "{}", said(&output));
        answered(&output)
    }

    fn configuration(&self, host: &str, function: &str) -> Value {
        let url = format!("{FUNCTIONS}/{function}/configuration");
        let (status, body) = self.ask(host, "GET", &url, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn answered(output: &Output) -> (u16, String) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let (body, last) = text.rsplit_once('\n').unwrap();
    (last.parse().unwrap(), body.to_owned())
}

/// What it takes to make a function whose command is a line for the shell.
fn function(name: &str, line: &str) -> String {
    let function = json!({
        "FunctionName": name,
        "Role": "arn:aws:iam::123456789012:role/lambda",
        "PackageType": "Image",
        "Code": { "ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/f:1" },
        "ImageConfig": { "EntryPoint": ["/bin/sh", "-c"], "Command": [line] },
        "VpcConfig": { "SubnetIds": ["subnet-private"], "SecurityGroupIds": ["sg-function"] },
        "Timeout": 30,
    });
    function.to_string()
}

// Facts: LAM-78
#[test]
fn lam_78_an_instance_without_internet_makes_and_invokes_functions_through_an_endpoint() {
    if !permitted() || !has("curl") {
        return;
    }
    let setting = Setting::new("endpoint-invoke");
    let tool = "instance/tool";
    let line = "cat; echo \" from $AWS_LAMBDA_FUNCTION_NAME\"";
    let (status, made) = setting.ask(tool, "POST", FUNCTIONS, &function("hello", line));
    assert_eq!(status, 201, "{made}");
    // One that calls the API itself, from an ENI in the same VPC.
    let call = format!(
        "curl -sS --max-time 20 -H 'authorization: AWS4-HMAC-SHA256 \
         Credential=AKIA/1/eu-central-1/lambda/aws4_request' -d nested {FUNCTIONS}/hello/invocations"
    );
    assert_eq!(setting.ask(tool, "POST", FUNCTIONS, &function("calls", &call)).0, 201);
    for function in ["hello", "calls"] {
        let active = || (setting.configuration(tool, function)["State"] == "Active").then_some(());
        assert!(eventually(active).is_some(), "{:#}", setting.configuration(tool, function));
    }

    let invoke = |host: &str, function: &str| {
        setting.ask(host, "POST", &format!("{FUNCTIONS}/{function}/invocations"), "payload")
    };
    assert_eq!(invoke(tool, "hello"), (200, "payload from hello\n".to_owned()));
    assert_eq!(invoke("function/caller", "hello"), (200, "payload from hello\n".to_owned()));
    assert_eq!(invoke(tool, "calls"), (200, "nested from hello\n".to_owned()));

    // All that a payload and an answer may have.
    let payload = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(payload.path(), vec![b'x'; (6 << 20) + 1]).unwrap();
    let from_file = format!("@{}", payload.path().display());
    let url = format!("{FUNCTIONS}/hello/invocations");
    let (status, refused) = setting.ask(tool, "POST", &url, &from_file);
    assert!(status == 413 && refused.contains("must be smaller"), "{status}: {refused}");
    std::fs::write(payload.path(), vec![b'x'; (6 << 20) - 1]).unwrap();
    let (status, output) = setting.ask(tool, "POST", &url, &from_file);
    assert_eq!((status, output.len()), (200, (6 << 20) - 1 + " from hello\n".len()));

    // Whom the endpoint's group does not admit gets nothing at all.
    let url = &format!("{FUNCTIONS}/hello");
    let output = setting.curl("instance/other", &["--max-time", "1", url]);
    assert_eq!(output.status.code(), Some(28), "{}", said(&output));
    setting.lab.wait_for_drop(|drop| {
        drop["reason"] == "ENI_SG_RULES_MISMATCH"
            && drop["attachment"] == "instance/other"
            && drop["flow"]["destination"] == "10.0.1.20"
    });
}

// Facts: LAM-78
#[test]
fn lam_78_function_urls_are_not_served_and_neither_is_anything_but_lambdas_api() {
    if !permitted() || !has("curl") {
        return;
    }
    let setting = Setting::new("endpoint-refusals");
    let tool = "instance/tool";
    let url = "abcdefg.lambda-url.eu-central-1.on.aws";
    let output = setting.curl(tool, &[&format!("http://{url}/")]);
    assert_eq!(output.status.code(), Some(6), "its name leads nowhere: {}", said(&output));
    let output = setting.curl(tool, &["--connect-to", "::10.0.1.20:80", &format!("http://{url}/")]);
    let (status, body) = answered(&output);
    assert!(status == 403 && body.contains("Function URLs are not served"), "{status} {body}");

    let before = setting.lab.get("functions");
    for (method, path) in [
        ("GET", "/v1/status"),
        ("GET", "/2015-03-31/../v1/status"),
        ("GET", "/2015-03-31/%2e%2e/v1/status"),
        ("POST", "/v1/invoke"),
        ("POST", "/v1/apply?name=x"),
        ("POST", "/v1/faults/zone?zone=a&failed=true"),
        ("GET", "/v1/invocations?at_once=1"),
        ("GET", "/metrics"),
        ("GET", "/"),
        ("GET", "/2021-10-31/functions/caller/url"),
    ] {
        let (status, body) = setting.ask(tool, method, &format!("{API}{path}"), "{}");
        assert!(status == 404 && body.contains("is no operation"), "{path}: {status} {body}");
    }
    let (status, body) = setting.ask(tool, "POST", &format!("{API}/"), "Action=DescribeVpcs");
    assert_eq!(status, 404, "EC2's API has endpoints of its own: {body}");
    // The owner of the control socket sends such requests; nobody at an endpoint does.
    let output = setting.curl(tool, &[FUNCTIONS]);
    let (status, body) = answered(&output);
    assert!(status == 403 && body.contains("Missing Authentication Token"), "{status} {body}");
    assert_eq!(setting.lab.get("functions"), before);
}

#[test]
fn lab_down_names_who_still_answers_at_the_service() {
    if !permitted() {
        return;
    }
    let mut setting = Setting::new("endpoint-down");
    let down = setting.lab.down();
    let server = &mut setting.server.0;
    assert!(said(&down).contains(&server.id().to_string()), "{}", said(&down));
    assert!(server.try_wait().unwrap().is_none(), "it is theirs to end");
}

/// What a script in a VPC does, with the client as it comes from PyPI.
const SCRIPT: &str = r#"
import boto3
client = boto3.client("lambda")
client.create_function(
    FunctionName="hello",
    Role="arn:aws:iam::123456789012:role/lambda",
    PackageType="Image",
    Code={"ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/f:1"},
    ImageConfig={"EntryPoint": ["/bin/cat"]},
    VpcConfig={"SubnetIds": ["subnet-private"], "SecurityGroupIds": ["sg-function"]},
)
client.get_waiter("function_active_v2").wait(FunctionName="hello")
for number in range(5):
    answer = client.invoke(FunctionName="hello", Payload=str(number))
    assert answer["Payload"].read() == str(number).encode(), answer
try:
    client.get_function(FunctionName="none")
except client.exceptions.ResourceNotFoundException:
    client.delete_function(FunctionName="hello")
    print("all is as it should be")
"#;

// Facts: LAM-78
#[test]
fn lam_78_boto3_in_a_vpc_needs_to_know_no_more_than_that_there_is_no_tls() {
    let Some(clients) = std::env::var_os("VIADUCT_AWS_CLIENTS").map(PathBuf::from) else {
        println!("skipped: boto3 is not installed; scripts/test does that");
        return;
    };
    if !permitted() {
        return;
    }
    let setting = Setting::new("endpoint-boto3");
    let python = clients.join("bin/python");
    let mut script = setting.lab.exec("instance/tool", &[python.to_str().unwrap(), "-c", SCRIPT]);
    script.env("AWS_ENDPOINT_URL_LAMBDA", API).env("AWS_DEFAULT_REGION", "eu-central-1");
    script.env("AWS_ACCESS_KEY_ID", "anything").env("AWS_SECRET_ACCESS_KEY", "anything");
    let output = script.output().unwrap();
    assert_eq!(output.stdout, b"all is as it should be\n", "{}", said(&output));
}
