"""What must hold after every step, whatever was done, and once everything is calm."""

from contextlib import ExitStack

from hypothesis.stateful import RuleBasedStateMachine, invariant

from services.syncer.core import PARTIAL_PREFIX
from tests.support import servers
from tests.support.stepped_pair import Pair
from tests.support.stepped_system import World, world


class Watched(RuleBasedStateMachine):
    """A world and two syncers under watch; who goes on from here adds what may happen to them."""

    def __init__(self, postgres: servers.Postgres, keydb: servers.Keydb) -> None:
        super().__init__()
        self._open = ExitStack()
        self.world: World = self._open.enter_context(world(postgres, keydb))
        self.pair = Pair(self.world.lanes, self.a_reader_sees_one_tick_and_never_an_older_one)
        self.floor = 0
        """The epoch below which KeyDB must not show one: the highest since it lost something."""

    @invariant()
    def the_newest_tick_is_what_was_committed_when_it_was_written(self) -> None:
        token, balances = self.world.newest()
        if token in self.world.counted:  # the baseline is not
            assert balances == self.world.counted[token]

    @invariant()
    def balances_and_what_is_not_yet_counted_are_the_truth(self) -> None:
        accounts, true = self.world.accounts(), self.world.books.sums()
        gone = accounts.keys() - true.keys()
        assert accounts == {**true, **dict.fromkeys(gone, 0)}

    @invariant()
    def a_reader_sees_one_tick_and_never_an_older_one(self) -> None:
        seen = self.world.seen()
        if seen is None:
            return
        assert seen.epoch >= self.floor, "written back in time"
        self.floor = seen.epoch
        if not seen.token.startswith(PARTIAL_PREFIX):
            assert seen.values == self.world.counted[seen.token], "mixed"

    def keydb_is_the_truth(self) -> None:
        """To be asked after a tick that nothing disturbed."""
        seen = self.world.seen()
        assert seen, "nothing is shown"
        assert seen.token == self.world.newest()[0], self.pair.lanes[0].outcome
        assert seen.values == self.world.books.balances()

    def teardown(self) -> None:
        self._open.close()
