"""What the moto test needs of AWS besides the agent itself, done with boto3.

    driver.py prepare ENDPOINT checked|unchecked
        make the users; checked: from then on signatures and policies are checked
    driver.py read ENDPOINT ID SECRET
        everything that is in the log service

Both print JSON.
"""

import json
import sys
import urllib.request

import boto3
from botocore.config import Config

REGION = "us-east-1"

# The least policy of the README.
AGENT_MAY = [
    "logs:PutLogEvents",
    "logs:CreateLogStream",
    "logs:CreateLogGroup",
    "logs:PutRetentionPolicy",
]

READER_MAY = ["logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:GetLogEvents"]


def client(service, endpoint, key_id="setup", secret="setup"):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=60),
    )


def make_user(iam, name, actions):
    """A user who may do just this, and a key of theirs."""
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def prepare(endpoint, checks):
    iam = client("iam", endpoint)
    users = {
        "agent": make_user(iam, "agent", AGENT_MAY),
        "stranger": make_user(iam, "stranger", ["logs:GetLogEvents"]),
        "reader": make_user(iam, "reader", READER_MAY),
    }
    if checks == "checked":
        # No further request passes unchecked.
        headers = {"Content-Type": "text/plain"}
        url = endpoint + "/moto-api/reset-auth"
        request = urllib.request.Request(url, data=b"0", headers=headers)
        urllib.request.urlopen(request, timeout=10).read()
    return users


def events_of(logs, group, stream):
    events = []
    token = {}
    while True:
        page = logs.get_log_events(
            logGroupName=group, logStreamName=stream, startFromHead=True, **token
        )
        events += [[event["timestamp"], event["message"]] for event in page["events"]]
        if not page["events"] or token.get("nextToken") == page["nextForwardToken"]:
            return events
        token = {"nextToken": page["nextForwardToken"]}


def read(endpoint, key_id, secret):
    logs = client("logs", endpoint, key_id, secret)
    found = {}
    groups = {}
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            groups[group["logGroupName"]] = group.get("retentionInDays")
    for group in groups:
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                name = stream["logStreamName"]
                found[group + " " + name] = events_of(logs, group, name)
    return {"retention": groups, "streams": found}


COMMANDS = {"prepare": prepare, "read": read}

if __name__ == "__main__":
    json.dump(COMMANDS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
