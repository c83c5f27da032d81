"""Messages meant to do harm, the same for the same seed: bodies, identities, headers, names.

Each is made together with what its properties are meant to name; what its body says is for the
oracle to find out.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Literal

from tests.support import oracle, raw_properties
from tests.support.oracle import BODY_MAX, DEPTH_MAX, Message

Identity = tuple[bytes | None, str | Literal[False] | None]
"""A `message_id` as it is written, and what it names (as `Message.identity`)."""

PROVIDERS = (1, 2, -7, 2**63 - 1)
UNKNOWN = (0, 3, 99, -(2**63))
MEGABYTES = 10 * 2**20
ODD_TEXT = (
    "\x00", "\x00a", "a\x00", "\x1b[2J", "\r\n", "\x7f", "\u202e\u0645\u0631\u062d\u0628\u0627",
    "\ufeff", "\u2028", "\U0001f4b3", "e\u0301", "{}", "'; DROP TABLE outbox; --", "%s%n", ":", "_",
    "\ufffe", "\\u0000", '"', "a" * 255,
)  # fmt: skip
ODD_BYTES = (
    b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-1", str(2**31), str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1),
    str(2**64), "9" * 19, "-" + "9" * 19, "1" + "0" * 400, "-" + "9" * 5000, "1" * 60_000,
)  # fmt: skip
NO_INTEGERS = (
    "NaN", "Infinity", "-Infinity", "nan", "1e3", "600.0", "1E400", "-0.0", "1e-9", "01", "+1",
    "0x10", "1_000", ".5", "5.", "true", "false", "null", '"600"', "[600]", '{"a":1}', "", "\u0661",
    '"\\ud800"', '"\\u0000"', "--1", "1 2", "undefined",
)  # fmt: skip
ESCAPED = ("\\u0069d", "\\u0069\\u0064", "val\\u0075e", "v\\u0061lue", "\\ud800", "i\\u0000d")
REASONED = (
    b"", b" ", b"\n", b"null", b"[]", b"{}", b'"id"', b"1", b"{", b'{"id":1,"value":2},', b"[[]]",
    b'{"id":1,"value":2}{"id":1,"value":2}', b'{"id":1,"value":2,}', b"{'id':1,'value':2}",
    b'{"id":1 "value":2}', b'/**/{"id":1,"value":2}', b'{"id":1,"value":2}\0', b"{id:1,value:2}",
    b'[{"id":1,"value":2}]', b'{"ID":1,"VALUE":2}', b'{"id":1}', b'{"value":2}', b"[" * BODY_MAX,
    b'{"a":' * 12_000, b'[{"a":1,"a":2}]', b"[" * 40_000 + b"]" * 20_000,
    b'{"id":1,"value":2,"n":"' + b'\\"[{' * 700 + b'"}',
)  # fmt: skip
MANY_HEADERS = b"".join(
    raw_properties.entry(b"%d" % number, b"t", b"\x01") for number in range(500)
)


class Source:
    """An endless supply of hostile messages."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._made = 0
        self._earlier: list[tuple[str, bytes]] = []
        self._makers: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self._plain, 6), (self._unknown, 2), (self._numbers, 4), (self._no_integer, 3),
            (self._repeated, 4), (self._nested, 2), (self._noted, 4), (self._cut, 4),
            (self._damaged, 5), (self._recoded, 1), (self._sized, 1), (self._noise, 1),
            (lambda: self._chance.choice(REASONED), 3),
        )  # fmt: skip

    def messages(self, count: int) -> Iterator[Message]:
        """Yield `count` messages: every kind of body with every kind of properties."""
        makers, weights = zip(*self._makers, strict=True)
        for maker in self._chance.choices(makers, weights, k=count):
            self._made += 1
            yield self._message(maker())

    def _message(self, text: bytes) -> Message:
        if self._earlier and self._chance.random() < 0.04:
            return self._again(*self._chance.choice(self._earlier))
        raw, named = self._identity()
        if isinstance(named, str) and len(text) < 100:
            self._earlier.append((named, text))
        return Message(text, self._encoded(raw), named)

    def _again(self, named: str, earlier: bytes) -> Message:
        found = oracle.body(earlier)
        # Of a message that waits and another of its identity, it depends on what comes in one
        # batch whether the other has a row: that is not for an oracle.
        same = self._chance.random() < 0.7 or isinstance(found, tuple)
        same = same and not (isinstance(found, tuple) and found[0] in PROVIDERS)
        return Message(earlier if same else self._plain(), self._encoded(named.encode()), named)

    # --- bodies -------------------------------------------------------------------------------

    def _body(self, provider_id: object, value: object, *more: str) -> bytes:
        fields = [f'"id": {provider_id}', f'"value": {value}', *more]
        self._chance.shuffle(fields)
        space = self._chance.choice(("", " ", "\n", "\t\r\n"))
        return f"{{{space}{f',{space}'.join(fields)}{space}}}{space}".encode()

    def _plain(self) -> bytes:
        return self._body(self._chance.choice(PROVIDERS), self._chance.randint(-999, 999))

    def _unknown(self) -> bytes:
        return self._body(self._chance.choice(UNKNOWN), self._chance.randint(-999, 999))

    def _numbers(self) -> bytes:
        number = self._chance.choice(NUMBERS)
        if self._chance.random() < 0.3:
            return self._body(number, 1, *self._note())
        return self._body(self._chance.choice(PROVIDERS), number, *self._note())

    def _no_integer(self) -> bytes:
        odd = self._chance.choice(NO_INTEGERS)
        provider_id, value = self._chance.choice(((1, odd), (odd, 600)))
        return self._body(provider_id, value, *self._note())

    def _repeated(self) -> bytes:
        name = self._chance.choice(("id", "value", "note", *ESCAPED))
        inner = self._chance.choice(("1", '{"a":1,"a":2}', '[{"":1,"":1}]', '{"id":1}', "[1,1]"))
        return self._body(1, 600, *([f'"{name}": {inner}'] * self._chance.randint(1, 3)))

    def _nested(self) -> bytes:
        depth = self._chance.choice((2, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 980, 5_000))
        start, end = self._chance.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        inside = self._chance.choice(('"]["', "1", '"\\""'))
        levels = depth // (start.count("[") + start.count("{"))
        return self._body(1, 600, f'"note": {start * levels}{inside}{end * levels}')

    def _noted(self) -> bytes:
        text = self._chance.choice(ODD_TEXT)
        loose = f'"{text}"'  # as it is, whatever JSON says of it
        strict = json.dumps(text, ensure_ascii=self._chance.random() < 0.5)
        note = self._chance.choice((loose, strict))
        name = self._chance.choice((note, '"note"', '"note"'))
        return self._body(1, 600, f"{name}: {note}")

    def _cut(self) -> bytes:
        text = self._body(1, 600, '"note": "Grüße \u20ac \U0001f4b3"')
        return text[: self._chance.randrange(len(text))]

    def _damaged(self) -> bytes:
        text = self._chance.choice((self._plain, self._noted, self._repeated))()
        for _ in range(self._chance.choice((1, 1, 3))):
            at = self._chance.randrange(len(text))
            damage = self._chance.choice((*ODD_BYTES, b"", bytes([self._chance.randrange(256)])))
            text = text[:at] + damage + text[at + self._chance.randrange(2) :]
        return text

    def _recoded(self) -> bytes:
        codec = self._chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"))
        return self._plain().decode().encode(codec)

    def _sized(self) -> bytes:
        size = self._chance.choice((BODY_MAX - 1, BODY_MAX, BODY_MAX + 1))
        return self._plain().ljust(size, self._chance.choice((b" ", b"x")))

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.choice((1, 7, 30, 300)))

    def _note(self) -> list[str]:
        return self._chance.choice(([], ['"note": "x"'], ['"n": 1'], [f'"{"k" * 999}": []']))

    # --- properties ---------------------------------------------------------------------------

    def _identity(self) -> Identity:
        chance = self._chance.random()
        if chance < 0.3:
            return self._chance.choice(((None, None), (b"", None)))
        name = f"m{self._made}"
        if chance < 0.7:
            return name.encode(), name
        if chance < 0.85:
            odd = name + self._chance.choice(ODD_TEXT)
            odd = odd[:255] if odd.isascii() else odd
            return odd.encode(), False if "\x00" in odd else odd
        raw = (name.encode() + self._chance.choice(ODD_BYTES)).ljust(self._chance.choice((0, 255)))
        return raw, _named(raw)

    def _encoded(self, message_id: bytes | None) -> bytes:
        return raw_properties.properties(
            message_id=message_id,
            entries=self._chance.choice((None, None, self._headers)) and self._headers(),
            timestamp=self._chance.choice((None, 0, 2**40, 2**63, 2**64 - 1)),
            text=self._chance.choice((None, None, b"", b"x" * 255, b"\xff\xfe", b"\x1b[2J\r\n")),
        )

    def _headers(self) -> bytes:
        kinds = [self._chance.choice((b"F", b"A")) for _ in range(self._chance.choice((1, 31, 40)))]
        name = self._chance.choice((b"", b"h", b"\xff", b"\xed\xa0\x80", b"a\0", b"$hex:6100"))
        odd = self._chance.choice((*ODD_BYTES, b"x" * 99, *(one.encode() for one in ODD_TEXT)))
        return self._chance.choice((
            raw_properties.nested(kinds),
            raw_properties.text_entry(name, odd) * self._chance.choice((1, 2, 3)),
            raw_properties.text_entry(b"a\0", b"1") + raw_properties.text_entry(b"$hex:6100", b"2"),
            raw_properties.entry(name, b"T", self._chance.randbytes(8)),
            raw_properties.entry(name, b"d", b"\x7f\xef" + b"\xff" * 6),  # NaN is refused
            raw_properties.entry(name, b"D", self._chance.randbytes(5)),
            raw_properties.entry(name, b"x", raw_properties.sized(odd)),
            MANY_HEADERS,
        ))  # fmt: skip


def _named(raw: bytes) -> str | Literal[False]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return False if "\x00" in text else text
