"""Invocations as people's scripts drive them: boto3 and the AWS CLI, unmodified, and an agent that runs
two at the same time.

Usage: invoking_clients.py URL
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import boto3
from botocore.config import Config

URL = sys.argv[1]
KEY = "AKIAIOSFODNN7EXAMPLE"
REGION = "eu-central-1"
MANAGED = "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"


def client(service, **config):
    return boto3.client(
        service,
        config=Config(**config),
        endpoint_url=URL,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key="whichever",
    )


def cli(*words):
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": "whichever",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",
        "PATH": "",
    }
    command = [sys.executable, "-m", "awscli", "--endpoint-url", URL, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


awslambda, iam = client("lambda"), client("iam")
# Throttled invocations are tried again, unless somebody does not want that.
once = client("lambda", retries={"max_attempts": 0})
role = iam.create_role(RoleName="run", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
iam.attach_role_policy(RoleName="run", PolicyArn=MANAGED)


def image(line):
    return {"EntryPoint": ["/bin/sh", "-c"], "Command": [line], "WorkingDirectory": "/tmp"}


def create(name, line, timeout):
    awslambda.create_function(
        FunctionName=name,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/run:1"},
        ImageConfig=image(line),
        Role=role,
        Timeout=timeout,
        VpcConfig={"SubnetIds": ["subnet-a"], "SecurityGroupIds": ["sg-fn"]},
    )
    awslambda.get_waiter("function_active_v2").wait(FunctionName=name)


def change(name, **members):
    awslambda.update_function_configuration(FunctionName=name, **members)
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name)


# The life of a function, with invocations in it.
create("hello", "cat; pwd; echo log >&2", 60)
answer = awslambda.invoke(FunctionName="hello", Payload=b'{"a": 1} ', LogType="Tail")
assert answer["StatusCode"] == 200 and "FunctionError" not in answer, answer
assert answer["Payload"].read() == b'{"a": 1} /tmp\n'
assert base64.b64decode(answer["LogResult"]) == b"log\n", answer
assert answer["ExecutedVersion"] == "$LATEST", answer
assert awslambda.invoke(FunctionName="hello", InvocationType="Event")["StatusCode"] == 202
assert awslambda.invoke(FunctionName="hello", InvocationType="DryRun")["StatusCode"] == 204

awslambda.publish_version(FunctionName="hello")
awslambda.get_waiter("published_version_active").wait(FunctionName="hello", Qualifier="1")
change("hello", ImageConfig=image("exit 3"))
arn = awslambda.get_function(FunctionName="hello")["Configuration"]["FunctionArn"]
for name, qualifier in [
    ("hello", "1"),
    ("hello:1", "1"),
    ("123456789012:function:hello", "1"),
    (arn, "1"),
    (f"{arn}:1", "1"),
]:
    answer = awslambda.invoke(FunctionName=name, Qualifier=qualifier, Payload=b"x ")
    assert (answer["ExecutedVersion"], answer["Payload"].read()) == ("1", b"x /tmp\n"), name

# What fails in the function is no exception of the client's.
def function_error():
    answer = awslambda.invoke(FunctionName="hello")
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled", answer
    return json.loads(answer["Payload"].read())


assert function_error()["errorType"] == "Runtime.ExitError"
change("hello", ImageConfig=image("kill -9 $$"))
assert "signal 9" in function_error()["errorMessage"]
change("hello", ImageConfig=image("sleep 60"), Timeout=1)
assert "Task timed out after 1.00 seconds" in function_error()["errorMessage"]

# More at once than the agent runs.
with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o755)
    over = os.path.join(directory, "over")
    create("hold", f"until [ -e {over} ]; do sleep 0.05; done; echo held", 60)
    held = []

    def hold():
        # Tried again when throttled, and not when it takes long.
        holder = client("lambda", read_timeout=120, retries={"max_attempts": 20})
        held.append(holder.invoke(FunctionName="hold")["Payload"].read())

    def is_throttled():
        try:
            once.invoke(FunctionName="hello", Qualifier="1")
        except once.exceptions.TooManyRequestsException as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
            return True
        time.sleep(0.1)
        return False

    holding = [threading.Thread(target=hold, daemon=True) for _ in range(2)]
    for thread in holding:
        thread.start()
    deadline = time.monotonic() + 30
    while not is_throttled():
        assert time.monotonic() < deadline, "never throttled"
    done = cli("lambda", "invoke", "--function-name", "hello:1", "/dev/null")
    assert "(TooManyRequestsException)" in done.stderr, done.stderr
    open(over, "w").close()
    for thread in holding:
        thread.join()
    assert held == [b"held\n", b"held\n"], held

    # The AWS CLI.
    output = os.path.join(directory, "output")
    done = cli("lambda", "invoke", "--function-name", "hello", "--qualifier", "1",
               "--payload", '{"b": 2} ', "--log-type", "Tail", output)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "1", answer
    assert base64.b64decode(answer["LogResult"]) == b"log\n", answer
    with open(output) as file:
        assert file.read() == '{"b": 2} /tmp\n'
    done = cli("lambda", "invoke", "--function-name", "hello", output)
    assert json.loads(done.stdout)["FunctionError"] == "Unhandled", done

for name in ["hello", "hold"]:
    awslambda.delete_function(FunctionName=name)
print("all is as it should be")
