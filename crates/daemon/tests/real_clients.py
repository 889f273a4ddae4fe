"""The life of a function as people's scripts drive it: boto3 and the AWS CLI, unmodified.

Usage: real_clients.py URL CONTROL_SOCKET TOPOLOGY
"""

import http.client
import io
import json
import socket
import subprocess
import sys
import time
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import eni_finder

URL, CONTROL_SOCKET, TOPOLOGY = sys.argv[1:]
ACCOUNT = "111122223333"
MANAGED = "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"


def client(service, key="AKIAIOSFODNN7EXAMPLE", **config):
    return boto3.client(
        service,
        config=Config(**config),
        endpoint_url=URL,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key="whichever",
    )


def code(text):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", text)
    return archive.getvalue()


def raises(exception, call, **arguments):
    """The call fails with this class of the client's own."""
    try:
        call(**arguments)
    except exception as error:
        return error.response
    raise AssertionError(f"no {exception.__name__}")


def own(path, body=""):
    """Posts to the daemon's own API."""
    connection = http.client.HTTPConnection("viaduct")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(CONTROL_SOCKET)
    connection.request("POST", path, body, {"content-type": "text/plain"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text


def until(is_so):
    """Looks again until something is so."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "never"
        time.sleep(0.01)


awslambda, ec2, iam = client("lambda"), client("ec2"), client("iam")
errors = awslambda.exceptions
# What may be tried again is: not where the first answer is what counts.
once = client("lambda", retries={"max_attempts": 0})

# The network.
(vpc,) = ec2.describe_vpcs()["Vpcs"]
pages = ec2.get_paginator("describe_subnets").paginate(
    Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}], PaginationConfig={"PageSize": 5}
)
subnets = {subnet["CidrBlock"]: subnet["SubnetId"] for page in pages for subnet in page["Subnets"]}
groups = {
    group["GroupName"]: group["GroupId"]
    for group in ec2.describe_security_groups()["SecurityGroups"]
}
assert len(ec2.describe_route_tables()["RouteTables"]) == 2
first, second = subnets["10.0.1.0/24"], subnets["10.0.2.0/24"]
raises(ClientError, ec2.describe_vpcs, VpcIds=["vpc-0123"])

# The role.
trust = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}}
arguments = {
    "FunctionName": "life",
    "Runtime": "python3.13",
    "Handler": "index.handler",
    "Code": {"ZipFile": code("def handler(event, context): return event")},
    "VpcConfig": {"SubnetIds": [first], "SecurityGroupIds": [groups["db"]]},
    "Role": "arn:aws:iam::123456789012:role/life",
}
raises(errors.InvalidParameterValueException, awslambda.create_function, **arguments)
role = iam.create_role(RoleName="life", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
iam.attach_role_policy(RoleName="life", PolicyArn=MANAGED)
raises(iam.exceptions.EntityAlreadyExistsException, iam.create_role,
       RoleName="life", AssumeRolePolicyDocument=json.dumps(trust))
raises(iam.exceptions.NoSuchEntityException, iam.get_role, RoleName="nobody")
arguments["Role"] = role["Arn"]

# Create, and wait with the client's own waiters.
made = awslambda.create_function(**arguments, Tags={"team": "net"})
assert made["FunctionArn"] == "arn:aws:lambda:eu-central-1:123456789012:function:life", made
awslambda.get_waiter("function_active_v2").wait(FunctionName="life")
awslambda.get_waiter("function_exists").wait(FunctionName="life")
awslambda.get_waiter("function_active").wait(FunctionName="life")
found = awslambda.get_function(FunctionName=made["FunctionArn"])
assert found["Configuration"]["State"] == "Active", found
assert found["Configuration"]["VpcConfig"]["VpcId"] == vpc["VpcId"]
assert found["Configuration"]["CodeSha256"] == made["CodeSha256"]
assert found["Tags"] == {"team": "net"}
raises(errors.ResourceConflictException, awslambda.create_function, **arguments)

# Invoke.
assert awslambda.invoke(FunctionName="life", InvocationType="DryRun")["StatusCode"] == 204
raises(errors.ResourceNotFoundException, awslambda.invoke, FunctionName="none")
raises(errors.ResourceNotFoundException, awslambda.invoke, FunctionName="life", Qualifier="7")
raises(errors.ResourceNotFoundException, awslambda.invoke, FunctionName="life", Qualifier="live")
raises(once.exceptions.ServiceException, once.invoke, FunctionName="life")
raises(once.exceptions.RequestTooLargeException, once.invoke,
       FunctionName="life", Payload=bytes((6 << 20) + 1))
for zone in "ab":
    own(f"/v1/faults/zone?zone={zone}&failed=true")
raises(once.exceptions.ENINotReadyException, once.invoke, FunctionName="life")
for zone in "ab":
    own(f"/v1/faults/zone?zone={zone}&failed=false")

# Update.
changed = awslambda.update_function_configuration(
    FunctionName="life",
    MemorySize=256,
    VpcConfig={"SubnetIds": [second], "SecurityGroupIds": [groups["db"]]},
)
awslambda.get_waiter("function_updated_v2").wait(FunctionName="life")
awslambda.get_waiter("function_updated").wait(FunctionName="life")
now = awslambda.get_function_configuration(FunctionName="life")
assert (now["MemorySize"], now["VpcConfig"]["SubnetIds"]) == (256, [second]), now
raises(errors.PreconditionFailedException, awslambda.update_function_configuration,
       FunctionName="life", Timeout=9, RevisionId=made["RevisionId"])
raises(errors.InvalidParameterValueException, awslambda.update_function_configuration,
       FunctionName="life", VpcConfig={"SubnetIds": [first], "SecurityGroupIds": []})
refused = raises(ClientError, awslambda.update_function_configuration,
                 FunctionName="life", Timeout=901)
assert refused["Error"]["Code"] == "ValidationException", refused
awslambda.update_function_code(FunctionName="life", ZipFile=code("pass"))

# Publish.
published = awslambda.publish_version(FunctionName="life", Description="the first")
assert published["Version"] == "1" and published["FunctionArn"].endswith(":life:1"), published
assert published["Description"] == "the first", published
awslambda.get_waiter("published_version_active").wait(FunctionName="life", Qualifier="1")
versions = awslambda.list_versions_by_function(FunctionName="life")["Versions"]
assert [version["Version"] for version in versions] == ["$LATEST", "1"]
raises(errors.InvalidParameterValueException, awslambda.publish_version,
       FunctionName="life", CodeSha256="x")

# Who uses an ENI: functions that share one, versions that stayed when their function went elsewhere,
# functions in several subnets, with other groups, and in none.
def place(subnet_ids, *names):
    return {"SubnetIds": subnet_ids, "SecurityGroupIds": [groups[name] for name in names]}


for name, where in {
    "shares": place([second], "db"),
    "spans": place([first, second], "db"),
    "grouped": place([second], "db", "fn"),
    "moves": place([second], "fn"),
    "nowhere": {},
}.items():
    awslambda.create_function(**{**arguments, "FunctionName": name, "VpcConfig": where})
    awslambda.get_waiter("function_active_v2").wait(FunctionName=name)
awslambda.publish_version(FunctionName="moves")
awslambda.update_function_configuration(FunctionName="moves", VpcConfig=place([first], "db"))
awslambda.get_waiter("function_updated_v2").wait(FunctionName="moves")

enis = {
    (eni["SubnetId"], tuple(sorted(group["GroupName"] for group in eni["Groups"]))): eni
    for page in ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": "interface-type", "Values": ["lambda"]}], IncludeManagedResources=True
    )
    for eni in page["NetworkInterfaces"]
}
eni = enis[second, ("db",)]
assert eni["Description"].startswith("AWS Lambda VPC ENI-life-"), eni
assert eni["Operator"] == {"Managed": False}, eni
assert eni["RequesterId"].startswith("AROA") and not eni["RequesterManaged"], eni
(gateway,) = ec2.describe_network_interfaces(
    Filters=[{"Name": "interface-type", "Values": ["nat_gateway"]}]
)["NetworkInterfaces"]
used = {
    eni["NetworkInterfaceId"]: ["life:$LATEST", "life:1", "shares:$LATEST", "spans:$LATEST"],
    enis[first, ("db",)]["NetworkInterfaceId"]: ["moves:$LATEST", "spans:$LATEST"],
    enis[second, ("db", "fn")]["NetworkInterfaceId"]: ["grouped:$LATEST"],
    enis[second, ("fn",)]["NetworkInterfaceId"]: ["moves:1"],
    enis[first, ("fn",)]["NetworkInterfaceId"]: ["api:$LATEST"],
    gateway["NetworkInterfaceId"]: None,
}
assert len(enis) == len(used) - 1, enis.keys()
for found, names in used.items():
    users = eni_finder.with_boto3(ec2, awslambda, found)
    assert users == names, (found, users, names)
raises(ClientError, eni_finder.with_boto3, ec2=ec2, awslambda=awslambda, eni="eni-0")
raises(ClientError, ec2.delete_network_interface,
       NetworkInterfaceId=eni["NetworkInterfaceId"])

# Somebody else's account.
other = client("lambda", ACCOUNT)
assert other.list_functions()["Functions"] == []
raises(other.exceptions.ResourceNotFoundException, other.get_function, FunctionName="life")
refused = raises(ClientError, other.get_function, FunctionName=made["FunctionArn"])
assert refused["Error"]["Code"] == "AccessDeniedException", refused

# What is not there.
refused = raises(ClientError, awslambda.list_layers)
assert refused["Error"]["Code"] == "UnknownOperationException", refused


# The same with the AWS CLI.
def run_cli(*words):
    environment = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "whichever",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
        "PATH": "",
    }
    command = [sys.executable, "-m", "awscli", "--endpoint-url", URL, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def cli(*words):
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def cli_fails(exception, *words):
    done = run_cli(*words)
    assert done.returncode and f"({exception})" in done.stderr, done.stderr


cli("lambda", "wait", "function-active-v2", "--function-name", "life")
shown = cli("lambda", "get-function-configuration", "--function-name", "life:1")
assert shown["Version"] == "1", shown
shown = cli("ec2", "describe-network-interfaces", "--network-interface-ids",
            eni["NetworkInterfaceId"])
assert shown["NetworkInterfaces"][0]["InterfaceType"] == "lambda", shown
cli("lambda", "tag-resource", "--resource", made["FunctionArn"], "--tags", "a=b")
assert cli("lambda", "list-tags", "--resource", made["FunctionArn"])["Tags"]["a"] == "b"
users = eni_finder.with_cli(cli, eni["NetworkInterfaceId"])
assert users == used[eni["NetworkInterfaceId"]], users
for exception, *words in [
    ("ResourceNotFoundException", "get-function", "--function-name", "none"),
    ("ResourceConflictException", "delete-function", "--function-name", "api"),
    ("InvalidParameterValueException", "update-function-configuration", "--function-name", "life:1"),
    ("ServiceException", "invoke", "--function-name", "life", "/dev/null"),
]:
    cli_fails(exception, "lambda", *words)
cli("lambda", "delete-function", "--function-name", "life", "--qualifier", "1")

# A function that nobody has used for long: its first invocation is refused and has it restored.
with open(TOPOLOGY) as file:
    topology = file.read()
own("/v1/apply?name=idle.yaml&dry_run=false",
    topology.replace("settings: {", "settings: { lifecycle: { idle: 1 },", 1))


def state():
    return awslambda.get_function_configuration(FunctionName="life")["State"]


until(lambda: state() == "Inactive")
iam.detach_role_policy(RoleName="life", PolicyArn=MANAGED)
raises(once.exceptions.EC2AccessDeniedException, once.invoke, FunctionName="life")
iam.attach_role_policy(RoleName="life", PolicyArn=MANAGED)
raises(once.exceptions.ResourceNotReadyException, once.invoke, FunctionName="life")
own("/v1/apply?name=before.yaml&dry_run=false", topology)


def is_invoked():
    try:
        return once.invoke(FunctionName="life", InvocationType="DryRun")["StatusCode"] == 204
    except (once.exceptions.ResourceNotReadyException, once.exceptions.ResourceConflictException):
        return False


until(is_invoked)

# What a function needs is not there any more when it is to be restored.
wanting = {
    "subnet": ("InvalidSubnetIDException", "10.0.4.0/28", "db"),
    "group": ("InvalidSecurityGroupIDException", "10.0.1.0/24", "gone"),
    "address": ("SubnetIPAddressLimitReachedException", "10.0.5.0/28", "db"),
    "zone": ("EC2UnexpectedException", "10.0.6.0/24", "db"),
}
for name, (_, cidr, group) in wanting.items():
    awslambda.create_function(**{**arguments, "FunctionName": name, "VpcConfig": {
        "SubnetIds": [subnets[cidr]], "SecurityGroupIds": [groups[group]]}})
    awslambda.get_waiter("function_active_v2").wait(FunctionName=name)
idle = topology.replace("settings: {", "settings: { lifecycle: { idle: 1 },", 1)
own("/v1/apply?name=idle.yaml&dry_run=false", idle)
for name in wanting:
    until(lambda: awslambda.get_function_configuration(FunctionName=name)["State"] == "Inactive")
less = idle.replace("      gone: { cidr_block: 10.0.4.0/28, availability_zone: a }\n", "")
less = less.replace("      gone: {}\n", "")
# Eleven addresses of sixteen are hosts' (ADR-01).
hosts = "".join(f"      i{n}: {{ subnet: tiny, security_groups: [db] }}\n" for n in range(11))
less = less.replace("    instances:\n", "    instances:\n" + hosts)
own("/v1/apply?name=less.yaml&dry_run=false", less)
own("/v1/faults/zone?zone=c&failed=true")
for name, (exception, _, _) in wanting.items():
    raises(getattr(once.exceptions, exception), once.invoke, FunctionName=name)
own("/v1/faults/zone?zone=c&failed=false")
# Nor may a VPC have more ENIs than it has.
until(lambda: not ec2.describe_network_interfaces(
    Filters=[{"Name": "subnet-id", "Values": [subnets["10.0.6.0/24"]]}])["NetworkInterfaces"])
own("/v1/apply?name=few.yaml&dry_run=false",
    less.replace("settings: {", "settings: { enis_per_vpc: 1,", 1))
raises(once.exceptions.ENILimitReachedException, once.invoke, FunctionName="zone")
own("/v1/apply?name=before.yaml&dry_run=false", topology)

# Delete.
for name in wanting:
    awslambda.delete_function(FunctionName=name)
for name in ["shares", "spans", "grouped", "moves", "nowhere"]:
    awslambda.delete_function(FunctionName=name)
awslambda.delete_function(FunctionName="life")
raises(errors.ResourceNotFoundException, awslambda.get_function, FunctionName="life")
iam.detach_role_policy(RoleName="life", PolicyArn=MANAGED)
iam.delete_role(RoleName="life")
print("all is as it should be")
