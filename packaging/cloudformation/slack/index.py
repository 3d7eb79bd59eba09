"""Posts one EventBridge event to a Slack webhook, whose address is a secret.

Deploywatch's own events arrive with the reason and the last lines of output; those of CodeDeploy
and CodePipeline with what these services tell. What a hook printed is put where Slack takes it
literally, so that nothing in it is markup or a mention. A repeat of an event this process has
posted is dropped. Any failure is raised: Lambda tries again and then keeps the event in the
dead-letter queue.
"""
import json
import os
import time
import urllib.request

SECRET_SECONDS = 300
TEXT_MAX = 2800
REMEMBERED_MAX = 200
TIMEOUT_SECONDS = 8

_secret = {}
_posted = {}


def handler(event, context=None):
    detail = event.get("detail") or {}
    # Ours is the same for the same incident; AWS's only for the same delivery.
    key = str(detail.get("id") or event.get("id"))
    if key in _posted:
        return "repeat"
    try:
        post(webhook(), message(event))
    except Exception:
        # The address may have been changed.
        _secret.clear()
        raise
    while len(_posted) >= REMEMBERED_MAX:
        del _posted[next(iter(_posted))]
    _posted[key] = True
    return "posted"


def webhook():
    if _secret.get("until", 0) < time.time():
        import boto3

        answer = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["SECRET"])
        _secret.update(url=answer["SecretString"].strip(), until=time.time() + SECRET_SECONDS)
    return _secret["url"]


def post(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # Anything but 2xx is an exception that does not quote the address.
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        answer.read()


def message(event):
    detail = event.get("detail") or {}
    title = event.get("detail-type", "?")
    state = detail.get("state")
    head = cut(f"{title}: {state}" if state else title, 200)
    rows = [(name, value) for name, value in facts(event, detail) if value not in (None, "")]
    text = "\n".join(f"{name}: {value}" for name, value in rows)
    blocks = [literal("rich_text_section", head, bold=True)]
    if text:
        blocks.append(literal("rich_text_section", cut(text, TEXT_MAX)))
    output = detail.get("output")
    if output:
        blocks.append(literal("rich_text_preformatted", cut_front(output, TEXT_MAX)))
    link = (detail.get("log") or {}).get("console_url")
    if link:
        part = {"type": "link", "url": link, "text": "log"}
        blocks.append({"type": "rich_text_section", "elements": [part]})
    return {"text": escape(head), "blocks": [{"type": "rich_text", "elements": blocks}]}


def facts(event, detail):
    deployment = detail.get("deployment") or {}
    yield "instance", detail.get("instance_id") or detail.get("instanceId")
    yield "Auto Scaling group", detail.get("auto_scaling_group")
    yield "application", detail.get("application")
    yield "deployment group", detail.get("deploymentGroup")
    yield "deployment", deployment.get("id") or detail.get("deploymentId")
    yield "pipeline", detail.get("pipeline")
    yield "execution", detail.get("execution-id")
    yield "stage", detail.get("stage")
    yield "action", detail.get("action")
    yield "lifecycle event", detail.get("lifecycle_event")
    yield "script", detail.get("script")
    yield "exit code", detail.get("exit_code")
    yield "signal", detail.get("signal")
    yield "error", detail.get("error_code")
    yield "reason", detail.get("reason")
    yield "bytes lost", detail.get("bytes")
    yield "source", detail.get("source")
    yield "time", detail.get("time") or event.get("time")


def literal(kind, text, bold=False):
    part = {"type": "text", "text": text}
    if bold:
        part["style"] = {"bold": True}
    return {"type": kind, "elements": [part]}


def cut(text, limit):
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_front(text, limit):
    return text if len(text) <= limit else "…" + text[1 - limit :]


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
