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
    ("HistoryPolicy", "events.amazonaws.com"): "EventBridge names no rule when it makes a log stream",
    ("EventsTopicPolicy", "events.amazonaws.com"): "EventBridge names no rule when it publishes to a topic",
    ("Key", "events.amazonaws.com"): "nor when the topic is encrypted",
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
        """EventBridge tells queues, functions, roles and log events its rule but no account, topics
        and their keys neither, nor is a log stream made in a rule's name (EventBridge and SNS user
        guides); a condition on what is not told drops every event without a word."""
        for _, stack in template.stacks():
            for name, statement in statements(stack):
                principal = statement.get("Principal")
                services = many(principal.get("Service", [])) if isinstance(principal, dict) else []
                if "events.amazonaws.com" not in services:
                    continue
                condition = json.dumps(statement.get("Condition", {}))
                self.assertNotIn("aws:SourceAccount", condition, name)
                makes_streams = "logs:CreateLogStream" in many(statement["Action"])
                if name in ("EventsTopicPolicy", "Key") or makes_streams:
                    self.assertEqual(condition, "{}", name)
                else:
                    self.assertIn("aws:SourceArn", condition, name)
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
            return allowed["Resource"] == target["Arn"] and any(
                self.is_for(rule, statement) for statement in role["AssumeRolePolicyDocument"]["Statement"])
        permitted = set()
        for name, statement in statements(stack):
            resource = statement.get("Resource")
            # A group's streams, where the target is the group.
            if resource != (target["Arn"] + ":*" if service == "logs" else target["Arn"]):
                continue
            if "events.amazonaws.com" not in many(statement.get("Principal", {}).get("Service")):
                continue
            is_explained = "Condition" not in statement and (name, "events.amazonaws.com") in UNCONDITIONED
            if is_explained or self.is_for(rule, statement):
                permitted.update(many(statement["Action"]))
        return permitted == {
            "logs": {"logs:CreateLogStream", "logs:PutLogEvents"},
            "sns": {"sns:Publish"},
            "sqs": {"sqs:SendMessage"},
        }[service]

    def is_for(self, rule, statement):
        sources = statement.get("Condition", {}).get("ArnLike", {}).get("aws:SourceArn", [])
        return any(matches(source, rule) for source in many(sources))

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


class Encryption(unittest.TestCase):
    def test_the_key_is_used_wherever_something_is_kept(self):
        """With a key, log groups, topics, stream, bucket and trail are encrypted with it; without,
        with what AWS gives: no unencrypted bucket, queue or stream in any choice."""
        for choice, stack in template.stacks():
            given = stack.parameters["KmsKey"]
            key = stack._arn("Key") if given == "create" else given or None
            with self.subTest(choice):
                for kind, name in (("Logs::LogGroup", "KmsKeyId"), ("SNS::Topic", "KmsMasterKeyId"), ("CloudTrail::Trail", "KMSKeyId")):
                    for properties in stack.of_type(f"AWS::{kind}").values():
                        self.assertEqual(properties.get(name), key)
                for stream in stack.of_type("AWS::Kinesis::Stream").values():
                    wanted = {"EncryptionType": "KMS", "KeyId": key or "alias/aws/kinesis"}
                    self.assertEqual(stream["StreamEncryption"], wanted)
                for queue in stack.of_type("AWS::SQS::Queue").values():
                    self.assertTrue(queue["SqsManagedSseEnabled"])
                for bucket in stack.of_type("AWS::S3::Bucket").values():
                    rule, = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
                    algorithm = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
                    self.assertEqual(rule["ServerSideEncryptionByDefault"], algorithm)


