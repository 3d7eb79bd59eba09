"""The Slack function, with nothing but Python: events in, what a webhook on loopback receives out.

Secrets Manager is a stand-in of three lines: `boto3` is part of Lambda's runtime, not of Python's.
"""
import http.server
import importlib.util
import json
import os
import pathlib
import sys
import threading
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CODE = HERE.parents[1] / "packaging/cloudformation/slack/index.py"
OWN = [json.loads(line) for line in (HERE / "own.ndjson").read_text().splitlines()]
AWS = {
    "id": "6f5b8a0e-0000-4000-8000-000000000000", "source": "aws.codepipeline", "time": "2026-11-21T10:00:00Z",
    "detail-type": "CodePipeline Action Execution State Change",
    "detail": {"pipeline": "release", "stage": "Prod", "action": "Deploy", "state": "FAILED", "execution-id": "e-1"},
}
# Slack's limits: characters of one text, blocks of a message.
TEXT_MAX = 3000
BLOCKS_MAX = 50


class Webhook(http.server.BaseHTTPRequestHandler):
    received = []
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Webhook.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(Webhook.status)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Secrets:
    asked = []

    def __init__(self, value):
        self.value = value

    def get_secret_value(self, SecretId):
        Secrets.asked.append(SecretId)
        return {"SecretString": self.value}


def texts(node):
    """Every text in a message."""
    if isinstance(node, dict):
        found = [node["text"]] if isinstance(node.get("text"), str) else []
        return found + [text for value in node.values() for text in texts(value)]
    if isinstance(node, list):
        return [text for value in node for text in texts(value)]
    return []


class Slack(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        Webhook.received, Webhook.status, Secrets.asked = [], 200, []
        self.secrets = Secrets(f"http://127.0.0.1:{self.server.server_port}/services/T0/B0/secret\n")
        sys.modules["boto3"] = types.SimpleNamespace(client=lambda service: self.secrets)
        self.addCleanup(sys.modules.pop, "boto3")
        os.environ["SECRET"] = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slack-AbCdEf"
        # A process of its own for each test: a new module.
        spec = importlib.util.spec_from_file_location("index", CODE)
        self.index = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.index)

    def posted(self, event):
        self.assertEqual(self.index.handler(event), "posted")
        path, kind, body = Webhook.received[-1]
        self.assertEqual((path, kind), ("/services/T0/B0/secret", "application/json"))
        return body

    def test_every_event_of_ours_says_what_happened(self):
        """Each kind of event arrives with its title, instance, reason and output: shown with those
        that the agent's tests hold."""
        self.assertEqual(len({event["detail"]["kind"] for event in OWN}), 9)
        for event in OWN:
            detail = event["detail"]
            said = "\n".join(texts(self.posted(event)))
            self.assertIn(event["detail-type"], said)
            deployment = (detail.get("deployment") or {}).get("id")
            for part in (detail["instance_id"], deployment, detail.get("lifecycle_event"), detail.get("script"),
                         detail.get("error_code"), detail.get("reason"), detail.get("output"), detail.get("time")):
                if part:
                    self.assertIn(part, said, detail["kind"])
            for part in (detail.get("exit_code"), detail.get("bytes")):
                if part is not None:
                    self.assertIn(f": {part}", said, detail["kind"])
        links = [event["detail"]["log"]["console_url"] for event in OWN if "log" in event["detail"]]
        self.assertTrue(links)
        sent = json.dumps([body for _, _, body in Webhook.received])
        for link in links:
            self.assertIn(json.dumps(link), sent)
        self.assertEqual(len(Secrets.asked), 1)

    def test_events_of_aws_say_where_and_in_which_state(self):
        """CodePipeline's and CodeDeploy's events name their pipeline or deployment and state."""
        said = texts(self.posted(AWS))
        self.assertIn("CodePipeline Action Execution State Change: FAILED", said)
        for part in ("pipeline: release", "stage: Prod", "action: Deploy"):
            self.assertIn(part, "\n".join(said))

    def test_a_repeat_is_dropped(self):
        """EventBridge and the agent may both send a thing twice: it is posted once."""
        self.posted(OWN[0])
        again = OWN[0] | {"id": "another-delivery"}
        self.assertEqual(self.index.handler(again), "repeat")
        self.assertEqual(len(Webhook.received), 1)
        for number in range(2 * self.index.REMEMBERED_MAX):
            self.posted(AWS | {"id": str(number)})
        self.assertEqual(len(self.index._posted), self.index.REMEMBERED_MAX)

    def test_hostile_output_is_literal_and_bounded(self):
        """What a hook printed can be no mention, no link, no markup and no giant: it stands only in
        elements that Slack takes literally, and every text is within Slack's limits."""
        hostile = "<!channel> *bold* ```<https://evil|x>``` & \u202e\0" * 5000
        detail = OWN[0]["detail"] | {"output": hostile, "script": hostile, "reason": hostile, "state": hostile}
        body = self.posted(OWN[0] | {"detail": detail, "detail-type": hostile})
        self.assertNotIn("<", body["text"])
        self.assertTrue(all(len(text) <= TEXT_MAX for text in texts(body)))
        self.assertLessEqual(len(body["blocks"]), BLOCKS_MAX)
        kinds = {element["type"] for block in body["blocks"] for part in block["elements"] for element in part["elements"]}
        self.assertLessEqual(kinds, {"text", "link"})
        self.assertEqual({block["type"] for block in body["blocks"]}, {"rich_text"})

    def test_a_refusal_is_raised_and_the_address_is_read_anew(self):
        """Lambda tries again only what failed loudly; after a changed webhook the new address is
        used; an event that failed is not taken for posted; the address is in no error."""
        for status in (404, 429, 500):
            Webhook.status = status
            with self.assertRaises(Exception) as raised:
                self.index.handler(OWN[0])
            self.assertNotIn("services", repr(raised.exception))
        self.assertEqual(len(Secrets.asked), 3)
        Webhook.status = 200
        self.posted(OWN[0])

    def test_an_event_with_nothing_in_it_is_still_posted(self):
        """No shape of event makes the function fail: shown with empty ones."""
        for number, event in enumerate(({}, {"detail": None}, {"detail": {"log": None, "deployment": None}})):
            self.posted(event | {"id": str(number)})


if __name__ == "__main__":
    unittest.main()
