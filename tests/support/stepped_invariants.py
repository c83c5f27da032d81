"""What must hold after every step, whatever was done, and once everything is calm."""

from contextlib import ExitStack

from hypothesis.stateful import RuleBasedStateMachine, invariant

from services.syncer.core import PARTIAL_PREFIX
from tests.support import servers
from tests.support.stepped_pair import SteppedPair
from tests.support.stepped_system import SteppedSystem, stepped_system


class Watched(RuleBasedStateMachine):
    """A system with two syncers, watched; a subclass adds what may happen to them."""

    def __init__(self, postgres: servers.Postgres, keydb: servers.Keydb) -> None:
        super().__init__()
        self._open = ExitStack()
        self.system: SteppedSystem = self._open.enter_context(stepped_system(postgres, keydb))
        self.pair = SteppedPair(
            self.system.syncers, self.a_reader_sees_one_tick_and_never_an_older_one
        )
        self.floor = 0
        """The epoch below which KeyDB must not show one: the highest since it lost something."""

    @invariant()
    def the_newest_tick_is_what_was_committed_when_it_was_written(self) -> None:
        token, balances = self.system.newest()
        if token in self.system.counted:  # the baseline is not
            assert balances == self.system.counted[token]

    @invariant()
    def balances_and_what_is_not_yet_counted_are_the_truth(self) -> None:
        accounts, true = self.system.accounts(), self.system.books.sums()
        gone = accounts.keys() - true.keys()
        assert accounts == {**true, **dict.fromkeys(gone, 0)}

    @invariant()
    def a_reader_sees_one_tick_and_never_an_older_one(self) -> None:
        seen = self.system.seen()
        if seen is None:
            return
        assert seen.epoch >= self.floor, "written back in time"
        self.floor = seen.epoch
        if not seen.token.startswith(PARTIAL_PREFIX):
            assert seen.values == self.system.counted[seen.token], "mixed"

    def keydb_is_the_truth(self) -> None:
        """To be asked after a tick that nothing disturbed."""
        seen = self.system.seen()
        assert seen, "nothing is shown"
        assert seen.token == self.system.newest()[0], self.pair.syncers[0].outcome
        assert seen.values == self.system.books.balances()

    def teardown(self) -> None:
        self._open.close()