class Trail(unittest.TestCase):
    def test_the_bucket_is_private(self):
        """Nobody can make it public, nobody reaches it unencrypted, and only this very trail writes
        into it, below this account's folder."""
        for choice, stack in template.stacks():
            for bucket in stack.of_type("AWS::S3::Bucket").values():
                self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True}, choice)
                self.assertEqual(len(bucket["PublicAccessBlockConfiguration"]), 4)
                self.assertEqual(bucket["OwnershipControls"]["Rules"], [{"ObjectOwnership": "BucketOwnerEnforced"}])
                policy = stack.resources["TrailBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
                allowed = {s["Action"]: s["Resource"] for s in policy if s["Effect"] == "Allow"}
                arn = stack._arn("TrailBucket")
                account = stack.pseudo["AWS::AccountId"]
                self.assertEqual(allowed, {"s3:GetBucketAcl": arn, "s3:PutObject": f"{arn}/AWSLogs/{account}/*"})
                denied = [s for s in policy if s["Effect"] == "Deny"]
                self.assertEqual([(s["Principal"], s["Action"], s["Resource"], s["Condition"]) for s in denied],
                                 [("*", "s3:*", [arn, f"{arn}/*"], {"Bool": {"aws:SecureTransport": "false"}})])

    def test_files_are_archived_and_expire_as_chosen(self):
        """Each number is in its lifecycle rule, and 0 leaves the rule out."""
        def rules(**days):
            stack = Stack(Trail="yes", **days)
            found = stack.resources["TrailBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
            self.assertEqual({rule["Status"] for rule in found}, {"Enabled"})
            return {rule["Id"]: rule for rule in found}
        chosen = rules(TrailArchiveDays=7, TrailExpireDays=31)
        self.assertEqual(chosen["archive"]["Transitions"], [{"StorageClass": "GLACIER", "TransitionInDays": 7}])
        self.assertEqual(chosen["expire"]["ExpirationInDays"], 31)
        self.assertEqual(set(rules(TrailArchiveDays=0)), {"unfinished", "expire"})
        self.assertEqual(set(rules(TrailExpireDays=0)), {"unfinished", "archive"})

    def test_it_records_and_tells_as_chosen(self):
        """It is on, its files can be proven unchanged, and SNS hears of them only if that was chosen."""
        for topic in ("yes", "no"):
            trail = Stack(Trail="yes", TrailTopic=topic).resources["CallsTrail"]["Properties"]
            self.assertTrue(trail["IsLogging"] and trail["EnableLogFileValidation"])
            self.assertTrue(trail["EventSelectors"][0]["IncludeManagementEvents"])
            self.assertEqual(trail.get("SnsTopicName"), "watch-trail" if topic == "yes" else None)

    def test_what_is_tried_when_it_is_made_comes_first(self):
        """CloudTrail tries bucket and topic when a trail is made, and fails without their policies:
        they come before it; as the history's policy comes before its rules."""
        for later, policies in {
            "CallsTrail": {"TrailBucketPolicy", "FilesTopicPolicy"},
            "HistoryEvents": {"HistoryPolicy"},
            "CallEvents": {"HistoryPolicy"},
        }.items():
            resource = template.tree()["Resources"][later]
            before = set(many(resource.get("DependsOn", []))) | set(references(resource["Properties"]))
            self.assertLessEqual(policies, before, later)


class FleetAlarms(unittest.TestCase):
    def test_failures_and_silence_are_noticed(self):
        """As many failures or as few heartbeats as chosen, across the fleet or one group; silence
        counts as silence; and 0 makes no alarm."""
        fleet = Stack(FleetFailures=4, FleetInstances=7).resources
        self.assertNotIn("SilentGroupAlarm", fleet)
        failures, silent = (fleet[name]["Properties"] for name in ("FailuresAlarm", "SilentAlarm"))
        self.assertEqual((failures["Threshold"], failures["ComparisonOperator"]), (4, "GreaterThanOrEqualToThreshold"))
        self.assertEqual((silent["Threshold"], silent["ComparisonOperator"]), (7, "LessThanThreshold"))
        self.assertEqual(silent["TreatMissingData"], "breaching")
        group = Stack(FleetInstances=1, AutoScalingGroup="web").resources
        self.assertNotIn("SilentAlarm", group)
        for name in ("FailuresAlarm", "SilentGroupAlarm"):
            told = [m["MetricStat"]["Metric"]["Dimensions"] for m in group[name]["Properties"]["Metrics"] if "MetricStat" in m]
            self.assertTrue(told)
            self.assertTrue(all(d == [{"Name": "AutoScalingGroupName", "Value": "web"}] for d in told))
        none = Stack(FleetFailures=0, FleetInstances=0, AutoScalingGroup="web").resources
        self.assertFalse({"FailuresAlarm", "SilentAlarm", "SilentGroupAlarm"} & set(none))


class Dashboard(unittest.TestCase):
    def test_the_readmes_picture_is_its_layout(self):
        """The README draws each widget where it is, under its title: shown by reading the drawing."""
        readme = (template.PATH.parents[2] / "README.md").read_text()
        drawn = []
        for band in re.split(r"(?m)^ {4}\+[-+]+\+$", readme.split("\nThe dashboard:\n")[1])[1:-1]:
            lines = [line.strip()[1:-1].split("|") for line in band.strip().splitlines()]
            drawn.append([" ".join(" ".join(part).split()) for part in zip(*lines)])
        body = Stack().resources["FleetDashboard"]["Properties"]["DashboardBody"]
        placed = sorted((w["y"], w["x"], w["properties"]["title"]) for w in json.loads(body)["widgets"])
        bands = [[title for y, _, title in placed if y == band] for band in dict.fromkeys(y for y, _, _ in placed)]
        self.assertEqual([len(band) for band in bands], [len(band) for band in drawn])
        for title, cell in zip(sum(bands, []), sum(drawn, [])):
            self.assertTrue(cell.startswith(title), f"{title}: {cell}")

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


def references(node):
    """The names that a part of the template refers to, whatever is chosen."""
    if isinstance(node, template.Call) and node.name in ("Ref", "GetAtt"):
        yield node.argument.split(".")[0]
    elif isinstance(node, template.Call):
        yield from references(node.argument)
    elif isinstance(node, (dict, list)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from references(part)


def matches(pattern, arn):
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), arn) is not None


if __name__ == "__main__":
    unittest.main()
