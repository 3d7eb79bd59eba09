"""The CloudFormation template with its conditions and references worked out, as a stack would see it.

Only the intrinsic functions that the template uses are known; any other is an error.
"""
import functools
import itertools
import json
import pathlib
import re

import yaml

PATH = pathlib.Path(__file__).resolve().parents[2] / "packaging/cloudformation/deploywatch.yaml"
NOTHING = object()
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "111122223333",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "watch",
    "AWS::NoValue": NOTHING,
}


class Call:
    """An intrinsic function with its argument."""

    def __init__(self, name, argument):
        self.name, self.argument = name, argument


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags."""


def _call(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return Call(suffix, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Call(suffix, loader.construct_sequence(node, deep=True))
    raise ValueError(f"!{suffix} of a mapping")


Loader.add_multi_constructor("!", _call)


def text():
    return PATH.read_text()


@functools.cache
def tree():
    return yaml.load(text(), Loader)


class Stack:
    """The template for one choice of parameters."""

    def __init__(self, pseudo=None, **parameters):
        self.tree = tree()
        self.pseudo = {**PSEUDO, **(pseudo or {})}
        self.parameters = {}
        for name, declared in self.tree["Parameters"].items():
            value = parameters.pop(name, declared["Default"])
            self.parameters[name] = self._checked(name, declared, value)
        assert not parameters, f"no such parameters: {list(parameters)}"
        self.resources = {
            name: self.resolve(body)
            for name, body in self.tree["Resources"].items()
            if "Condition" not in body or self.condition(body["Condition"])
        }
        for output in self.tree["Outputs"].values():
            if "Condition" not in output or self.condition(output["Condition"]):
                self.resolve(output["Value"])

    @staticmethod
    def _checked(name, declared, value):
        parts = [value]
        if declared["Type"] == "CommaDelimitedList":
            value = parts = [part.strip() for part in str(value).split(",")]
        for part in parts:
            if "AllowedValues" in declared:
                assert part in declared["AllowedValues"], f"{name}: {part}"
            if "AllowedPattern" in declared:
                assert re.fullmatch(declared["AllowedPattern"], str(part)), f"{name}: {part}"
            if "MinValue" in declared:
                assert part >= declared["MinValue"], f"{name}: {part}"
        return value

    def of_type(self, kind):
        return {n: r["Properties"] for n, r in self.resources.items() if r["Type"] == kind}

    def condition(self, name):
        return self._judge(self.tree["Conditions"][name])

    def _judge(self, call):
        if call.name == "Condition":
            return self.condition(call.argument)
        if call.name == "Not":
            return not self._judge(call.argument[0])
        if call.name == "And":
            return all([self._judge(part) for part in call.argument])
        if call.name == "Or":
            return any([self._judge(part) for part in call.argument])
        if call.name == "Equals":
            one, two = [str(self.resolve(part)) for part in call.argument]
            return one == two
        raise ValueError(f"!{call.name} in a condition")

    def resolve(self, node):
        if isinstance(node, dict):
            pairs = [(key, self.resolve(value)) for key, value in node.items()]
            return {key: value for key, value in pairs if value is not NOTHING}
        if isinstance(node, list):
            values = [self.resolve(value) for value in node]
            return [value for value in values if value is not NOTHING]
        if isinstance(node, Call):
            return getattr(self, "_" + node.name)(node.argument)
        return node

    def _Ref(self, name):
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = self._kind(name)
        if kind in ("AWS::SNS::Topic", "AWS::IAM::ManagedPolicy"):
            return self._arn(name)
        return self._name(name)

    def _GetAtt(self, path):
        name, attribute = path.split(".")
        if attribute == "Arn":
            return self._arn(name)
        assert attribute in ("QueueName", "TopicName"), path
        return self._name(name)

    def _If(self, argument):
        condition, yes, no = argument
        return self.resolve(yes if self.condition(condition) else no)

    def _Select(self, argument):
        index, values = argument
        return self.resolve(values)[index]

    def _Join(self, argument):
        return argument[0].join(self.resolve(argument[1]))

    def _Sub(self, argument):
        pattern, given = argument if isinstance(argument, list) else (argument, {})
        given = {name: self.resolve(value) for name, value in given.items()}

        def value(found):
            name = found.group(1)
            if name in given:
                return given[name]
            return str(self._GetAtt(name) if "." in name else self._Ref(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", value, pattern)

    def _kind(self, name):
        body = self.tree["Resources"][name]
        if "Condition" in body:
            assert self.condition(body["Condition"]), f"{name} is referred to but not made"
        return body["Type"]

    def _name(self, name):
        self._kind(name)
        given = self.tree["Resources"][name]["Properties"]
        for key in ("QueueName", "TopicName", "LogGroupName", "FunctionName", "Name", "DashboardName"):
            if key in given:
                return self.resolve(given[key])
        return f"{self.pseudo['AWS::StackName']}-{name}"

    def _arn(self, name):
        service, form = {
            "AWS::SNS::Topic": ("sns", "{}"),
            "AWS::SQS::Queue": ("sqs", "{}"),
            "AWS::Kinesis::Stream": ("kinesis", "stream/{}"),
            "AWS::Lambda::Function": ("lambda", "function:{}"),
            "AWS::Logs::LogGroup": ("logs", "log-group:{}:*"),
            "AWS::KMS::Key": ("kms", "key/{}"),
            "AWS::IAM::Role": ("iam", "role/{}"),
            "AWS::IAM::ManagedPolicy": ("iam", "policy/{}"),
            "AWS::S3::Bucket": ("s3", "{}"),
        }[self._kind(name)]
        place = {
            "iam": f":{self.pseudo['AWS::AccountId']}",
            "s3": ":",
        }.get(service, f"{self.pseudo['AWS::Region']}:{self.pseudo['AWS::AccountId']}")
        return f"arn:{self.pseudo['AWS::Partition']}:{service}:{place}:{form.format(self._name(name))}"


EVERYTHING = {
    "KmsKey": "create",
    "InstanceRole": "web",
    "Email": "ops@example.com",
    "Queue": "yes",
    "Stream": "yes",
    "Function": "arn:aws:lambda:eu-west-1:111122223333:function:mine",
    "SlackSecret": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slack-AbCdEf",
    "CodeDeployInstanceStates": "START,READY,SUCCESS,FAILURE",
    "CodePipelineStates": "FAILED",
    "CodePipelineStageStates": "FAILED",
    "CodePipelineActionStates": "FAILED",
    "FleetInstances": 3,
    "Trail": "yes",
    "TrailTopic": "yes",
}
NOTHING_AT_ALL = {
    "LogGroups": "no",
    "InstancePolicy": "no",
    "DeploywatchEvents": "none",
    "CodeDeployDeploymentStates": "none",
    "Topic": "no",
    "History": "no",
    "FleetFailures": 0,
    "Dashboard": "no",
}


@functools.cache
def stacks():
    return list(_stacks())


def _stacks():
    """Stacks for many choices: nothing, the default, everything, and every choice alone."""
    yield "nothing", Stack(**NOTHING_AT_ALL)
    yield "default", Stack()
    yield "everything", Stack(**EVERYTHING)
    yield "a group", Stack(**EVERYTHING, AutoScalingGroup="web")
    yield "own bus", Stack(**EVERYTHING, EventBus="ops")
    yield "own key", Stack(**{**EVERYTHING, "KmsKey": "arn:aws:kms:eu-west-1:111122223333:key/k-1"})
    china = {"AWS::Partition": "aws-cn", "AWS::Region": "cn-north-1", "AWS::URLSuffix": "amazonaws.com.cn"}
    yield "China", Stack(china, **{n: v for n, v in EVERYTHING.items() if "arn:" not in str(v)})
    for (name, value), base in itertools.product(EVERYTHING.items(), ({}, NOTHING_AT_ALL)):
        yield f"{name}={value}, {len(base)}", Stack(**{**base, name: value})
    for name, value in NOTHING_AT_ALL.items():
        yield f"all but {name}", Stack(**{**EVERYTHING, name: value})


def document(value):
    """A policy, which some resources want as text."""
    return json.loads(value) if isinstance(value, str) else value
