"""JSON that is not quite: read where its meaning is plain, and otherwise named by what is wrong and where."""

import codecs
import json
import re
import time
from typing import Any

import pytest

from handlers.decoding import JSON, decode_json
from handlers.errors import UndecodableError
from handlers.malformed_json import NotANumberError, read_malformed
from tests.handlers.every import MODELS, ask, family

TEXT = '{"designation": "Piscine d\u2019été \U0001f600"}'


@pytest.mark.parametrize(
    "body",
    [
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        codecs.BOM_UTF8 + json.dumps(json.loads(TEXT)).encode(),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_byte_order_mark_says_how_a_body_is_encoded(body: bytes, kind: Any) -> None:
    fields, plain = decode_json(kind(body))
    assert fields == json.loads(TEXT)
    assert json.loads(bytes(plain)) == fields and not bytes(plain).startswith(codecs.BOM_UTF8)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb'{"a": "x\ud83d"}', "x\ufffd"),
        (rb'{"a": "\ude00x"}', "\ufffdx"),
        (rb'{"a": "\ud83d\ude00\ud83d"}', "\U0001f600\ufffd"),
        (rb'{"a": "\ud83d\ud83d\ude00"}', "\ufffd\U0001f600"),
        (rb'{"a": "\\ud83d \ud83d"}', "\\ud83d \ufffd"),
        (rb'{"a": "\ud83d\n\u00e9"}', "\ufffd\né"),
        (b'{"a": "x\xed\xa0\xbd"}', "x\ufffd"),
        (b'{"a": "\xed\xa0\xbd\xed\xb8\x80"}', "\U0001f600"),
        (rb'{"b": [{"\ud83d": "\ude00"}], "a": "z"}', "z"),
    ],
)
def test_half_of_a_pair_of_surrogates_is_replaced_and_the_rest_is_read(sent: bytes, read: str) -> None:
    fields, plain = decode_json(sent)
    assert fields["a"] == read
    assert json.loads(bytes(plain)) == fields


@pytest.mark.parametrize("model", ["catalog", "budget_categorizer", "budget_anomaly"])
def test_a_text_that_was_cut_within_a_letter_is_answered_among_others(model: str) -> None:
    good = family(model).good(model)[0]
    field = {"catalog": "designation", "budget_categorizer": "label", "budget_anomaly": "label"}[model]

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: f"{one}\ud83d" if key == field else cut(one) for key, one in value.items()}
        return [cut(one) for one in value] if isinstance(value, list) else value

    body = json.dumps({"instances": [good, cut(good), good]}).encode()
    assert rb"\ud83d" in body
    [(status, said)] = ask(model, (body, {"Content-Type": JSON}))
    assert status == 200, said
    assert len(said["predictions"]) == 3


@pytest.mark.parametrize(
    ("body", "place", "name"),
    [
        (
            b'{"instances": [{"features": {"churn": 1}}, {"features": {"churn": NaN}}]}',
            "instances[1].features.churn",
            "NaN",
        ),
        (b'{"frames": [[1, 2], [3, Infinity]]}', "frames[1][1]", "Infinity"),
        (b'{"prices": {"BTC": [1, 2, -Infinity], "ETH": [NaN]}}', "prices.BTC[2]", "-Infinity"),
        (b'{"a": {"b": {"c": [[], {}, {"d": [0, [NaN]]}]}}}', "a.b.c[2].d[1][0]", "NaN"),
        ('{"é": "\\ud83d", "x": NaN}'.encode(), "x", "NaN"),
        (b"[NaN]", "[0]", "NaN"),
        (b"NaN", "body", "NaN"),
    ],
)
def test_nan_and_infinities_are_named_by_their_field_and_what_to_send(body: bytes, place: str, name: str) -> None:
    with pytest.raises(NotANumberError) as error:
        decode_json(body)
    assert (error.value.field, error.value.received) == (place, name)
    assert "send null" in str(error.value) and place in str(error.value)


@pytest.mark.parametrize("model", MODELS)
def test_every_family_says_so(model: str) -> None:
    good = family(model).good(model)[0]
    body = json.dumps({"instances": [good, good]})
    number = re.search(r"(?<=[:,] |.\[)-?\d[\d.e+-]*(?=[,\]}])", body)
    if number is None:  # a catalogue's listings have none
        return
    nan = f"{body[: number.start()]}NaN{body[number.end() :]}"
    [(status, said)] = ask(model, (nan.encode(), {"Content-Type": JSON}))
    assert status == 400
    assert said["error"]["field"].startswith("instances[0].") and "send null" in said["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1,}', "comma stands before a closing bracket"),
        (b'{"a": [1, 2, ]}', "comma stands before a closing bracket"),
        (b"{'a': 1}", "double quotes"),
        (b"{\"a\": 'x'}", "double quotes"),
        (b'{"a": 1} // one', "no comments"),
        (b'/* one */ {"a": 1}', "no comments"),
        (b'# one\n{"a": 1}', "no comments"),
        (b'{"a": nan}', "send null"),
        (b'{"a": -inf}', "send null"),
        (b'{"a": True}', "write true in place of True"),
        (b'{"a": None}', "write null in place of None"),
        (b'{"a": undefined}', "write null in place of undefined"),
        (b'{"a": 1}\n{"a": 2}', '{"instances": [...]}'),
        (b'{"a": "x\ny"}', r"an escape such as \n"),
        (b'{"a": [1', "cut short"),
        (b'{"a": "caf\xe9"}', "byte 0xe9 at position 10 (is it Latin-1?)"),
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (b"\xff\xfe{\x00\x00", "UTF-16"),
        (b'{"a": 1, "a": 2}', "the name 'a' is there twice"),
        (b'{"a" : 1, "a" : 2}', "the name 'a' is there twice"),
        (b'{"instances": [{"x": 1}, {"x": {"deep": 1, "deep": 1}}]}', "the name 'deep' is there twice"),
        (rb'{"\u0061": 1, "a": 2}', "the name 'a' is there twice"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(body: bytes, said: str) -> None:
    with pytest.raises(UndecodableError) as error:
        decode_json(body)
    assert said in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "he said \\"x\\": yes", "b": {"a": 1}}',
        b'{"a": {"a": {"a": []}}, "b": [{"a": 1}, {"a": 2}, 3, [{"a": 4}]]}',
        b'{"a": [1, {"b": 1}, {"b": 2}]}',
        b'{"a": "\\":\\":\\":"}',
        b'{"":1}',
    ],
)
def test_a_name_may_be_in_many_objects(body: bytes) -> None:
    assert decode_json(body)[0] == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"frames": [' + b",".join([b"[" + b",".join([b"0.123456"] * 225) + b"]"] * 2000) + b", [NaN]]}",
        b'{"a": "' + b"\\n" * 4_000_000 + rb'\ud83d"}',
        b'{"a": "' + rb"\ud83d" * 1_000_000 + b'"}',
        b"[" + b"{}," * 1_000_000 + b"NaN]",
        b"\xef\xbb\xbf" + b"[" * 8_000_000,
        b'{"a": "' + b"\xed\xa0\xbd" * 2_000_000 + b'"}',
        b"NaN" + b" " * 8_000_000,
        b'{"a": 1,}' + b" " * 8_000_000,
    ],
)
def test_large_bodies_take_a_bounded_time(body: bytes) -> None:
    start = time.process_time()
    try:
        read_malformed(body)
    except UndecodableError as error:
        assert len(str(error)) < 300
    assert time.process_time() - start < 6
