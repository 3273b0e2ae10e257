"""The commands `replay` and `inspect`: logs that are whole, cut off, damaged, tampered with or none."""

import json
from pathlib import Path

import pytest

from tests.scenarios.commanding import one_line, run

pytestmark = pytest.mark.usefixtures("no_stray_files")


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of several blocks."""
    folder = tmp_path_factory.mktemp("long")
    problem, path = folder / "m.yaml", folder / "long.amlog"
    assert run("generate", "meetings", "-p", "meetings=5", "-p", "slots=8", "-o", problem).exit_code == 0
    assert run("solve", problem, "--algo", "adopt", "--log", path).exit_code == 0
    assert path.stat().st_size > 3 * 16_384
    return path.read_bytes()


# replay and inspect ------------------------------------------------------------------------------------------------


def test_replay_finds_what_was_found_live(problem: Path, log: Path) -> None:
    live = json.loads(run("solve", problem, "--algo", "synchbb", "--observe", "traffic", "--json").stdout)["findings"]
    result = run("replay", log, "--observe", "traffic", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["findings"], found["verified"]) == (0, live, None)
    assert found["complete"] is True
    assert "Findings of traffic" in run("replay", log, "--observe", "traffic").stdout


def test_verify_is_exit_0(log: Path) -> None:
    result = run("replay", log, "--verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["verified"], found["complete"], found["first_difference"]) == (0, True, True, None)
    assert "verified" in run("replay", log, "--verify").stdout


def tampered(data: bytes) -> bytes:
    """Return a log one of whose costs is another, with all checksums right."""
    import struct
    import zlib

    import msgpack

    out, at, done = bytearray(data[:8]), 8, False
    while at < len(data):
        magic, kind, length, _ = struct.unpack_from("<4scII", data, at)
        content = data[at + 17 : at + 17 + length]
        if kind == b"R" and not done:
            records = []
            unpacker = msgpack.Unpacker(use_list=True)
            unpacker.feed(content)
            for record in unpacker:
                if not done and isinstance(record[0], int) and record[6] == "FWD" and record[0] > 3:
                    fields = msgpack.unpackb(record[10])
                    fields[1] += 1
                    record[10], done = msgpack.packb(fields), True
                records.append(msgpack.packb(record))
            content = b"".join(records)
        head = struct.pack("<4scII", magic, kind, len(content), zlib.crc32(content))
        out += head + struct.pack("<I", zlib.crc32(head)) + content
        at += 17 + length
    assert done
    return bytes(out)


def test_verify_of_a_tampered_payload_is_exit_4_and_names_the_record(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "tampered.amlog"
    other.write_bytes(tampered(log.read_bytes()))
    result = run("replay", other, "--verify", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["verified"]) == (4, False)
    assert found["first_difference"]["seq"] > 3
    assert "differs at record" in result.stderr
    assert run("replay", other).exit_code == 0


def test_a_damaged_log_is_exit_4_of_replay_and_told_by_inspect(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.amlog"
    second = long_log.index(b"ABLKR", long_log.index(b"ABLKR") + 1)
    path.write_bytes(long_log[: second + 5] + bytes([long_log[second + 5] ^ 1]) + long_log[second + 6 :])
    for options in ((), ("--verify",)):
        result = run("replay", path, "--json", *options)
        assert result.exit_code == 4
        found = json.loads(result.stdout)
        assert "damaged" in found["damaged"]
        assert found["deliveries"] > 10
        assert "damaged" in result.stderr
        assert "deliveries" in result.stderr
    result = run("inspect", path, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["whole"]) == (0, False)
    assert "damaged" in found["damaged"]
    assert "damaged" in run("inspect", path).stdout


def test_a_cut_log_is_read_as_far_as_it_goes(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.amlog"
    path.write_bytes(long_log[: len(long_log) * 2 // 3])
    replayed = run("replay", path, "--json", "--observe", "traffic")
    found = json.loads(replayed.stdout)
    assert (replayed.exit_code, found["complete"], found["verified"]) == (0, False, None)
    assert found["findings"]["traffic"]
    verified = run("replay", path, "--verify", "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["verified"]) == (4, False)
    assert "deliveries were verified" in verified.stderr
    inspected = run("inspect", path, "--json")
    assert (inspected.exit_code, json.loads(inspected.stdout)["whole"]) == (0, False)
    assert json.loads(inspected.stdout)["header"] is not None
    assert "cut off" in run("inspect", path).stdout


def test_a_log_cut_within_its_header(long_log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.amlog"
    for length in (8, 9, 60, 8 + 17 + 100):
        path.write_bytes(long_log[:length])
        inspected = run("inspect", path, "--json")
        assert inspected.exit_code == 0, inspected.stderr
        found = json.loads(inspected.stdout)
        assert (found["whole"], found["header"], found["deliveries"]) == (False, None, 0)
        assert run("inspect", path).exit_code == 0
        assert run("replay", path).exit_code == 0
        verified = run("replay", path, "--verify", "--json")
        assert (verified.exit_code, json.loads(verified.stdout)["verified"]) == (4, False)
        assert "no deliveries were verified" in verified.stderr


@pytest.mark.parametrize("at", [9, 14, 24, 60])
def test_a_header_that_is_damaged(long_log: bytes, tmp_path: Path, at: int) -> None:
    path = tmp_path / "damaged.amlog"
    path.write_bytes(long_log[:at] + bytes([long_log[at] ^ 16]) + long_log[at + 1 :])
    for options in ((), ("--verify",)):
        result = run("replay", path, "--json", *options)
        assert result.exit_code == 4
        assert "damaged" in json.loads(result.stdout)["damaged"]
        assert "no deliveries" in result.stderr
    inspected = run("inspect", path, "--json")
    assert (inspected.exit_code, json.loads(inspected.stdout)["header"]) == (0, None)


@pytest.mark.parametrize("content", [b"", b"AML", b"something else entirely", b"AMLOG\x00\x63\x00"])
def test_not_a_log_is_exit_2(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "not.amlog"
    path.write_bytes(content)
    for args in (("replay", path), ("replay", path, "--verify"), ("inspect", path), ("inspect", path, "--json")):
        assert "not.amlog" in one_line(run(*args))
    one_line(run("inspect", tmp_path / "none.amlog"))
    one_line(run("inspect", tmp_path))


def test_a_redacted_log_cannot_be_verified(problem: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.amlog"
    assert run("solve", problem, "--algo", "dpop", "--log", path, "--redact").exit_code == 0
    assert "--redact" in one_line(run("replay", path, "--verify"))
    assert json.loads(run("inspect", path, "--json").stdout)["header"]["redacted"] is True
    assert "redacted" in run("inspect", path).stdout


def test_inspect_tells_the_header_without_tables(log: Path) -> None:
    found = json.loads(run("inspect", log, "--json").stdout)
    assert {"whole", "deliveries", "by_type", "header", "findings"} <= set(found)
    assert found["whole"] is True
    assert found["deliveries"] == sum(found["by_type"].values()) > 0
    assert found["header"]["problem"] == {
        **{"name": "three", "objective": "min", "constant": 0},
        **{"variables": 3, "constraints": 2, "agents": 3, "domains": 1},
    }
    assert found["header"]["solver"] == "synchbb"
    assert found["findings"]["traffic"]


def test_an_observer_that_is_not_there_is_exit_2(log: Path) -> None:
    assert "nope" in one_line(run("replay", log, "--observe", "nope"))
