"""What cfn-lint does not see: references under every choice of parameters, what a policy permits,
whether the actions and ARNs in it exist, whether a target can be written to."""
import json
import re
import unittest

import botocore.session
import template
from template import Stack, document

# Statements that must be as wide as this, each with its reason.
WIDE = {
    ("Key", "kms:*"): "a key policy's resource is the key itself; the root statement hands over to IAM",
    ("AgentPolicy", "cloudwatch:PutMetricData"): "the action knows no resource; the namespace is pinned",
    ("TrailBucketPolicy", "s3:*"): "a denial, which must be wide",
}
# Statements for a service that say nothing of the account or the source, each with its reason.
UNCONDITIONED = {
    ("SlackRole", "lambda.amazonaws.com"): "Lambda names no source when it assumes a role at create time",
    ("HistoryPolicy", "events.amazonaws.com"): "EventBridge names no rule when it writes to a log group",
    ("EventsTopicPolicy", "events.amazonaws.com"): "EventBridge names no rule when it publishes to a topic",
    ("Key", "events.amazonaws.com"): "nor when the topic is encrypted",
    ("StreamRole", "events.amazonaws.com"): "nor, for sure, when it assumes a role; this one only writes to the stream",
    ("HistoryPolicy", "delivery.logs.amazonaws.com"): "as above",
}
# Actions that are not named like an operation of the API.
NOT_OPERATIONS = {"lambda:InvokeFunction"}
MODELS = {"cloudwatch": "cloudwatch", "events": "events", "logs": "logs", "sns": "sns", "sqs": "sqs",
          "kinesis": "kinesis", "kms": "kms", "s3": "s3", "sts": "sts", "secretsmanager": "secretsmanager"}


def many(value):
    return value if isinstance(value, list) else [value]


def statements(stack):
    """Every statement of every policy, with the resource it belongs to."""
    for name, resource in stack.resources.items():
        properties = resource["Properties"]
        documents = [properties.get(key) for key in ("PolicyDocument", "KeyPolicy", "AssumeRolePolicyDocument")]
        documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for found in documents:
            for statement in document(found)["Statement"] if found else []:
                yield name, statement


