"""Addresses of boards, as texts."""

from __future__ import annotations

import pytest

from compiler.board_address import BoardAddress, split_endpoint


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("192.168.1.20:9090", ("192.168.1.20", 9090)),
        ("board.lab.example:1", ("board.lab.example", 1)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_host_and_port(text: str, parts: tuple[str, int]) -> None:
    assert split_endpoint(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", "board", "board:", ":9090", "board:0", "board:65536", "board:-1", "board:9x"),
        *("::1:9090", "[]:9090", " board:9090", "board:\u0663"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert split_endpoint(text) is None


def test_how_errors_name_a_board() -> None:
    assert str(BoardAddress(server="b:1", device_key="k")) == "board b:1"
    assert str(BoardAddress(tracker="t:1", device_key="k")) == "board `k` of tracker t:1"
