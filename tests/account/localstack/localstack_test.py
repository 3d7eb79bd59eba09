"""The account's side and the alarms in LocalStack, which makes stacks, delivers events and evaluates
alarms by itself. To be started by `run` beside this, alone in a network namespace.

What LocalStack's CloudFormation does not know is left out of the stack by its parameters, and so not shown here: the
history (AWS::Logs::ResourcePolicy), the dashboard, the trail, both functions (Lambda wants
containers). What it delivers to people is not shown either: mail. And no emulator carries out an alarm's
action on an instance: shown is that the alarm bears it and is in ALARM, nothing more.
"""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import urllib.request

import boto3
from botocore.config import Config
from instance import ACCOUNT, ENDPOINT, ID, REGION, Instance, until
from samples import ACTION, DEPLOYMENT, RULES, STATES, Expectations, codedeploy, codepipeline, own
from template import PATH, Stack

LOCALSTACK = {
    # It may take the tree for its container: it is one.
    "OVERRIDE_IN_DOCKER": "1",
    "GATEWAY_LISTEN": "127.0.0.1:4566",
    "GATEWAY_SERVER": "hypercorn",
    "DISABLE_EVENTS": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DNS_ADDRESS": "0",
}
CHOICE = {
    **{states: ",".join(STATES[kind]) for kind, (_, states) in RULES.items()},
    "DeploywatchEvents": ",".join(dict.fromkeys(event["detail"]["kind"] for event in own())),
    "KmsKey": "create",
    "Email": "ops@example.com",
    "Queue": "yes",
    "Stream": "yes",
    "FleetInstances": "3",
    "History": "no",
    "Dashboard": "no",
}
STACK = "watch"
SECONDS = 120


def client(service):
    return boto3.client(
        service, endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id=ACCOUNT,
        aws_secret_access_key="secret", config=Config(retries={"max_attempts": 1}, read_timeout=SECONDS))


