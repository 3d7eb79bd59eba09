"""An instance for the real binary: its metadata, a CodeDeploy agent's files, the agent on it."""
import base64
import datetime
import http.server
import json
import os
import pathlib
import subprocess
import threading
import time

ID = "i-0123456789abcdef0"
REGION = "eu-west-1"
# LocalStack takes an access key of this form for the account.
ACCOUNT = "111122223333"
ENDPOINT = "http://127.0.0.1:4566"
BINARY = "/opt/deploywatch"
GROUP = "9fb43944-176a-43f3-8093-3a53bc771e35"
COMMAND = "com.amazon.apollo.deploycontrol.domain.HostCommandIdentifier"


class Metadata(http.server.BaseHTTPRequestHandler):
    """Instance metadata, version 2, as far as the agent asks."""

    TOLD = {
        "meta-data/instance-id": ID,
        "meta-data/placement/region": REGION,
        "meta-data/services/partition": "aws",
        "meta-data/iam/security-credentials/": "web",
        "meta-data/iam/security-credentials/web": json.dumps({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
            "Expiration": "2126-01-01T00:00:00Z", "AccessKeyId": ACCOUNT, "SecretAccessKey": "secret", "Token": "token",
        }),
        "dynamic/instance-identity/document": json.dumps({
            "accountId": ACCOUNT, "instanceId": ID, "region": REGION, "architecture": "x86_64",
        }),
    }

    def do_PUT(self):
        self.tell("token")

    def do_GET(self):
        path = self.path.removeprefix("/latest/")
        self.tell(self.TOLD.get(path, self.TOLD.get(path + "/")))

    def tell(self, text):
        self.send_response(404 if text is None else 200)
        body = (text or "").encode()
        self.send_header("content-length", str(len(body)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Instance:
    """The directory that all is in, and the agent while it runs."""

    def __init__(self, folder, settings):
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "deploywatch.toml"
        self.log_dir, self.root_dir = self.folder / "log", self.folder / "root"
        self.log_dir.mkdir()
        (self.root_dir / "deployment-logs").mkdir(parents=True)
        tree = self.folder / "codedeployagent.yml"
        tree.write_text(
            f"---\n:log_dir: '{self.log_dir}/'\n:root_dir: '{self.root_dir}'\n:program_name: codedeploy-agent\n")
        self.config.write_text(f"""
            [agent]
            state_dir = "{self.folder}/state"
            [aws]
            endpoint_url = "{ENDPOINT}"
            [codedeploy]
            config_file = "{tree}"
            {settings}""")
        metadata = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
        metadata.daemon_threads = True
        threading.Thread(target=metadata.serve_forever, daemon=True).start()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "TZ": "UTC",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{metadata.server_port}",
        }
        self.agent = None

    def command(self, *words):
        """Runs a command of the binary; its exit code and what it said."""
        done = subprocess.run(
            [BINARY, *words, "--config", self.config], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def start(self):
        """Starts the agent, and waits until what happens now is younger than it, in whole seconds."""
        with (self.folder / "agent.log").open("w") as log:
            self.agent = subprocess.Popen(
                [BINARY, "run", "--config", self.config], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT)

        def is_up():
            if self.agent.poll() is not None:
                raise AssertionError(self.said())
            code, text = self.command("status", "--json")
            status = json.loads(text) if code == 0 else {"now_ms": 0, "started_ms": 0}
            return status["now_ms"] // 1000 > status["started_ms"] // 1000

        until(is_up, 60, self.said)

    def stop(self):
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(60)

    def said(self):
        return (self.folder / "agent.log").read_text()

    def fail(self, deployment, event, script, code, output):
        """A deployment fails as the CodeDeploy agent 1.x writes it down."""
        command = [COMMAND, {
            "deploymentId": f"CodeDeploy/{REGION}/Prod/arn:aws:sds:{REGION}:{ACCOUNT}:deployment/{deployment}",
            "commandName": event, "commandPosition": 1, "commandAttempt": 1}]
        identifier = base64.b64encode(json.dumps(command, separators=(",", ":")).encode()).decode()
        self.call('put_host_command_acknowledgement(diagnostics:{format:"JSON",payload:'
                  f'"{{\\"IsCommandNoop\\":false}}"}},host_command_identifier:"{identifier}")')
        lines = [f"LifecycleEvent - {event}", f"Script - {script}", *output]
        scripts = self.root_dir / GROUP / deployment / "logs/scripts.log"
        deployments = self.root_dir / "deployment-logs/codedeploy-agent-deployments.log"
        for line in lines:
            now = datetime.datetime.now(datetime.UTC)
            append(scripts, f"{now:%Y-%m-%d %H:%M:%S} {line}")
            append(deployments, f"[{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03}] [{deployment}]{line}")
        payload = json.dumps({
            "error_code": 4, "script_name": script,
            "message": f"Script at specified location: {script} failed with exit code {code}",
            "log": "\n".join(lines) + "\n"}, separators=(",", ":"))
        self.call('put_host_command_complete(command_status:"Failed",diagnostics:{format:"JSON",payload:'
                  f'{json.dumps(payload)}}},host_command_identifier:"{identifier}")')

    def call(self, call):
        """A call of the service, as the SDK logs it."""
        now = datetime.datetime.now(datetime.UTC)
        head = f"{now:%Y-%m-%dT%H:%M:%S} INFO  [codedeploy-agent(4711)]: "
        append(self.log_dir / "codedeploy-agent.log",
               f"{head}[Aws::CodeDeployCommand::Client 200 0.051951 0 retries] {call}  \n")


def append(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text + "\n")


def until(condition, seconds, why=lambda: ""):
    """Waits until a condition holds, and returns what it came to."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        # Between two questions, not instead of one.
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {condition.__name__}\n{why()}")
