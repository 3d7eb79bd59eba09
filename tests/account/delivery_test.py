"""The template's rules and targets in an EventBridge that others wrote: what the agent sends comes
out of the queue and stands in the history.

moto's EventBridge delivers to queues and log groups; topics, streams and functions it does not.
The rules are made from the template's own properties, in memory, without a network.
"""
import json
import os
import unittest

import boto3
import moto
from samples import ACTION, DEPLOYMENT, INSTANCE, codedeploy, codepipeline, expected, own
from template import EVERYTHING, Stack

os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_DEFAULT_REGION="eu-west-1")


@moto.mock_aws
class Delivery(unittest.TestCase):
    def setUp(self):
        account = boto3.client("sts").get_caller_identity()["Account"]
        self.stack = Stack({"AWS::AccountId": account}, **EVERYTHING)
        self.sqs, self.logs = boto3.client("sqs"), boto3.client("logs")
        for queue in self.stack.of_type("AWS::SQS::Queue").values():
            self.sqs.create_queue(QueueName=queue["QueueName"])
        for group in self.stack.of_type("AWS::Logs::LogGroup").values():
            self.logs.create_log_group(logGroupName=group["LogGroupName"])
        self.events = boto3.client("events")
        for rule in self.stack.of_type("AWS::Events::Rule").values():
            bus = rule.get("EventBusName", "default")
            pattern = json.dumps(rule["EventPattern"])
            self.events.put_rule(Name=rule["Name"], EventPattern=pattern, EventBusName=bus)
            targets = [t for t in rule["Targets"] if t["Arn"].split(":")[2] in ("sqs", "logs")]
            done = self.events.put_targets(Rule=rule["Name"], EventBusName=bus, Targets=targets)
            self.assertEqual(done["FailedEntryCount"], 0)

    def send(self, event):
        entry = {"Source": event["source"], "DetailType": event["detail-type"],
                 "Detail": json.dumps(event["detail"]), "Resources": event["resources"]}
        self.assertEqual(self.events.put_events(Entries=[entry])["FailedEntryCount"], 0)

    def queued(self):
        url = self.sqs.get_queue_url(QueueName="watch-events")["QueueUrl"]
        found = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def history(self):
        found = self.logs.filter_log_events(logGroupName="/aws/events/watch")["events"]
        return [json.loads(event["message"]) for event in found]

    def test_events_reach_the_queue_and_the_history(self):
        """Each of our events comes out of the queue if it was chosen, with all of its detail, and
        all stand in the history; CodeDeploy's and CodePipeline's come as their states are chosen."""
        aws = [codedeploy(DEPLOYMENT, "FAILURE"), codedeploy(DEPLOYMENT, "START"), codedeploy(INSTANCE, "READY"),
               codepipeline(ACTION, "FAILED"), codepipeline(ACTION, "STARTED")]
        for event in own() + aws:
            self.send(event)
        wanted = [e for e in own() + aws if expected(e, self.stack) - {"HistoryEvents", "CallEvents"}]
        self.assertEqual(len(wanted), 8 + 3)
        order = lambda details: sorted(json.dumps(detail, sort_keys=True) for detail in details)
        self.assertEqual(order(e["detail"] for e in self.queued()), order(e["detail"] for e in wanted))
        self.assertEqual(order(e["detail"] for e in self.history()), order(e["detail"] for e in own()))


if __name__ == "__main__":
    unittest.main()
