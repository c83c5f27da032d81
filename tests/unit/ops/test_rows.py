"""What is typed or in a file is read strictly: nothing is guessed, dropped or added up."""

import base64
import io
import json

import pytest

from ops.sending.rows import Draft, Format, Invalid, Unreadable, from_arguments, read


def read_all(text: str | bytes, kind: Format = "auto", *ignored: str) -> list[Draft | Invalid]:
    return list(read(io.BytesIO(text if isinstance(text, bytes) else text.encode()), kind, ignored))


def only_invalid(found: list[Draft | Invalid]) -> Invalid:
    (line,) = (one for one in found if isinstance(one, Invalid))
    return line


def test_arguments_are_pairs_or_whole_bodies() -> None:
    assert list(from_arguments(["1=600", "2=-50", '{"id": 3, "value": 1, "message_id": "m"}'])) == [
        Draft(1, b'{"id":1,"value":600}'),
        Draft(2, b'{"id":2,"value":-50}'),
        Draft(3, b'{"id": 3, "value": 1, "message_id": "m"}', "m"),
    ]


@pytest.mark.parametrize("text", ["1", "1=", "=1", "one=1", "1=6.5", "1=1_000", "1=+7", "1= 7"])
def test_an_argument_that_is_no_pair_is_said_to_be_none(text: str) -> None:
    (found,) = from_arguments([text])

    assert isinstance(found, Invalid)


def test_json_lines_are_sent_as_they_are_with_their_own_identity() -> None:
    lines = b'{"id": 1, "value": 600}\n\n {"message_id": "m", "id": 2, "value": 1} '

    assert read_all(lines) == [
        Draft(1, b'{"id": 1, "value": 600}'),
        Draft(3, b'{"message_id": "m", "id": 2, "value": 1}', "m"),
    ]


def test_an_exported_dead_letter_is_sent_with_the_body_it_had() -> None:
    line = {"message_id": "m", "body_base64": base64.b64encode(b"\xff").decode(), "reason": "x"}

    assert read_all(json.dumps(line)) == [Draft(1, b"\xff", "m")]
    assert [type(one) for one in read_all('{"body_base64": "?"}')] == [Invalid]
    assert [type(one) for one in read_all('{"body_base64": 7}')] == [Invalid]


@pytest.mark.parametrize("identity", ["7", "0", "false", "[]", "1.5", "{}"])
def test_a_message_id_in_json_that_is_no_text_is_not_taken_for_none(identity: str) -> None:
    found = read_all(f'{{"id": 1, "value": 6, "message_id": {identity}}}\n{{"id": 1, "value": 7}}')

    assert only_invalid(found).line == 1
    assert "message_id is" in only_invalid(found).why
    assert found[1] == Draft(2, b'{"id": 1, "value": 7}')


@pytest.mark.parametrize("name", ["Message_ID", "message id", "messageId", "MESSAGE-ID"])
def test_what_looks_like_message_id_is_not_passed_over(name: str) -> None:
    with pytest.raises(Unreadable, match=rf"line 1: .*{name}.* is message_id meant\?"):
        read_all(f"id,value,{name}\n1,600,m1\n")
    found = read_all(f'{{"id": 1, "value": 6, "{name}": "m"}}')
    assert "is message_id meant?" in only_invalid(found).why


def test_csv_needs_a_header_and_may_name_identities() -> None:
    assert read_all("value,id,message_id\n600,1,m\n-5,2,\n") == [
        Draft(2, b'{"id":1,"value":600}', "m"),
        Draft(3, b'{"id":2,"value":-5}'),
    ]
    assert read_all("id,value\n") == []
    assert read_all('id,value\r\n"1","600"\r\n\r\n2,7') == [
        Draft(2, b'{"id":1,"value":600}'),
        Draft(4, b'{"id":2,"value":7}'),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: the file is empty"),
        ("1,600\n", "line 1: neither JSON lines nor a header"),
        ('[{"id": 1, "value": 6}]', "line 1: a JSON array: write one object a line"),
        ("id\n1\n", "line 1: the header does not name the column value"),
        ("\n\n", "line 1: neither JSON lines nor a header"),
        ("id,value,value\n1,6,7\n", "line 1: the column 'value' is there 2 times"),
        ("id,value,currency\n1,6,EUR\n2,7,USD\n", "'currency' is not known: --ignore-columns"),
        ("id, value\n1,6\n", "' value' is not known: is value meant?"),
        ('id,value,message_id\n1,6,"m1\n1,7,m2\n', "line 2: .*quote"),
        ('id,value,message_id\n1,6,"m1\n1,7,m2\n1,8,"m3"\n', "line 2: .*quote"),
        ('id,value,message_id\n1,6,"m1\n1,7",m2\n1,8,m3\n', "line 2: .*quote"),
        ('id,value\n1,"6"0\n', "line 2: not CSV"),
        ("id,value\r1,600\r", "line 1: not CSV"),
        ("id,value\n1,6\n".encode("utf-16"), "line 1: this is UTF-16"),
    ],
)
def test_a_file_of_which_the_meaning_is_not_known_is_refused_whole(
    text: str | bytes, why: str
) -> None:
    with pytest.raises(Unreadable, match=why):
        read_all(text)


def test_a_decimal_comma_is_no_third_column() -> None:
    found = read_all("id,value\n1,12,50\n1,13\n1\n")

    assert found[0] == Invalid(
        2, "3 columns under a header of 2 (a decimal comma, or a comma without quotes?)"
    )
    assert found[1] == Draft(3, b'{"id":1,"value":13}')
    assert isinstance(found[2], Invalid)


@pytest.mark.parametrize(
    "number",
    ["1_000", "+7", "\u0667", "\uff17", " 7", "7 ", "6.5", "1e3", "", "--7", "0x7", "9" * 5000],
)
def test_numbers_are_ascii_digits_with_a_minus_or_without(number: str) -> None:
    found = read_all(f"id,value\n1,{number}\n{number},1\n2,-7\n")

    assert [one.line for one in found if isinstance(one, Invalid)] == [2, 3]
    assert found[2] == Draft(4, b'{"id":2,"value":-7}')


def test_columns_and_fields_are_left_out_only_where_that_is_said() -> None:
    table = "id,currency,value\n1,EUR,6\n"
    line = '{"id": 1, "value": 6, "currency": "EUR"}'

    assert read_all(table, "auto", "currency") == [Draft(2, b'{"id":1,"value":6}')]
    assert "--ignore-columns 'currency'" in only_invalid(read_all(line)).why
    assert read_all(line, "auto", "currency") == [Draft(1, line.encode())]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read_all(b'\xef\xbb\xbf{"id": 1, "value": 6}\n') == [Draft(1, b'{"id": 1, "value": 6}')]
    assert read_all(b"\xef\xbb\xbfid,value\n1,6\n") == [Draft(2, b'{"id":1,"value":6}')]


def test_the_format_is_what_the_content_is_or_what_is_said() -> None:
    assert read_all(' \n{"id": 1, "value": 6}') == [Draft(2, b'{"id": 1, "value": 6}')]
    assert read_all("no\n", "jsonl") == [Draft(1, b"no")]
    with pytest.raises(Unreadable):
        read_all('{"id": 1, "value": 6}', "csv")


def test_an_identity_in_csv_that_is_not_utf8_is_left_to_be_judged_alone() -> None:
    found = read_all(b"id,value,message_id\n1,6,\xff\n1,7,m2\n")

    assert [one.message_id for one in found if isinstance(one, Draft)] == ["\udcff", "m2"]