def setUpModule():
    global server, log
    log = tempfile.TemporaryFile("w+")
    unittest.addModuleCleanup(log.close)
    server = subprocess.Popen(
        ["python3", "-m", "localstack.runtime.main"], env={**os.environ, **LOCALSTACK},
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    unittest.addModuleCleanup(server.wait)
    unittest.addModuleCleanup(server.kill)

    def it_answers():
        if server.poll() is not None:
            log.seek(0)
            raise AssertionError(log.read())
        try:
            return urllib.request.urlopen(f"{ENDPOINT}/_localstack/health", timeout=5).status == 200
        except OSError:
            return False

    until(it_answers, SECONDS)


class Lint(unittest.TestCase):
    def test_cfn_lint_finds_nothing_without_a_network(self):
        """The template keeps to CloudFormation's schemas, and to see that takes no network."""
        done = subprocess.run(["cfn-lint", PATH], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


class Patterns(Expectations, unittest.TestCase):
    """The template's patterns by TestEventPattern: each event matches exactly the rules it should."""

    @classmethod
    def setUpClass(cls):
        cls.events = client("events")

    def matches(self, pattern, event):
        return self.events.test_event_pattern(
            EventPattern=json.dumps(pattern), Event=json.dumps(event))["Result"]


class Made(unittest.TestCase):
    """The stack, and what comes out of it when a deployment fails under the real binary's eyes."""

    @classmethod
    def setUpClass(cls):
        cls.cloud = {name: client(name) for name in (
            "cloudformation", "events", "sns", "sqs", "kinesis", "cloudwatch", "logs")}
        cls.expected = Stack({"AWS::AccountId": ACCOUNT}, **{**CHOICE, "FleetInstances": 3})
        cls.make_stack()
        cls.subscribe()
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.instance = Instance(cls.folder, f"""
            [metrics]
            period = "10s"
            [events]
            enabled = true
            [alarms]
            allow_terminate = false
            [[alarm]]
            name = "last-deployment-failed"
            metric = "LastDeploymentFailed"
            statistic = "maximum"
            comparison = ">="
            threshold = 1
            period = "10s"
            evaluation_periods = 1
            actions = ["stop", "{cls.topic}"]
            """)
        cls.addClassCleanup(cls.instance.stop)
        code, said = cls.instance.command("alarms", "apply")
        assert code == 0, said
        cls.instance.start()
        cls.instance.fail("d-FAILED001", "AfterInstall", "scripts/migrate.sh", 3,
                          ["[stdout]login with password=hunter2hunter2", "[stderr]no such table"])

    @classmethod
    def make_stack(cls):
        stacks = cls.cloud["cloudformation"]
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in CHOICE.items()]
        stacks.create_stack(StackName=STACK, TemplateBody=PATH.read_text(), Parameters=parameters,
                            Capabilities=["CAPABILITY_IAM"])

        def told():
            events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
            return "\n".join(f"{e['LogicalResourceId']} {e['ResourceStatus']} {e.get('ResourceStatusReason', '')}"
                             for e in events)

        def it_is_made():
            status = stacks.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
            assert status in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"), told()
            return status == "CREATE_COMPLETE"

        until(it_is_made, SECONDS, told)

    @classmethod
    def subscribe(cls):
        """A queue of the test's own hears what the stack's topic tells."""
        sqs = cls.cloud["sqs"]
        cls.topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-events"
        cls.hearing = sqs.create_queue(QueueName="hearing")["QueueUrl"]
        cls.cloud["sns"].subscribe(TopicArn=cls.topic, Protocol="sqs",
                                   Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:hearing")
        cls.queue = sqs.get_queue_url(QueueName=f"{STACK}-events")["QueueUrl"]
        cls.read, cls.heard = [], []

    def take(self, url, into):
        """All that has come out of a queue so far."""
        messages = self.cloud["sqs"].receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            into.append(json.loads(message["Body"]))
            self.cloud["sqs"].delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return into

    def in_queue(self):
        return self.take(self.queue, self.read)

    def at_topic(self):
        return [json.loads(note["Message"]) for note in self.take(self.hearing, self.heard)]

    def in_stream(self):
        kinesis = self.cloud["kinesis"]
        name = f"{STACK}-events"
        shard = kinesis.list_shards(StreamName=name)["Shards"][0]["ShardId"]
        start = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        records = kinesis.get_records(ShardIterator=start["ShardIterator"], Limit=1000)["Records"]
        return [json.loads(record["Data"]) for record in records]

    def test_the_stack_is_what_the_template_says(self):
        """Every resource of the template that was chosen is made, and, asked for at its own
        service, rules have their patterns and targets and alarms their actions; nothing else is made."""
        made = self.cloud["cloudformation"].get_paginator("list_stack_resources").paginate(StackName=STACK)
        made = {r["LogicalResourceId"]: (r["ResourceType"], r["ResourceStatus"])
                for page in made for r in page["StackResourceSummaries"]}
        wanted = {name: (body["Type"], "CREATE_COMPLETE") for name, body in self.expected.resources.items()}
        self.assertEqual(made, wanted)
        events = self.cloud["events"]
        rules = {rule["Name"]: rule for rule in events.list_rules()["Rules"]}
        wanted = self.expected.of_type("AWS::Events::Rule")
        self.assertEqual(set(rules), {rule["Name"] for rule in wanted.values()})
        for rule in wanted.values():
            self.assertEqual(json.loads(rules[rule["Name"]]["EventPattern"]), rule["EventPattern"])
            targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            described = {(t["Id"], t["Arn"], t["DeadLetterConfig"]["Arn"]) for t in targets}
            self.assertEqual(described, {(t["Id"], t["Arn"], t["DeadLetterConfig"]["Arn"]) for t in rule["Targets"]})
        alarms = self.cloud["cloudwatch"].describe_alarms(AlarmNamePrefix=f"{STACK}-")["MetricAlarms"]
        self.assertEqual({alarm["AlarmName"]: alarm["AlarmActions"] for alarm in alarms},
                         {alarm["AlarmName"]: alarm["AlarmActions"]
                          for alarm in self.expected.of_type("AWS::CloudWatch::Alarm").values()})
        # Without their retention, which LocalStack's CloudFormation drops.
        groups = self.cloud["logs"].describe_log_groups(logGroupNamePrefix="/codedeploy/")["logGroups"]
        self.assertEqual({group["logGroupName"] for group in groups},
                         {group["LogGroupName"] for group in self.expected.of_type("AWS::Logs::LogGroup").values()})

    def test_what_the_agent_tells_comes_out_of_queue_stream_and_topic(self):
        """A failed deployment is read from SQS, from Kinesis and, by way of SNS, from another SQS
        queue: the same events with the reason, each once, and nothing that is secret."""
        for place in (self.in_queue, self.in_stream, self.at_topic):
            with self.subTest(place.__name__):
                def both_are_there():
                    return len(about_deployment(place())) >= 2
                until(both_are_there, SECONDS, self.instance.said)
                found = about_deployment(place())
                ids = sorted(event["detail"]["id"] for event in found)
                self.assertEqual(ids, [f"{ID}/deployment_failed/d-FAILED001",
                                       f"{ID}/lifecycle_event_failed/d-FAILED001/AfterInstall"])
                for event in found:
                    detail = event["detail"]
                    self.assertEqual(event["account"], ACCOUNT)
                    self.assertEqual(event["resources"], [f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{ID}"])
                    self.assertEqual(detail["lifecycle_event"], "AfterInstall")
                    self.assertEqual((detail["script"], detail["exit_code"]), ("scripts/migrate.sh", 3))
                    self.assertIn("no such table", detail["output"])
                    self.assertNotIn("hunter2", json.dumps(event))

    def test_codedeploys_and_codepipelines_events_come_too(self):
        """Events of the two services, put by the test in their place, come out of the queue."""
        sent = [codedeploy(DEPLOYMENT, "FAILURE", "elsewhere"), codepipeline(ACTION, "ABANDONED", "elsewhere")]
        for event in sent:
            entry = {"Source": event["source"], "DetailType": event["detail-type"],
                     "Detail": json.dumps(event["detail"]), "Resources": event["resources"]}
            self.assertEqual(self.cloud["events"].put_events(Entries=[entry])["FailedEntryCount"], 0)

        def they_are_there():
            found = [event["detail"] for event in self.in_queue()]
            return all(event["detail"] in found for event in sent)
        until(they_are_there, SECONDS)

    def test_an_alarm_goes_off_and_is_heard_of(self):
        """What the binary publishes sets the alarm that `alarms apply` made to ALARM, by the
        service's own evaluation, and the message is read from SQS by way of SNS; the alarm bears
        the action on this very instance, and applying again changes nothing."""
        name = f"deploywatch/{ID}/last-deployment-failed"

        def it_is_heard_of():
            return [note for note in self.at_topic()
                    if note.get("AlarmName") == name and note["NewStateValue"] == "ALARM"]
        note = until(it_is_heard_of, SECONDS, self.instance.said)[0]
        self.assertEqual(note["AWSAccountId"], ACCOUNT)
        self.assertEqual(note["Trigger"]["MetricName"], "LastDeploymentFailed")
        alarm = self.cloud["cloudwatch"].describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        self.assertEqual(alarm["StateValue"], "ALARM")
        self.assertEqual(set(alarm["AlarmActions"]), {f"arn:aws:automate:{REGION}:ec2:stop", self.topic})
        code, said = self.instance.command("alarms", "plan")
        self.assertEqual(code, 0, said)


def about_deployment(events):
    """How the CodeDeploy agent is doing is not the test's affair."""
    return [e for e in events if e.get("source") == "deploywatch" and "deployment" in e["detail"]]


if __name__ == "__main__":
    unittest.main()
