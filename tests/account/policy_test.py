"""The instances' policy in the template is what the agent's own command says it must be."""
import json
import os
import unittest

import template


class Policy(unittest.TestCase):
    def test_it_is_what_iam_policy_prints(self):
        """Neither more nor less: shown with the command's output for the template's place, which
        the caller puts into a file, for two Regions of different partitions."""
        wanted = json.load(open(os.environ["POLICIES"]))
        self.assertEqual(len(wanted), 2)
        for region, policy in wanted.items():
            partition = "aws-cn" if region.startswith("cn-") else "aws"
            stack = template.Stack({"AWS::Region": region, "AWS::Partition": partition}, EventBus="ops")
            made = stack.resources["AgentPolicy"]["Properties"]["PolicyDocument"]
            self.maxDiff = None
            self.assertEqual(ordered(made), ordered(policy))


def ordered(policy):
    """Lists mean sets in a policy."""
    if isinstance(policy, dict):
        return {key: ordered(value) for key, value in policy.items()}
    if isinstance(policy, list):
        return sorted(map(ordered, policy), key=lambda part: json.dumps(part, sort_keys=True))
    return policy


if __name__ == "__main__":
    unittest.main()
