"""What our containers are allowed, as the engine sees it and as they find it."""

import re
import subprocess
from typing import Any

import pytest

from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.stack import PROGRAMS, SERVERS, Stack

OURS = ("migrate", *PROGRAMS)
ALL = (*SERVERS, *OURS)
MEMORY_MAX_BYTES = 512 * 2**20
TRY_TO_WRITE = "open('/opt/minutebook/app/written', 'w')"
HASH = re.compile(r"password_hash\W{1,6}[A-Za-z0-9+/]{40,}")


def inspected(stack: Stack, service: str) -> dict[str, Any]:
    return dict(stack.container(service).attrs)


@pytest.mark.parametrize("service", OURS)
def test_our_containers_have_no_right_that_they_do_not_need(running: Stack, service: str) -> None:
    found = inspected(running, service)
    host = found["HostConfig"]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Privileged"] is False
    assert host["Init"] is True
    assert host["Binds"] is None
    assert 0 < host["Memory"] <= MEMORY_MAX_BYTES
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", found["Config"]["User"])
    assert found["Config"]["StopTimeout"] == 20


@pytest.mark.parametrize("service", PROGRAMS)
def test_our_programs_run_as_nobody_and_can_write_nowhere(running: Stack, service: str) -> None:
    container = running.container(service)

    who = container.exec_run(["python", "-c", "import os; print(os.getuid())"])
    assert isinstance(who.output, bytes)
    assert int(who.output) > 0

    def said() -> bytes:
        written = container.exec_run(["python", "-c", TRY_TO_WRITE])
        assert isinstance(written.output, bytes)
        assert written.exit_code != 0
        return written.output

    # A busy engine may pass on nothing of what a command said.
    eventually(lambda: b"Read-only file system" in said())


@pytest.mark.parametrize("service", ALL)
def test_logs_are_rotated_and_ports_are_open_to_this_machine_only(
    running: Stack, service: str
) -> None:
    host = inspected(running, service)["HostConfig"]
    bindings = [one for ports in (host["PortBindings"] or {}).values() for one in ports]

    assert host["LogConfig"]["Type"] == "json-file"
    assert set(host["LogConfig"]["Config"]) == {"max-size", "max-file"}
    assert {one["HostIp"] for one in bindings} <= {"127.0.0.1"}
    assert bool(bindings) == (service != "migrate")


@pytest.mark.parametrize("service", [*SERVERS, *PROGRAMS])
def test_what_dies_is_restarted_unless_somebody_stopped_it(running: Stack, service: str) -> None:
    policy = inspected(running, service)["HostConfig"]["RestartPolicy"]["Name"]

    assert policy == "unless-stopped"


def test_the_stack_owns_no_name_that_another_could_not_have(running: Stack) -> None:
    networks = {
        name for one in running.containers() for name in one.attrs["NetworkSettings"]["Networks"]
    }
    volumes = {
        mount["Name"]
        for one in running.containers()
        for mount in one.attrs["Mounts"]
        if mount["Type"] == "volume"
    }

    names = {str(one.name) for one in running.containers()} | networks
    assert all(name.startswith(running.project) for name in names | volumes)


def test_no_password_and_no_hash_of_one_is_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "deploy", "compose.yaml"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )

    files = [ROOT / name for name in listed.stdout.splitlines()]
    assert ROOT / "deploy" / "rabbitmq" / "start.sh" in files
    assert [file.name for file in files if HASH.search(file.read_text(errors="replace"))] == []
