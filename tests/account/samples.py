"""Events of every level and state, and the rules that each should match, said without patterns.

The events are made from the services' own documented shapes; ours are those that the agent's tests
hold (`own.ndjson` beside this). Two matchers are held against it: `patterns_test.py` and
`localstack/localstack_test.py`.
"""
import itertools
import json
import pathlib

from template import EVERYTHING, NOTHING_AT_ALL, Stack

OWN = pathlib.Path(__file__).with_name("own.ndjson")
DEPLOYMENT = "CodeDeploy Deployment State-change Notification"
INSTANCE = "CodeDeploy Instance State-change Notification"
PIPELINE = "CodePipeline Pipeline Execution State Change"
STAGE = "CodePipeline Stage Execution State Change"
ACTION = "CodePipeline Action Execution State Change"
CALL = "AWS API Call via CloudTrail"
STATES = {
    DEPLOYMENT: ["START", "READY", "SUCCESS", "FAILURE", "STOP"],
    INSTANCE: ["START", "READY", "SUCCESS", "FAILURE"],
    PIPELINE: ["STARTED", "STOPPING", "STOPPED", "SUCCEEDED", "SUPERSEDED", "FAILED", "CANCELED", "RESUMED"],
    STAGE: ["STARTED", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "CANCELED", "RESUMED"],
    ACTION: ["STARTED", "SUCCEEDED", "FAILED", "CANCELED", "ABANDONED"],
}
RULES = {
    DEPLOYMENT: ("DeploymentEvents", "CodeDeployDeploymentStates"),
    INSTANCE: ("InstanceEvents", "CodeDeployInstanceStates"),
    PIPELINE: ("PipelineEvents", "CodePipelineStates"),
    STAGE: ("StageEvents", "CodePipelineStageStates"),
    ACTION: ("ActionEvents", "CodePipelineActionStates"),
}


def envelope(source, kind, detail, resources=()):
    return {
        "version": "0", "id": "6f5b8a0e-0000-4000-8000-000000000000", "detail-type": kind, "source": source,
        "account": "111122223333", "time": "2026-11-21T10:00:00Z", "region": "eu-west-1",
        "resources": list(resources), "detail": detail,
    }


def codedeploy(kind, state, application="shop"):
    detail = {"region": "eu-west-1", "deploymentId": "d-123456789", "application": application,
              "deploymentGroup": "web", "instanceGroupId": "9fd2fbef-2157-40d8-91e7-6845af69e2d2", "state": state}
    arn = "arn:aws:codedeploy:eu-west-1:111122223333:"
    resources = [f"{arn}deploymentgroup:{application}/web", f"{arn}application:{application}"]
    if kind == INSTANCE:
        detail["instanceId"] = "i-0123456789abcdef0"
        resources.insert(0, "arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0")
    return envelope("aws.codedeploy", kind, detail, resources)


def codepipeline(kind, state, pipeline="release"):
    detail = {"pipeline": pipeline, "version": 3, "state": state,
              "execution-id": "01234567-0123-0123-0123-012345678901"}
    if kind in (STAGE, ACTION):
        detail["stage"] = "Prod"
    if kind == ACTION:
        detail["action"] = "Deploy"
        detail["type"] = {"owner": "AWS", "category": "Deploy", "provider": "CodeDeploy", "version": "1"}
    return envelope("aws.codepipeline", kind, detail, [f"arn:aws:codepipeline:eu-west-1:111122223333:{pipeline}"])


def call(source):
    return envelope(f"aws.{source}", CALL, {"eventSource": f"{source}.amazonaws.com", "eventName": "StopDeployment"})


def own():
    return [json.loads(line) for line in OWN.read_text().splitlines()]


def samples():
    for kind, states in STATES.items():
        make = codedeploy if kind in (DEPLOYMENT, INSTANCE) else codepipeline
        for state, name in itertools.product(states + ["ELSE"], ("one", "another")):
            yield make(kind, state, name)
    # Right words from the wrong service, and the services' other events.
    yield codepipeline(DEPLOYMENT, "FAILURE") | {"source": "aws.codepipeline"}
    yield codedeploy(PIPELINE, "FAILED") | {"source": "aws.codedeploy"}
    yield call("codedeploy")
    yield call("codepipeline")
    yield call("ec2")
    yield envelope("aws.ec2", "EC2 Instance State-change Notification", {"state": "stopped"})
    yield envelope("someone", "Deploywatch Deployment Failed", {"kind": "deployment_failed"})
    yield from own()


def expected(event, choice):
    """The rules an event should match, said without patterns."""
    kind, detail = event["detail-type"], event["detail"]
    rules = set()
    if event["source"] == "deploywatch":
        rules.add("HistoryEvents")
        if detail["kind"] in choice.parameters["DeploywatchEvents"]:
            rules.add("OwnEvents")
    if kind == CALL and event["source"] != "aws.ec2":
        rules.add("CallEvents")
    service = "aws.codedeploy" if kind in (DEPLOYMENT, INSTANCE) else "aws.codepipeline"
    if kind in RULES and event["source"] == service:
        rule, states = RULES[kind]
        key, names = ("application", "Applications") if service == "aws.codedeploy" else ("pipeline", "Pipelines")
        wanted = choice.parameters[names]
        if detail["state"] in choice.parameters[states] and (wanted == [""] or detail[key] in wanted):
            rules.add(rule)
    return rules & set(choice.resources)


class Expectations:
    """What must hold whoever matches: `matches(pattern, event)` is the test case's own."""

    def matched(self, event, stack):
        return {
            name
            for name, rule in stack.of_type("AWS::Events::Rule").items()
            if self.matches(rule["EventPattern"], event)
        }

    def hold(self, **choice):
        stack = Stack(**choice)
        told = 0
        for event in samples():
            matched = self.matched(event, stack)
            self.assertEqual(matched, expected(event, stack), json.dumps(event))
            told += len(matched)
        return told

    def test_every_state_of_every_level(self):
        """With all states chosen, each event matches the rule of its level and no other."""
        chosen = {states: ",".join(STATES[kind]) for kind, (_, states) in RULES.items()}
        kinds = ",".join(event["detail"]["kind"] for event in own())
        everything = {**EVERYTHING, **chosen, "DeploywatchEvents": kinds}
        told = self.hold(**everything)
        self.assertEqual(told, 2 * sum(map(len, STATES.values())) + 2 * len(own()) + 2)

    def test_the_default(self):
        """The default hears of what went wrong."""
        self.assertGreater(self.hold(), 5)

    def test_only_what_is_chosen(self):
        """One state of one level, one application, one pipeline, one kind of ours: nothing else."""
        told = self.hold(Applications="one", CodeDeployDeploymentStates="STOP", CodeDeployInstanceStates="READY")
        self.assertGreater(told, 2)
        self.hold(Pipelines="one, two", CodePipelineStates="SUPERSEDED", CodePipelineStageStates="RESUMED",
                  CodePipelineActionStates="ABANDONED")
        told = self.hold(**{**NOTHING_AT_ALL, "Queue": "yes", "DeploywatchEvents": "bytes_lost"})
        self.assertEqual(told, 1)
