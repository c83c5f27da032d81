"""What a checkout must be like for the containers that read it, on whatever system it was made."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.containers import ROOT

START = Path("deploy/rabbitmq/start.sh")


def git(folder: Path, *arguments: str) -> None:
    # Whoever runs the tests may have settings of their own; line ends are the test's subject.
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_a_checkout_with_windows_line_ends_keeps_scripts_that_containers_run(
    tmp_path: Path,
) -> None:
    made, cloned = tmp_path / "made", tmp_path / "cloned"
    (made / START).parent.mkdir(parents=True)
    for name in (START, Path(".gitattributes")):
        shutil.copy(ROOT / name, made / name)
    git(tmp_path, "init", "--quiet", str(made))
    git(made, "add", ".")
    git(made, "commit", "--quiet", "--message=as it is")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", str(made), str(cloned))

    assert b"\r" not in (cloned / START).read_bytes()


def test_postgres_keeps_its_data_in_our_volume_whatever_its_image_thinks_is_the_place() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    (volume,) = re.findall(r'volumes: \["postgres-data:([^"]+)"\]', compose)

    assert f"PGDATA: {volume}" in compose


def test_programs_that_tests_start_can_be_interrupted_wherever_the_tests_were_started() -> None:
    in_background = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "import tests.conftest;"
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c',"
        " 'import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)'])"
        ".returncode)"
    )

    subprocess.run([sys.executable, "-c", in_background], cwd=ROOT, check=True)
