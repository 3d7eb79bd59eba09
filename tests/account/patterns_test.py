"""Each event matches exactly the rules it should, by the matcher of moto's EventBridge.

Others maintain it, and it decides there which rules an event is delivered by; moto has no
TestEventPattern. LocalStack has (`localstack/localstack_test.py`), and another matcher.
"""
import itertools
import json
import unittest

from moto.events.models import EventPattern
from samples import RULES, STATES, Expectations, own
from template import EVERYTHING, Stack, tree


class Patterns(Expectations, unittest.TestCase):
    def matches(self, pattern, event):
        return EventPattern.load(json.dumps(pattern)).matches_event(event)

    def test_exactly_the_states_there_are_can_be_chosen(self):
        """The parameters offer every state of every level and every kind of ours, none that the
        samples do not have, and "none"."""
        kinds = {event["detail"]["kind"] for event in own()}
        there_are = {"DeploywatchEvents": kinds} | {RULES[kind][1]: set(states) for kind, states in STATES.items()}
        for name, values in there_are.items():
            offered = tree()["Parameters"][name]["AllowedValues"]
            self.assertEqual(sorted(offered), sorted(values | {"none"}), name)

    def test_patterns_are_within_the_services_rules(self):
        """At most 4,096 characters, and lists of values at every leaf, which cfn-lint does not look at."""
        def leaves(node):
            return itertools.chain(*map(leaves, node.values())) if isinstance(node, dict) else [node]
        for name, rule in Stack(**EVERYTHING).of_type("AWS::Events::Rule").items():
            self.assertLessEqual(len(json.dumps(rule["EventPattern"])), 4096, name)
            for leaf in leaves(rule["EventPattern"]):
                self.assertTrue(isinstance(leaf, list) and leaf, name)


if __name__ == "__main__":
    unittest.main()