class Template(unittest.TestCase):
    def test_every_choice_refers_only_to_what_it_makes(self):
        """No choice of parameters leaves a reference to what is not made: shown by working the
        template out for many of them, and that nothing at all is made when nothing is wanted."""
        made = {name: stack.resources for name, stack in template.stacks()}
        self.assertFalse(made["nothing"])
        every = set(made["everything"]) | set(made["a group"])
        self.assertEqual(every, set(template.tree()["Resources"]))

    def test_it_can_be_deployed_with_one_command(self):
        """A template of more than 51,200 bytes would need a bucket first."""
        self.assertLessEqual(len(template.text().encode()), 51_200)

    def test_no_partition_or_account_is_written_down(self):
        """It must work in every partition: ARNs take theirs from the stack."""
        for found in re.findall(r"arn:[a-z-]*:|\b[0-9]{12}\b", template.text()):
            self.assertIn(found, ("arn:",), found)

    def test_every_parameter_is_described_used_and_grouped(self):
        """Nobody meets a parameter that does nothing or that the console hides in a rest."""
        tree = template.tree()
        groups = tree["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        grouped = [name for group in groups for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(tree["Parameters"]))
        body = template.text().split("\nConditions:")[1]
        for name, declared in tree["Parameters"].items():
            self.assertIn("Description", declared, name)
            self.assertRegex(body, rf"!Ref {name}\b|\$\{{{name}\}}", name)

    def test_the_slack_function_is_the_one_that_is_tested(self):
        """The code in the template equals the file beside it, to the letter."""
        stack = Stack(**template.EVERYTHING)
        code = stack.resources["SlackFunction"]["Properties"]["Code"]["ZipFile"]
        self.assertEqual(code, (template.PATH.parent / "slack/index.py").read_text())


class Privileges(unittest.TestCase):
    def test_nothing_is_wider_than_it_must_be(self):
        """No `*` for actions or resources but in statements that are explained here; and no
        explanation without its statement."""
        used = set()
        for _, stack in template.stacks():
            for name, statement in statements(stack):
                wide = [a for a in many(statement["Action"]) if a == "*" or a.endswith(":*")]
                if "*" in many(statement.get("Resource", [])):
                    wide += [a for a in many(statement["Action"]) if name != "Key" and a not in wide]
                for action in wide:
                    self.assertIn((name, action), WIDE)
                    used.add((name, action))
                self.assertNotIn("NotAction", statement)
                self.assertNotIn("NotResource", statement)
                self.assertFalse(statement.get("Principal") == "*" and statement["Effect"] == "Allow")
        self.assertEqual(used, set(WIDE))

    def test_a_service_acts_only_for_this_account(self):
        """Every permission for a service names the source or the account it may act for."""
        used = set()
        for _, stack in template.stacks():
            for name, statement in statements(stack):
                principal = statement.get("Principal")
                if not isinstance(principal, dict) or "Service" not in principal:
                    continue
                condition = json.dumps(statement.get("Condition", {}))
                if "aws:SourceA" in condition or "EncryptionContext:aws:logs:arn" in condition:
                    continue
                for service in many(principal["Service"]):
                    self.assertIn((name, service), UNCONDITIONED)
                    used.add((name, service))
            for name, permission in stack.of_type("AWS::Lambda::Permission").items():
                self.assertIn(f":{stack.pseudo['AWS::AccountId']}:rule/", permission["SourceArn"], name)
                self.assertIn("-*", permission["SourceArn"], name)
        self.assertEqual(used, set(UNCONDITIONED))

    def test_eventbridge_is_not_locked_out(self):
        """EventBridge tells queues and functions its rule but no account, topics and their keys
        neither (EventBridge and SNS user guides); a condition on what is not told drops every
        event without a word."""
        for _, stack in template.stacks():
            for name, statement in statements(stack):
                principal = statement.get("Principal")
                services = many(principal.get("Service", [])) if isinstance(principal, dict) else []
                if "events.amazonaws.com" not in services:
                    continue
                condition = json.dumps(statement.get("Condition", {}))
                self.assertNotIn("aws:SourceAccount", condition, name)
                if name in ("EventsTopicPolicy", "Key", "StreamRole"):
                    self.assertEqual(condition, "{}", name)
            for name, permission in stack.of_type("AWS::Lambda::Permission").items():
                self.assertNotIn("SourceAccount", permission, name)

    def test_every_action_exists(self):
        """A misspelt action permits nothing and is told by nobody: each is an operation in
        botocore's models, a prefix of one, or explained here."""
        session = botocore.session.get_session()
        operations = {
            prefix: session.get_service_model(model).operation_names for prefix, model in MODELS.items()
        }
        seen = set()
        for _, stack in template.stacks():
            for _, statement in statements(stack):
                seen.update(many(statement["Action"]))
            seen.update(p["Action"] for p in stack.of_type("AWS::Lambda::Permission").values())
        self.assertGreater(len(seen), 15)
        for action in seen - NOT_OPERATIONS:
            prefix, operation = action.split(":")
            if operation == "*":
                continue
            if operation == "ReEncrypt*":
                operation = "ReEncrypt"
            stem = operation.rstrip("*")
            known = [name for name in operations[prefix] if name == stem or operation[-1] == "*" and name.startswith(stem)]
            self.assertTrue(known, action)

    def test_every_resource_is_an_arn_of_its_service(self):
        """A statement's resource belongs to the service of its action."""
        for _, stack in template.stacks():
            for name, statement in statements(stack):
                services = {action.split(":")[0] for action in many(statement["Action"])}
                for resource in many(statement.get("Resource", [])):
                    if resource != "*":
                        arn = resource.split(":")
                        self.assertEqual(arn[:2], ["arn", stack.pseudo["AWS::Partition"]], name)
                        self.assertEqual({arn[2]}, services, name)


class Targets(unittest.TestCase):
    def test_every_target_can_be_written_to(self):
        """Each target of each rule is there (or given), lets the rule in, is tried again for a day
        and has a dead-letter queue that lets the rule in."""
        for choice, stack in template.stacks():
            rules = stack.of_type("AWS::Events::Rule")
            for name, rule in rules.items():
                bus = rule.get("EventBusName", "default")
                path = rule["Name"] if bus == "default" else f"{bus}/{rule['Name']}"
                arn = "arn:{}:events:{}:{}:rule/{}".format(
                    *[stack.pseudo[f"AWS::{n}"] for n in ("Partition", "Region", "AccountId")], path)
                self.assertLessEqual(len(rule["Name"]), 64)
                self.assertTrue(1 <= len(rule["Targets"]) <= 5, f"{choice}: {name}")
                for target in rule["Targets"]:
                    with self.subTest(f"{choice}: {name} to {target['Id']}"):
                        self.assertTrue(self.lets_in(stack, target, arn))
                        self.assertEqual(target["RetryPolicy"], {"MaximumEventAgeInSeconds": 86400})
                        dead = {"Arn": target["DeadLetterConfig"]["Arn"]}
                        self.assertTrue(self.lets_in(stack, dead, arn))

    def lets_in(self, stack, target, rule):
        service = target["Arn"].split(":")[2]
        if service == "lambda":
            return any(
                permission["FunctionName"] in (target["Arn"], target["Arn"].split(":")[6])
                and matches(permission["SourceArn"], rule)
                for permission in stack.of_type("AWS::Lambda::Permission").values())
        if service == "kinesis":
            role = next(r for n, r in stack.of_type("AWS::IAM::Role").items() if stack._arn(n) == target["RoleArn"])
            allowed = role["Policies"][0]["PolicyDocument"]["Statement"][0]
            return allowed["Resource"] == target["Arn"]
        for name, statement in statements(stack):
            resource = statement.get("Resource")
            # A group's streams, where the target is the group.
            if resource != (target["Arn"] + ":*" if service == "logs" else target["Arn"]):
                continue
            if "events.amazonaws.com" not in many(statement["Principal"]["Service"]):
                continue
            sources = statement.get("Condition", {}).get("ArnLike", {}).get("aws:SourceArn")
            if sources is None and (name, "events.amazonaws.com") in UNCONDITIONED:
                return True
            return any(matches(source, rule) for source in many(sources))
        return False

    def test_alarms_act_only_on_the_topic(self):
        """Every action of every alarm is the topic of this very stack: no other ARN, no EC2 action;
        and the topic lets CloudWatch in."""
        for choice, stack in template.stacks():
            topic = "EventsTopic" in stack.resources and stack._arn("EventsTopic")
            for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
                actions = alarm.get("AlarmActions", []) + alarm.get("OKActions", [])
                self.assertEqual(set(actions), {topic} if topic else set(), f"{choice}: {name}")
            if topic:
                policy = stack.resources["EventsTopicPolicy"]["Properties"]["PolicyDocument"]
                services = [s["Principal"]["Service"] for s in policy["Statement"]]
                self.assertEqual(services, ["events.amazonaws.com", "cloudwatch.amazonaws.com"])

    def test_alarms_watch_metrics_of_the_agent(self):
        """Metrics that alarms and dashboard name are ones that the agent publishes."""
        published = {"Heartbeat", "CodeDeployAgentHealthy", "DeploymentsSucceeded", "DeploymentsFailed",
                     "LastDeploymentFailed", "DeploymentRunningSeconds", "LifecycleEventSeconds",
                     "BacklogBytes", "LostBytes", "RefusedEvents"}
        text = template.text()
        named = re.findall(r'MetricName=\\"(\w+)\\"|SELECT SUM\((\w+)\)|Namespace: Deploywatch\n +MetricName: (\w+)', text)
        self.assertGreater(len(named), 8)
        for names in named:
            self.assertIn("".join(names), published)


class Dashboard(unittest.TestCase):
    def test_it_is_json_whose_widgets_do_not_overlap(self):
        """The body is JSON in every choice, and no two widgets cover each other: shown by laying
        them out on the 24 columns."""
        for choice, stack in template.stacks():
            for dashboard in stack.of_type("AWS::CloudWatch::Dashboard").values():
                widgets = json.loads(dashboard["DashboardBody"])["widgets"]
                self.assertGreaterEqual(len(widgets), 5, choice)
                taken = set()
                for widget in widgets:
                    cells = {
                        (x, y)
                        for x in range(widget["x"], widget["x"] + widget["width"])
                        for y in range(widget["y"], widget["y"] + widget["height"])
                    }
                    self.assertFalse(taken & cells, widget["properties"]["title"])
                    self.assertTrue(all(x < 24 for x, _ in cells))
                    taken |= cells


def matches(pattern, arn):
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), arn) is not None


if __name__ == "__main__":
    unittest.main()
