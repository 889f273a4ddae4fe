"""Which functions use a network interface: what AWS's support has its customers' scripts ask.

An interface of Lambda's says nothing of its users but the name of the first. But they are all the
versions of all functions that are in its subnet with its security groups and no others: the interface
is asked for those, and then every version of every function is looked at.
"""


def users(interface_of, all_versions, eni):
    """The qualified names of the functions that use an interface; None if it is not Lambda's.

    `interface_of` describes an interface, `all_versions` lists the versions of all functions.
    """
    interface = interface_of(eni)
    if not interface["Description"].startswith("AWS Lambda VPC ENI"):
        return None
    subnet = interface["SubnetId"]
    groups = {group["GroupId"] for group in interface["Groups"]}
    names = []
    for version in all_versions():
        place = version.get("VpcConfig") or {}
        if subnet in place.get("SubnetIds", []) and groups == set(place["SecurityGroupIds"]):
            names.append(version["FunctionArn"].split(":function:")[1])
    return sorted(names)


def with_boto3(ec2, awslambda, eni):
    def interface_of(eni):
        (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])[
            "NetworkInterfaces"
        ]
        return interface

    def all_versions():
        pages = awslambda.get_paginator("list_functions").paginate(
            FunctionVersion="ALL", PaginationConfig={"PageSize": 3}
        )
        return [version for page in pages for version in page["Functions"]]

    return users(interface_of, all_versions, eni)


def with_cli(cli, eni):
    def interface_of(eni):
        return cli("ec2", "describe-network-interfaces", "--network-interface-ids", eni)[
            "NetworkInterfaces"
        ][0]

    def all_versions():
        return cli("lambda", "list-functions", "--function-version", "ALL")["Functions"]

    return users(interface_of, all_versions, eni)
