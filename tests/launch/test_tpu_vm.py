"""launch/tpu_vm.sh: the exact gcloud calls, what the workers then do, and one sentence for every mistake.

A `gcloud` of ours stands first on PATH and writes down its arguments. The commands meant for a worker are also run, in
a home directory of their own.
"""

import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import time
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "tpu_vm.sh"
WHERE = ("--name", "my-tpu", "--zone=us-central1-a")
TPU_VM = ["gcloud", "compute", "tpus", "tpu-vm"]
ZONE = "--zone=us-central1-a"
HOSTILE = ["it's", 'a "b" c', "; touch pwned", "$(touch pwned)", "`id`", "*", "a\\b", "two\nlines", "", "-n", "é & |"]

GCLOUD = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["GCLOUD_CALLS"], "a") as calls:
    calls.write(json.dumps(["gcloud", *sys.argv[1:]]) + "\\n")
if "describe" in sys.argv:
    print(os.environ.get("GCLOUD_TYPE", "v5litepod-8"))
sys.exit(int(os.environ.get("GCLOUD_EXIT", 0)))
"""


class Shell:
    """Runs the script, or a worker's command, and tells which gcloud calls were made."""

    def __init__(self, folder):
        self.home, self.calls_file = folder / "home", folder / "calls"
        (folder / "bin").mkdir()
        self.home.mkdir()
        self.program(folder / "bin" / "gcloud", GCLOUD)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "HOME": str(self.home), "GCLOUD_CALLS": str(self.calls_file)}

    def program(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command, **environment):
        return subprocess.run(
            [*map(str, command)], env={**self.environment, **environment}, cwd=self.home, text=True,
            capture_output=True, timeout=60,
        )  # fmt: skip

    def script(self, *arguments, **environment):
        return self.run("bash", SCRIPT, *arguments, **environment)

    def calls(self):
        """The calls since the last question."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def worker_command(self, *arguments):
        """What `arguments` make a worker run: the last --command."""
        assert self.script(*arguments).returncode == 0
        return command_of(self.calls()[-1])


def command_of(call):
    return next(word.removeprefix("--command=") for word in call if word.startswith("--command="))


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def ssh(command):
    return [*TPU_VM, "ssh", "my-tpu", "--worker=all", f"--command={command}", ZONE]


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v6e-8", "v2-alpha-tpuv6e"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v4-8", "tpu-ubuntu2204-base"),
    ],
)
def test_create_takes_the_runtime_of_the_type(shell, kind, runtime):
    done = shell.script("create", *WHERE, "--type", kind)
    assert (done.returncode, done.stderr) == (0, "")
    choices = [f"--accelerator-type={kind}", f"--version={runtime}"]
    assert shell.calls() == [[*TPU_VM, "create", "my-tpu", *choices, ZONE]]


def test_create_with_every_option(shell):
    shell.script("create", *WHERE, "--type=v6e-8", "--version", "v9", "--spot", "--project", "my-project")
    choices = ["--accelerator-type=v6e-8", "--version=v9", "--spot"]
    assert shell.calls() == [[*TPU_VM, "create", "my-tpu", *choices, ZONE, "--project=my-project"]]


def test_create_of_several_hosts_says_what_that_means(shell):
    done = shell.script("create", *WHERE, "--type", "v5litepod-16")
    assert done.returncode == 0 and "several hosts" in done.stderr and len(shell.calls()) == 1


def test_status_logs_delete(shell):
    assert shell.script("status", *WHERE).returncode == 0
    describe, state = shell.calls()
    assert describe == [*TPU_VM, "describe", "my-tpu", "--format=value(state,health,acceleratorType)", ZONE]
    assert state == ssh(command_of(state))
    assert shell.script("logs", *WHERE, "--lines", "7").returncode == 0
    (logs,) = shell.calls()
    assert logs == ssh(command_of(logs)) and "tail -n 7 log" in command_of(logs)
    assert shell.script("delete", *WHERE).returncode == 0
    assert shell.script("delete", *WHERE, "--yes").returncode == 0
    delete = [*TPU_VM, "delete", "my-tpu"]
    assert shell.calls() == [[*delete, ZONE], [*delete, "--quiet", ZONE]]


def test_run_asks_for_the_type_unless_it_is_given(shell):
    training = ("--", "mxjax", "train", "--config", "configs/quickstart.py")
    assert shell.script("run", *WHERE, *training).returncode == 0
    describe, start = shell.calls()
    assert describe == [*TPU_VM, "describe", "my-tpu", "--format=value(acceleratorType)", ZONE]
    assert start == ssh(command_of(start))
    assert shell.script("run", *WHERE, "--type", "v6e-8", *training).returncode == 0
    assert [call[4] for call in shell.calls()] == ["ssh"]
    assert shell.script("run", *WHERE, "--", "pip", "list").returncode == 0
    assert [call[4] for call in shell.calls()] == ["ssh"]


@pytest.mark.parametrize("command", ["mxjax train", "env A=1 mxjax sft", "python -m mxjax evaluate", "bin/mxjax solve"])
def test_run_refuses_several_hosts_for_what_computes_in_one_process(shell, command):
    done = shell.script("run", *WHERE, "--", *command.split(), GCLOUD_TYPE="v5litepod-16")
    assert done.returncode == 2 and "one process" in done.stderr and "v5litepod-16" in done.stderr
    assert [call[4] for call in shell.calls()] == ["describe"]
    assert shell.script("run", *WHERE, "--type", "v4-16", "--", *command.split()).returncode == 2
    assert shell.calls() == []
    assert shell.script("run", *WHERE, "--type", "v4-16", "--", "mxjax", "doctor").returncode == 0


VERBS = {
    "create": ("create", *WHERE, "--type", "v5p-8", "--spot", "--project", "my-project"),
    "setup": ("setup", *WHERE, "--ref", "v0.1.0"),
    "run": ("run", *WHERE, "--workdir", "gs://bucket/it's; a run", "--", "mxjax", "train", *HOSTILE),
    "logs": ("logs", *WHERE),
    "status": ("status", *WHERE),
    "delete": ("delete", *WHERE, "--yes"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_prints_the_calls_and_makes_none(shell, verb):
    name, *arguments = VERBS[verb]
    dry = shell.script(name, "--dry_run", *arguments)
    assert dry.returncode == 0 and shell.calls() == []
    assert shell.script(name, *arguments).returncode == 0
    calls = shell.calls()
    assert shlex.split(dry.stdout) == [word for call in calls for word in call]
    shell.run("bash", "-c", dry.stdout)
    assert shell.calls() == calls, "pasted into a shell, the printed commands are other calls"


def test_a_dry_run_needs_no_gcloud(shell):
    path = shell.home / "few"
    for name in ("bash", "cat", "dirname"):
        path.mkdir(exist_ok=True)
        (path / name).symlink_to(shutil.which(name))
    assert shell.script("delete", *WHERE, "--dry_run", PATH=str(path)).returncode == 0
    done = shell.script("delete", *WHERE, PATH=str(path))
    assert done.returncode == 2 and "gcloud is not on PATH" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_the_exit_code_is_gclouds(shell, verb):
    assert shell.script(*VERBS[verb], GCLOUD_EXIT="7").returncode == 7
    assert len(shell.calls()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "usage"),
        ("launch", "unknown verb 'launch'"),
        ("create --zone us-central1-a --type v6e-8", "needs --name"),
        ("create --name my-tpu --type v6e-8", "needs --zone"),
        ("create --name my-tpu --zone us-central1-a", "needs --type"),
        ("create --name My_TPU --zone us-central1-a --type v6e-8", "--name 'My_TPU'"),
        ("create --name my-tpu --zone us-central1 --type v6e-8", "--zone 'us-central1'"),
        ("create --name my-tpu --zone us-central1-a --type v5e-8", "v5litepod-8"),
        ("create --name my-tpu --zone us-central1-a --type v6e-7", "v6e-8"),
        ("create --name my-tpu --zone us-central1-a --type v5p-12", "multiple of 8"),
        ("create --name my-tpu --zone us-central1-a --type v6e-8 --version 'a b'", "--version 'a b'"),
        ("create --name my-tpu --zone us-central1-a --type v6e-8 --project x", "--project 'x'"),
        ("create --name my-tpu --zone us-central1-a --type v6e-8 --spot=yes", "--spot takes no value"),
        ("create --name my-tpu --zone us-central1-a --type", "--type needs a value"),
        ("create --name= --zone us-central1-a --type v6e-8", "--name is empty"),
        ("create --name my-tpu --zone us-central1-a --wheel x.whl", "does not know --wheel"),
        ("create --name my-tpu --zone us-central1-a --type v6e-8 now", "does not know 'now'"),
        ("create --name my-tpu --zone us-central1-a --type v6e-8 -- ls", "takes no command"),
        ("setup --name my-tpu --zone us-central1-a --git /srv/mxjax", "--git '/srv/mxjax'"),
        ("setup --name my-tpu --zone us-central1-a --ref=-x", "--ref '-x'"),
        ("setup --name my-tpu --zone us-central1-a --wheel mxjax-0.1.0-py3-none-any.whl", "does not exist"),
        ("setup --name my-tpu --zone us-central1-a --wheel other.whl", "not a wheel of mxjax"),
        ("setup --name my-tpu --zone us-central1-a --wheel other.whl --ref main", "not both"),
        ("run --name my-tpu --zone us-central1-a", "needs the command"),
        ("run --name my-tpu --zone us-central1-a --", "needs the command"),
        ("run --name my-tpu --zone us-central1-a mxjax train", "does not know 'mxjax'"),
        ("run --name my-tpu --zone us-central1-a --workdir s3://b/c -- mxjax train", "gs://BUCKET/PATH"),
        ("run --name my-tpu --zone us-central1-a --workdir gs://bucket -- mxjax train", "gs://BUCKET/PATH"),
        ("run --name my-tpu --zone us-central1-a --workdir a -- mxjax train --workdir=b", "two workdirs"),
        ("logs --name my-tpu --zone us-central1-a --lines many", "--lines 'many'"),
    ],
)
def test_a_mistake_is_one_sentence_and_makes_no_call(shell, arguments, said):
    done = shell.script(*shlex.split(arguments))
    assert done.returncode == 2 and said in done.stderr
    assert shell.calls() == []
    if arguments:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("tpu_vm.sh ")


def test_help_names_every_verb(shell):
    done = shell.script("--help")
    assert done.returncode == 0 and all(f"\n  {verb} " in done.stdout for verb in VERBS)


def test_the_repository_is_the_packages(shell):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f" {project['urls']['Repository']} HEAD" in shell.worker_command("setup", *WHERE)


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


@pytest.fixture
def worker(shell):
    """A worker on which setup has been run: its own home with a Python environment and a working directory."""
    if not shutil.which("flock"):
        pytest.skip("flock (util-linux) is not installed")
    (shell.home / "mxjax").mkdir()
    shell.program(
        shell.home / "mxjax_venv" / "bin" / "mxjax",
        '#!/usr/bin/env bash\nprintf "%s\\0" "$@" > arguments\necho "a line"\nexit ${ANSWER:-3}\n',
    )
    return shell


def test_a_job_gets_its_arguments_and_leaves_log_and_exit_code(worker):
    start = worker.worker_command(*VERBS["run"])
    done = worker.run("bash", "-c", start)
    assert (done.returncode, done.stdout) == (0, f"{socket.gethostname()}: started\n")
    wait_for(worker.home / "mxjax_job" / "exit_code")
    arguments = (worker.home / "mxjax" / "arguments").read_text().split("\0")[:-1]
    assert arguments == ["train", *HOSTILE, "--workdir", "gs://bucket/it's; a run"]
    assert not list(worker.home.rglob("pwned"))
    logs = worker.run("bash", "-c", worker.worker_command("logs", *WHERE, "--lines", "1"))
    assert logs.stdout.splitlines() == [f"{socket.gethostname()}: a line", f"{socket.gethostname()}: exited 3"]


def test_one_job_at_a_time(worker):
    status = worker.worker_command("status", *WHERE)
    assert worker.run("bash", "-c", status).stdout.endswith(": no job yet\n")
    wait = "touch started; until test -e go; do sleep 0.02; done"
    start = worker.worker_command("run", *WHERE, "--", "bash", "-c", wait)
    assert worker.run("bash", "-c", start).returncode == 0
    wait_for(worker.home / "mxjax" / "started")
    try:
        assert worker.run("bash", "-c", status).stdout.endswith(": running\n")
        again = worker.run("bash", "-c", start)
        assert again.returncode == 1 and "a job is running" in again.stderr
    finally:
        (worker.home / "mxjax" / "go").touch()
    wait_for(worker.home / "mxjax_job" / "exit_code")
    while worker.run("bash", "-c", status).stdout.endswith(": running\n"):
        time.sleep(0.02)
    assert worker.run("bash", "-c", status).stdout.endswith(": exited 0\n")
    (worker.home / "mxjax_job" / "exit_code").unlink()
    assert "without an exit code" in worker.run("bash", "-c", status).stdout


def test_a_job_needs_setup_first(shell):
    done = shell.run("bash", "-c", shell.worker_command("run", *WHERE, "--", "mxjax", "doctor"))
    assert done.returncode == 1 and "setup first" in done.stderr


@pytest.fixture
def installing(shell):
    """A worker where uv and git write down what they are asked."""
    record = '#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0") $*" >> ~/asked\n'
    shell.program(shell.home / ".local" / "bin" / "uv", record)
    shell.program(shell.home.parent / "bin" / "git", record)
    shell.program(shell.home / "mxjax_venv" / "bin" / "mxjax", record + 'echo "on $JAX_PLATFORMS" >> ~/asked\n')
    return shell


def test_setup_from_git(installing):
    address = "https://example.com/a'b;touch pwned"
    assert installing.script("setup", *WHERE, "--git", address, "--ref", "main").returncode == 2
    address = "https://example.com/a'b;touch${IFS}pwned"
    command = installing.worker_command("setup", *WHERE, "--git", address, "--ref", "main")
    assert installing.run("bash", "-c", command).returncode == 0
    home = installing.home
    assert (home / "asked").read_text().splitlines() == [
        f"uv venv --allow-existing --python 3.12 {home}/mxjax_venv",
        f"git init -q {home}/mxjax",
        f"git -C {home}/mxjax fetch -q --depth 1 {address} main",
        f"git -C {home}/mxjax checkout -q --force --detach FETCH_HEAD",
        f"uv pip install --python {home}/mxjax_venv/bin/python --reinstall-package mxjax "
        f"-e {home}/mxjax[tpu,data,code] gcsfs",
        "mxjax doctor",
        "on tpu",
    ]
    assert not list(home.rglob("pwned"))


def test_setup_from_a_wheel_copies_it_with_the_configs(installing, tmp_path):
    wheel = tmp_path / "it's; here" / "mxjax-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    assert installing.script("setup", *WHERE, "--wheel", wheel).returncode == 0
    folder, copy, install = installing.calls()
    assert folder == ssh("mkdir -p ~/mxjax")
    assert copy == [
        *TPU_VM, "scp", "--recurse", str(wheel), str(ROOT / "configs"), "my-tpu:mxjax/", "--worker=all", ZONE,
    ]  # fmt: skip
    assert install == ssh(command_of(install))
    assert installing.run("bash", "-c", command_of(install)).returncode == 0
    target = f"{installing.home}/mxjax/mxjax-0.1.0-py3-none-any.whl[tpu,data,code]"
    assert f"--reinstall-package mxjax {target} gcsfs" in (installing.home / "asked").read_text()


def test_a_failed_installation_fails_setup(installing):
    installing.program(installing.home.parent / "bin" / "git", "#!/usr/bin/env bash\nexit 9\n")
    assert installing.run("bash", "-c", installing.worker_command("setup", *WHERE)).returncode == 9
    assert "pip install" not in (installing.home / "asked").read_text()


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
