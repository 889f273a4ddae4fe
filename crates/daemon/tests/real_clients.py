"""The life of a function as people's scripts drive it: boto3 and the AWS CLI, unmodified.

Usage: real_clients.py URL
"""

import io
import json
import subprocess
import sys
import zipfile

import boto3
from botocore.exceptions import ClientError

URL = sys.argv[1]
ACCOUNT = "111122223333"
MANAGED = "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"


def client(service, key="AKIAIOSFODNN7EXAMPLE"):
    return boto3.client(
        service,
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


awslambda, ec2, iam = client("lambda"), client("ec2"), client("iam")
errors = awslambda.exceptions

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
found = awslambda.get_function(FunctionName=made["FunctionArn"])
assert found["Configuration"]["State"] == "Active", found
assert found["Configuration"]["VpcConfig"]["VpcId"] == vpc["VpcId"]
assert found["Configuration"]["CodeSha256"] == made["CodeSha256"]
assert found["Tags"] == {"team": "net"}
raises(errors.ResourceConflictException, awslambda.create_function, **arguments)

# Invoke.
assert awslambda.invoke(FunctionName="life", InvocationType="DryRun")["StatusCode"] == 204
raises(errors.ResourceNotFoundException, awslambda.invoke, FunctionName="none")

# Update.
changed = awslambda.update_function_configuration(
    FunctionName="life",
    MemorySize=256,
    VpcConfig={"SubnetIds": [second], "SecurityGroupIds": [groups["db"]]},
)
awslambda.get_waiter("function_updated_v2").wait(FunctionName="life")
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

# Who uses an ENI? What finders of ENIs do: the ENI's subnet and groups, and all functions and
# versions that have them.
(eni,) = [
    eni
    for page in ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": "interface-type", "Values": ["lambda"]}], IncludeManagedResources=True
    )
    for eni in page["NetworkInterfaces"]
    if eni["SubnetId"] == second
]
assert eni["Description"].startswith("AWS Lambda VPC ENI-life-"), eni
assert eni["Operator"] == {"Managed": False}, eni
assert eni["RequesterId"].startswith("AROA") and not eni["RequesterManaged"], eni
wanted = {group["GroupId"] for group in eni["Groups"]}
users = [
    function["FunctionArn"].split(":function:")[1]
    for page in awslambda.get_paginator("list_functions").paginate(FunctionVersion="ALL")
    for function in page["Functions"]
    if eni["SubnetId"] in function["VpcConfig"]["SubnetIds"]
    and wanted == set(function["VpcConfig"]["SecurityGroupIds"])
]
assert users == ["life:$LATEST", "life:1"], users
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
def cli(*words):
    environment = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "whichever",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "PATH": "",
    }
    command = [sys.executable, "-m", "awscli", "--endpoint-url", URL, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout) if done.stdout else None


cli("lambda", "wait", "function-active-v2", "--function-name", "life")
shown = cli("lambda", "get-function-configuration", "--function-name", "life:1")
assert shown["Version"] == "1", shown
shown = cli("ec2", "describe-network-interfaces", "--network-interface-ids",
            eni["NetworkInterfaceId"])
assert shown["NetworkInterfaces"][0]["InterfaceType"] == "lambda", shown
cli("lambda", "tag-resource", "--resource", made["FunctionArn"], "--tags", "a=b")
assert cli("lambda", "list-tags", "--resource", made["FunctionArn"])["Tags"]["a"] == "b"
cli("lambda", "delete-function", "--function-name", "life", "--qualifier", "1")

# Delete.
awslambda.delete_function(FunctionName="life")
raises(errors.ResourceNotFoundException, awslambda.get_function, FunctionName="life")
iam.detach_role_policy(RoleName="life", PolicyArn=MANAGED)
iam.delete_role(RoleName="life")
print("all is as it should be")
