"""In which order faults strike, and which of them are named beside a difference."""

import threading
from dataclasses import dataclass, field

import docker

from tests.faults import catalogue
from tests.faults.difference import Difference
from tests.faults.fault import Struck, title
from tests.faults.sequence import Strike, Striker
from tests.support.stack import Stack


@dataclass(eq=False)
class Known:
    """A fault that notes whether another strikes the same part."""

    part: str
    name: str = "known"
    struck: list[str] = field(default_factory=list)

    def strike(self, stack: Stack) -> Struck:
        self.struck.append(threading.current_thread().name)
        if self.name == "fails":
            raise OSError("it could not")
        if self.name == "misses" and len(self.struck) < 3:
            raise AssertionError("its moment did not come")
        return Struck(in_flight=True)


def stack() -> Stack:
    return Stack(docker.DockerClient("tcp://127.0.0.1:1", version="1.41"))


def test_every_fault_has_its_turn_once_and_then_equally_often() -> None:
    assert sorted(map(title, catalogue.once(3))) == sorted(map(title, catalogue.FAULTS))
    drawn = [title(one) for one in catalogue.many(3 * len(catalogue.FAULTS), 3)]
    assert {drawn.count(one) for one in drawn} == {3}
    assert drawn == [title(one) for one in catalogue.many(3 * len(catalogue.FAULTS), 3)]
    assert drawn != [title(one) for one in catalogue.many(3 * len(catalogue.FAULTS), 4)]


def test_names_of_faults_are_unique() -> None:
    names = [title(one) for one in catalogue.FAULTS]
    assert len(set(names)) == len(names)


def test_all_strike_and_one_that_fails_is_told() -> None:
    ended: list[Strike] = []
    faults = [Known("ingest"), Known("ingest"), Known("keydb", "fails")]
    striker = Striker(stack(), ended.append, lambda _: True, every_s=0.0)
    striker.run(faults)
    assert all(len(one.struck) == 1 for one in faults)
    assert len(ended) == len(striker.strikes) == 3
    assert [one.error for one in striker.strikes if one.error] == ["OSError: it could not"]


def test_one_whose_moment_did_not_come_is_tried_again_while_there_are_others() -> None:
    late, others = Known("ingest", "misses"), [Known("keydb"), Known("keydb")]

    def is_well(part: str) -> bool:
        return part != "keydb" or len(late.struck) == 3

    striker = Striker(stack(), lambda _: None, is_well, every_s=0.0)
    striker.run([late, *others])
    tried = [one for one in striker.strikes if one.fault is late]
    assert [one.missed for one in tried] == [True, True, False]
    assert striker.strikes[-1].fault.part == "keydb"


def test_a_part_is_left_alone_until_it_is_healthy_and_others_have_their_turn_meanwhile() -> None:
    well = threading.Event()
    first, again, other = Known("ingest"), Known("ingest"), Known("keydb")
    ended: list[Strike] = []

    def is_well(part: str) -> bool:
        return part != "ingest" or well.is_set()

    def note(strike: Strike) -> None:
        ended.append(strike)
        if strike.fault is other:
            assert not again.struck
            well.set()

    Striker(stack(), note, is_well, every_s=0.0).run([first, again, other])
    assert [one.fault for one in ended] == [first, other, again]


def test_the_part_with_the_most_faults_left_comes_first() -> None:
    faults = [Known("keydb"), Known("ingest"), Known("syncer"), Known("syncer")]
    striker = Striker(stack(), lambda _: None, lambda _: True, every_s=0.0)
    striker.run(faults)
    assert striker.strikes[0].fault is faults[2]


def test_a_difference_names_the_faults_around_it() -> None:
    striker = Striker(stack(), lambda _: None, lambda _: True, every_s=0.0)
    striker.strikes = [
        Strike(1, Known("ingest"), begun_s=0.0, ended_s=5.0),
        Strike(2, Known("keydb"), begun_s=100.0, ended_s=105.0),
    ]
    assert striker.around(Difference("lost", 110.0)) == ["2 keydb: known"]
    assert len(striker.around(Difference("wrong", None))) == 2
